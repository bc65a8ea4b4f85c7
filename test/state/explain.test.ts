import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { quote } from '../../src/core/shell.ts'
import { explain } from '../../src/state/explain.ts'

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

describe('a difference', () => {
  it.each([
    [['true', 'ip link del dev a'], 'it is wrong [run: true && ip link del dev a]'],
    [[], 'it is wrong [delete the pod]'],
  ])('with the commands %j reads %j', (commands, text) => {
    const steps = commands.map((command) => ({ command }))
    expect(explain({ what: 'it is wrong', steps }, 'delete the pod')).toBe(text)
  })
})
