import { expect, it } from 'vitest'
import { checkKeys } from '../../../src/cli/doctor/unread_keys.ts'

function found(plugin: object, list: object = {}): (readonly [level: string, said: string, hint: string])[] {
  const own = { type: 'bowline', ...plugin }
  return checkKeys({
    file: '/net.d/10.conflist',
    name: 'lab',
    list: { cniVersion: '1.0.0', name: 'lab', ...list, plugins: [own, { type: 'other', ipMask: true }] },
  }).map(({ level, message, hint }) => [level, message.replace(/.* key /, ''), hint])
}

it('names a key that is nearly one of ours, with the command that renames it', () => {
  expect(found({ nonMasqueradeCIDR: [] })).toEqual([
    [
      'warning',
      '"nonMasqueradeCIDR"; did you mean "nonMasqueradeCIDRs"?',
      `sed -i 's|"nonMasqueradeCIDR"|"nonMasqueradeCIDRs"|' /net.d/10.conflist`,
    ],
  ])
})

it('renames none to a key that is there, which would stand twice', () => {
  expect(found({ ipMask: true, ipMasq: false })).toMatchObject([
    ['warning', expect.any(String), 'jq . /net.d/10.conflist'],
  ])
})

it.each([
  [{ ipam: { type: 'bowline-ipam', ranges: [[{ rangstart: '' }]] } }, 'ipam.ranges[0][0].rangstart'],
  [{ ipam: { routs: [] } }, 'ipam.routs'],
  [{ capabilities: { portmappings: true } }, 'capabilities.portmappings'],
])('looks into %j', (plugin, path) => {
  expect(found(plugin)).toMatchObject([['warning', expect.stringContaining(path), expect.any(String)]])
})

it('looks at the keys of the list, in which runtimes regard the case', () => {
  expect(found({}, { disablecheck: true })).toMatchObject([
    ['warning', expect.stringContaining('disableCheck'), expect.any(String)],
  ])
})

it('notes a key that is like none of ours', () => {
  expect(found({ owner: 'us' })).toEqual([['info', '"owner"', 'jq . /net.d/10.conflist']])
})

it.each([
  [{ IPMASQ: true, _note: 'why', $schema: 'x' }],
  [{ args: { cni: {}, other: {} }, capabilities: { deviceID: true } }],
  [{ ipam: { type: 'whereabouts', routs: [] } }],
])('says nothing of %j', (plugin) => {
  expect(found(plugin)).toEqual([])
})
