import { expect } from 'vitest'
import { type Case, conform, VERSIONS } from '../support/conformance/cases.ts'
import {
  add,
  bridged,
  createPod,
  done,
  freshNode,
  invoke,
  ipamOf,
  PLUGINS,
  refused,
  useNode,
  writeDelegate,
} from '../support/conformance/node.ts'

// What a runtime must say, and how a plugin answers to what is missing, malformed or from another time.
useNode()

const ALL_MISSING = {
  CNI_CONTAINERID: undefined,
  CNI_NETNS: undefined,
  CNI_IFNAME: undefined,
  CNI_PATH: undefined,
} as const

const ENVIRONMENT: readonly Case[] = [
  {
    id: '1',
    title: 'names all variables that a command needs and that are missing, not only the first (code 4)',
    expectReference: 'passes',
    async run(subject, version) {
      const attachment = ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH']
      const needed = {
        ADD: [...attachment, 'CNI_NETNS'],
        CHECK: [...attachment, 'CNI_NETNS'],
        DEL: attachment,
        GC: ['CNI_PATH'],
        STATUS: ['CNI_PATH'],
      }
      for (const [command, names] of Object.entries(needed)) {
        const { code, text } = await refused(command as 'ADD', bridged(subject, version), undefined, {
          env: ALL_MISSING,
        })
        expect([command, code]).toEqual([command, 4])
        expect(text.match(/CNI_[A-Z]+/g)?.toSorted()).toEqual(names.toSorted())
      }
    },
  },
  {
    id: '1c',
    title: 'needs no variable of a container for GC and STATUS',
    expectReference: 'passes',
    async run(subject, version) {
      const env = { ...ALL_MISSING, CNI_PATH: PLUGINS }
      await done('STATUS', bridged(subject, version), undefined, { env })
      await done('GC', bridged(subject, version, { 'cni.dev/valid-attachments': [] }), undefined, { env })
    },
  },
  {
    id: '1d',
    title: 'answers VERSION without reading stdin and without any other variable',
    expectReference: 'passes',
    async run(subject) {
      const child = Bun.spawn([`${PLUGINS}/${subject.bridged.type}`], {
        stdin: 'pipe',
        stdout: 'pipe',
        env: { CNI_COMMAND: 'VERSION' },
        timeout: 10_000,
      })
      // Standard input stays open until the plugin has ended.
      const output = JSON.parse(await new Response(child.stdout).text())
      expect(await child.exited).toBe(0)
      child.stdin.end()
      expect(output).toEqual({ cniVersion: '1.1.0', supportedVersions: [...VERSIONS] })
    },
  },
  {
    id: '3',
    title: 'without CNI_COMMAND says on stderr what it is and which versions it speaks, and exits 0',
    expectReference: 'passes',
    async run(subject, version) {
      const how = { env: { CNI_COMMAND: undefined } }
      const { exitCode, stdout, stderr } = await invoke('ADD', bridged(subject, version), undefined, how)
      expect([exitCode, stdout]).toEqual([0, ''])
      expect(stderr).toContain(
        'CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0',
      )
    },
  },
  ...['', 'sixteencharacter', '.', '..', 'a/b', 'a:b', 'a b'].map(
    (ifName, i): Case => ({
      id: `4${'abcdefg'[i]}`,
      title: `refuses the interface name ${JSON.stringify(ifName)} (code 4)`,
      expectReference: 'passes',
      async run(subject, version) {
        const { code, text } = await refused('ADD', bridged(subject, version), createPod(), { ifName })
        expect([code, text]).toEqual([4, expect.stringMatching(/CNI_IFNAME|interface name/i)])
      },
    }),
  ),
]

const CONFIGURATION: readonly Case[] = [
  {
    id: '2',
    title: 'takes a configuration without cniVersion for 0.1.0',
    expectReference: 'passes',
    async run(subject, version) {
      const result = await add(bridged(subject, version, { cniVersion: undefined }), createPod())
      expect(result).toMatchObject({ cniVersion: '0.1.0', ip4: { ip: '10.1.0.2/24' } })
    },
  },
  {
    id: '2b',
    title: 'refuses a version that it does not speak (code 1), and says which ones it does',
    expectReference: 'passes',
    async run(subject, version) {
      const { code, text } = await refused(
        'ADD',
        bridged(subject, version, { cniVersion: '9.9.9' }),
        createPod(),
      )
      expect(code).toBe(1)
      for (const supported of ['9.9.9', ...VERSIONS]) expect(text).toContain(supported)
    },
  },
  {
    id: '2c',
    title: 'refuses CHECK before 0.4.0, STATUS and GC before 1.1.0 (code 1)',
    versions: VERSIONS,
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const first = { CHECK: '0.4.0', STATUS: '1.1.0', GC: '1.1.0' }
      for (const [command, since] of Object.entries(first)) {
        if (VERSIONS.indexOf(version) >= VERSIONS.indexOf(since as '1.1.0')) continue
        const { code, text } = await refused(command as 'GC', bridged(subject, version), pod)
        expect([code, text]).toEqual([1, expect.stringContaining(command)])
      }
      await add(bridged(subject, version), pod)
    },
  },
  {
    id: '2d',
    title: 'refuses what is no JSON (code 6) and a missing or impossible network name (code 7)',
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const how = { program: `${PLUGINS}/${subject.bridged.type}` }
      for (const text of ['', '{', 'no']) {
        expect([text, (await refused('ADD', text as never, pod, how)).code]).toEqual([text, 6])
      }
      for (const name of [undefined, '', '../up', 'a b']) {
        expect([name, (await refused('ADD', bridged(subject, version, { name }), pod)).code]).toEqual([
          name,
          7,
        ])
      }
    },
  },
  {
    id: '2e',
    title: 'puts the version of the configuration into an error object',
    versions: VERSIONS,
    expectReference: { fails: 'its errors name no version', at: /names its version/ },
    async run(subject, version) {
      const { output } = await invoke('ADD', bridged(subject, version), {
        ...createPod(),
        path: '/run/netns/gone',
      })
      expect(output.cniVersion, 'the error names its version').toBe(version)
    },
  },
  {
    id: 'G12',
    title: 'reads known keys in any case, as containerd sends them',
    expectReference: 'passes',
    async run(subject, version) {
      const { bridge, isGateway, ipam, ...rest } = bridged(subject, version)
      const RuntimeConfig = {
        MAC: '02:11:22:33:44:55',
        IPs: ['10.1.0.77/24'],
        dns: { Servers: ['10.0.0.10'] },
      }
      const config = { ...rest, BRIDGE: 'br7', isgateway: true, IPAM: ipam, RuntimeConfig }
      const result = await add(config, createPod())
      expect(result.interfaces?.map(({ name }) => name)).toEqual(['br7', expect.any(String), 'eth0'])
      expect(result.interfaces?.[2]?.mac).toBe('02:11:22:33:44:55')
      expect(result.ips).toMatchObject([{ address: '10.1.0.77/24', gateway: '10.1.0.1' }])
    },
  },
  {
    id: 'G12b',
    title: 'passes over keys that it does not know, and capabilities that are left in',
    expectReference: 'passes',
    async run(subject, version) {
      const more = {
        capabilities: { portMappings: true, mac: true },
        'example.com/any': { deep: [1, { a: null }] },
      }
      await add(bridged(subject, version, more), createPod())
    },
  },
  {
    id: 'G13',
    title: 'passes over unknown keys in CNI_ARGS when IgnoreUnknown is set, in any order',
    expectReference: 'passes',
    async run(subject, version) {
      for (const args of [
        'IgnoreUnknown=1;K8S_POD_NAME=a;K8S_POD_UID=x-1',
        'K8S_POD_NAME=a;IgnoreUnknown=True',
      ]) {
        freshNode()
        await add(bridged(subject, version), createPod(), { args })
      }
    },
  },
  {
    id: 'G13b',
    title: 'passes over unknown keys in CNI_ARGS without being told to',
    expectReference: { fails: 'an unknown key is an error (cni#126, cni#560)', at: /unknown args/ },
    async run(subject, version) {
      await add(bridged(subject, version), createPod(), { args: 'K8S_POD_NAME=a' })
    },
  },
  {
    id: 'G13c',
    title: 'refuses a pair in CNI_ARGS that is none, on ADD',
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      for (const args of ['IP', 'IP==10.1.0.3', 'MAC=a=b']) {
        expect((await refused('ADD', bridged(subject, version), pod, { args })).text).toMatch(/ARGS/)
      }
    },
  },
  {
    id: 'G13d',
    title: 'lets no pair in CNI_ARGS stop a DEL',
    expectReference: { fails: 'DEL fails for a pair that is none', at: /DEL succeeds/ },
    async run(subject, version) {
      const pod = createPod()
      await add(bridged(subject, version), pod)
      await done('DEL', bridged(subject, version), pod, { args: 'IP==' })
    },
  },
  {
    id: 'G15',
    title: 'prints one JSON object on stdout and nothing else, though a delegate writes to stderr',
    expectReference: 'passes',
    async run(subject, version) {
      const type = writeDelegate('noisy', `echo 'some warning' >&2; exec ${PLUGINS}/host-local`)
      const config = bridged(subject, version, { ipam: { ...ipamOf(subject), type } })
      const { stdout, stderr } = await invoke('ADD', config, createPod())
      expect(JSON.parse(stdout)).toMatchObject({ cniVersion: version, ips: [{ address: '10.1.0.2/24' }] })
      expect(stderr).toContain('some warning')
    },
  },
]

conform(...ENVIRONMENT, ...CONFIGURATION)
