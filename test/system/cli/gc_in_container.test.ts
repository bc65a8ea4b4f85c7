import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { CONF_DIR, writeNetworks } from '../../support/node/people.ts'
import { BOWLINE } from '../../support/node/plugin.ts'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { filesBelow, removeNetns } from '../../support/node/sandbox.ts'

/* bowline gc in mounts like those of the agent's container: what is not mounted there cannot be seen, and is left alone. */
const [a, b] = usePods('a', 'b')
const BOOT_ID = '/proc/sys/kernel/random/boot_id'
const IPAM = { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]] }
const NETWORK = { cniVersion: '1.1.0', name: 'lab', type: 'bowline', mode: 'l3', ipam: IPAM }
/** Of another plugin, such as macvlan, that has its addresses from us: nothing but the namespace shows that its pod lives. */
const ADDRESSES = { cniVersion: '1.1.0', name: 'addresses', type: 'macvlan', ipam: IPAM }

beforeEach(async () => {
  writeNetworks({ '10.conflist': { cniVersion: '1.1.0', name: 'lab', plugins: [NETWORK] } })
  expectSuccess(await callFor(a, 'ADD', NETWORK))
  expectSuccess(await callFor(b, 'ADD', ADDRESSES, { calledAs: 'bowline-ipam' }))
})

type Report = { readonly found: unknown[]; readonly removed: boolean; readonly errors: string[] }

/** Runs gc after a script has changed the mounts, which only gc sees. */
function gc(mounts = '', bootIdFile = BOOT_ID): Report {
  const command = `BOWLINE_BOOT_ID_FILE=${bootIdFile} ${BOWLINE} gc --yes --json --conf-dir ${CONF_DIR} || true`
  return JSON.parse(run(`unshare --mount --propagation private sh -ec '${mounts}\n${command}'`)) as Report
}

const NOTHING = { found: [], removed: false, errors: [] }
const left = () => filesBelow('/var/lib/cni').filter((path) => /^bowline\/[^.]|\/10\./.test(path))

/** Lets the record of a network name another path for its pod's namespace. */
function rename(network: string, path: string): void {
  const directory = `/var/lib/cni/bowline/${network}`
  for (const name of readdirSync(directory)) {
    const text = readFileSync(`${directory}/${name}`, 'utf8')
    writeFileSync(`${directory}/.new`, text.replace(/\/run\/netns\/\w+/, path))
    renameSync(`${directory}/.new`, `${directory}/${name}`)
  }
}

function removeLink(): void {
  run('ip link delete $(ip -o link | grep -o "veth[0-9a-f]*" | head -1)')
}

describe('status in a container', () => {
  it('tells of a lost lease only where the directory of leases is shown', () => {
    const status = (mounts: string) =>
      run(`unshare --mount --propagation private sh -ec '${mounts}
        BOWLINE_BOOT_ID_FILE=${BOOT_ID} ${BOWLINE} status --conf-dir ${CONF_DIR}'`)
    expect(status('mount -t tmpfs tmpfs /var/lib/cni/networks')).not.toContain('is not leased')
    expect(status('rm /var/lib/cni/networks/lab/10.1.0.2')).toContain('address 10.1.0.2 is not leased to it')
  })
})

describe('gc in a container', () => {
  it('removes what a pod has left that is gone, and nothing of one that lives', () => {
    expect(gc()).toEqual(NOTHING)
    removeNetns('b')
    expect(gc()).toMatchObject({
      found: [{ network: 'addresses', reason: 'its pod is gone' }],
      removed: true,
    })
    expect(left()).toEqual([expect.stringMatching('^bowline/lab/'), 'networks/lab/10.1.0.2'])
  })

  it('lets the plugin work with the boot id of the node, too, where the container has none', () => {
    removeNetns('b')
    const [node, container] = ['/var/lib/node_boot_id', '/var/lib/container_boot_id']
    writeFileSync(node, readFileSync(BOOT_ID))
    writeFileSync(container, '')
    expect(gc(`mount --bind ${container} ${BOOT_ID}`, node)).toMatchObject({ removed: true, errors: [] })
    expect(left()).toEqual([expect.stringMatching('^bowline/lab/'), 'networks/lab/10.1.0.2'])
  })

  it.each<[string, string, () => unknown]>([
    ['the namespaces are not mounted', 'mount -t tmpfs tmpfs /run', () => {}],
    ['their mounts are not propagated', 'umount /run/netns/a /run/netns/b', () => {}],
    ['another directory is in their place', '', () => rename('addresses', '/run/elsewhere/b')],
    ['the path leads through a process', '', () => rename('addresses', '/proc/999999/ns/net')],
    ['the link of the pod is gone as well', 'mount -t tmpfs tmpfs /run', removeLink],
    [
      'the link of the pod is gone, and the path leads through a process',
      '',
      () => {
        rename('lab', '/proc/999999/ns/net')
        removeLink()
      },
    ],
  ])('removes nothing where %s', (_, mounts, prepare) => {
    prepare()
    const before = left()
    expect(before).toHaveLength(4)
    expect(gc(mounts)).toEqual(NOTHING)
    expect(left()).toEqual(before)
  })

  it('leaves a record that it cannot read, with the link of its pod', () => {
    for (const name of readdirSync('/var/lib/cni/bowline/lab'))
      writeFileSync(`/var/lib/cni/bowline/lab/${name}`, '?')
    removeNetns('b')
    const links = run('ip -o link | grep -c veth')
    expect(gc()).toMatchObject({ found: [{ network: 'addresses' }], removed: true })
    expect(left()).toHaveLength(2)
    expect(run('ip -o link | grep -c veth')).toBe(links)
  })

  it('removes nothing without the boot id of its node', () => {
    expect(gc('', '/none')).toMatchObject({ error: { hint: 'Mount it as conf/bowline.yaml does.' } })
    expect(left()).toHaveLength(4)
  })
})
