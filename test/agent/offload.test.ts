import { beforeEach, describe, expect, it } from 'vitest'
import { createOffload, type Offload } from '../../src/agent/offload.ts'
import { type OverlayConfig, readOverlayConfig } from '../../src/overlay/config.ts'
import { createFakeFiles } from '../fakes/files.ts'

const AUTO = readOverlayConfig('{}')
const PATH = '/var/lib/x/checksum_offload.json'
let files = createFakeFiles()
let logged: string[] = []

beforeEach(() => {
  files = createFakeFiles()
  logged = []
})

function start(release = '6.1.0'): Offload {
  const tell = (_: object, text: string) => void logged.push(text)
  return createOffload({ files, log: { info: tell, warn: tell }, path: PATH, release, now: () => 0 })
}

/** An agent that has found the offload broken. */
function taught(): Offload {
  const offload = start()
  offload.resolve(AUTO)
  offload.learn('b')
  return offload
}

const isOff = (offload: Offload, config: OverlayConfig = AUTO) =>
  offload.resolve(config).checksumOffload === 'off'

describe('what is known of the checksum offload', () => {
  it('is nothing at first: the configuration stays the same value', () => {
    const offload = start()
    expect(offload.resolve(AUTO)).toBe(AUTO)
    expect(offload.warnings()).toEqual([])
  })

  it('turns auto into off, tells it once, and warns as long as it is so', () => {
    const offload = start()
    let told = 0
    offload.onLearned(() => told++)
    offload.resolve(AUTO)
    offload.learn('b')
    offload.learn('c')
    expect(told).toBe(1)
    expect(isOff(offload)).toBe(true)
    expect(offload.resolve(AUTO)).toBe(offload.resolve(AUTO))
    expect(offload.warnings()).toMatchObject([
      {
        level: 'warning',
        message: expect.stringContaining('since 1970-01-01T00:00:00.000Z: packets to node b'),
      },
    ])
  })

  it('is known by an agent that starts anew', () => {
    taught()
    expect(isOff(start())).toBe(true)
  })

  it.each<[string, OverlayConfig, string]>([
    ['another kernel', AUTO, '6.1.1'],
    ['another port', { ...AUTO, port: 8472 }, '6.1.0'],
    ['a key that says on', { ...AUTO, checksumOffload: 'on' }, '6.1.0'],
  ])('counts no longer with %s, and is forgotten', (_, config, release) => {
    taught()
    const next = start(release)
    expect(next.resolve(config)).toBe(config)
    expect(logged).toEqual(['what was found of the checksum offload counts no longer'])
    expect(next.warnings()).toEqual([])
    expect(isOff(start())).toBe(false)
  })

  it.each(['on', 'off'] as const)('is not asked for where the key says %s', (checksumOffload) => {
    const offload = start()
    const config = { ...AUTO, checksumOffload }
    offload.resolve(config)
    offload.learn('b')
    expect(offload.resolve(config)).toBe(config)
    expect(files.read(PATH)).toBeUndefined()
  })

  it.each(['', '{', 'null', '{"port":"4789"}'])('is nothing where the file says %j', (text) => {
    files.ensureDirectory('/var/lib/x')
    files.replace(PATH, text)
    expect(isOff(start())).toBe(false)
  })
})
