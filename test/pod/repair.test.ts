import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { quote } from '../../src/core/shell.ts'
import { finding, removePortVlan } from '../../src/pod/repair.ts'

/*
 * The commands that CHECK prints are typed into a shell by root, and parts of them come from configurations.
 */
describe('a word that CHECK prints for a shell', () => {
  it.each([
    'eth0',
    '/var/run/netns/cni-1',
    '',
    'a b',
    "it's",
    "''",
    '$(reboot)',
    '`reboot`',
    'a;b&c|d>e<f',
    '"double"',
    'back\\slash',
    'line\nbreak',
    '*?[a]',
    '~root',
    '#comment',
    '!history',
    '-n',
  ])('%j reaches the command as it is', (text) => {
    expect(execFileSync('sh', ['-c', `printf %s. ${quote(text)}`], { encoding: 'utf8' })).toBe(`${text}.`)
  })
})

describe('a finding', () => {
  it('has its commands in one line that stops at the first that fails', () => {
    const vlan = removePortVlan('veth0', { from: 1, to: 4094 })
    expect(finding('it is wrong', 'true', vlan)).toBe(
      'it is wrong [run: true && bridge vlan del dev veth0 vid 1-4094]',
    )
  })

  it('without a command tells to delete the pod', () => {
    expect(finding('it is wrong')).toBe('it is wrong [delete the pod]')
  })
})
