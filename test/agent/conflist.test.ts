import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { conflistFor } from '../../src/agent/conflist.ts'
import { parseConflist } from '../../src/cni/conflist.ts'

const SHIPPED = readFileSync(new URL('../../conf/10-bowline.conflist', import.meta.url), 'utf8')

function ipamOf(template: string, ...podCidrs: string[]): { ranges: unknown; routes: unknown } {
  const { plugins } = parseConflist(conflistFor(template, podCidrs), 'the agent')
  return plugins[0]?.['ipam'] as { ranges: unknown; routes: unknown }
}

describe('the conflist of a node', () => {
  it('has the range of the node in place of that of the template', () => {
    expect(ipamOf(SHIPPED, '10.7.3.0/24')).toMatchObject({
      ranges: [[{ subnet: '10.7.3.0/24' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    })
  })

  it('has a range set and a default route for each family', () => {
    expect(ipamOf(SHIPPED, '10.7.3.0/24', 'fd00:7:3::/64')).toMatchObject({
      ranges: [[{ subnet: '10.7.3.0/24' }], [{ subnet: 'fd00:7:3::/64' }]],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
    })
  })

  it('keeps all else that the template says, also its own routes', () => {
    const template = JSON.stringify({
      cniVersion: '1.0.0',
      name: 'mine',
      disableCheck: true,
      plugins: [
        {
          type: 'bowline',
          mode: 'l3',
          mtu: 1400,
          ipam: { type: 'bowline-ipam', routes: [{ dst: '10.0.0.0/8' }] },
        },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    })
    const list = parseConflist(conflistFor(template, ['10.7.3.0/24']), 'the agent')
    expect(list).toMatchObject({
      name: 'mine',
      disableCheck: true,
      plugins: [{ mtu: 1400 }, { type: 'portmap' }],
    })
    expect(ipamOf(template, '10.7.3.0/24').routes).toEqual([{ dst: '10.0.0.0/8' }])
  })

  it('leaves what is wrong with a route to the installation, which names the key', () => {
    const template =
      '{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bowline","ipam":{"type":"bowline-ipam","routes":[{}]}}]}'
    expect(() => ipamOf(template, '10.7.3.0/24')).toThrow('key "ipam.routes[0]')
  })

  it.each(['', '{', '[]', '{"plugins":[null]}', '{"plugins":{}}', '{"plugins":[{"type":"bridge"}]}'])(
    'is refused for the template %j',
    (template) => {
      expect(() => conflistFor(template, ['10.7.3.0/24'])).toThrow(
        'the template of the conflist cannot be used',
      )
    },
  )
})
