import { readFileSync } from 'node:fs'
import { DaemonSet } from 'kubernetes-models/apps/v1/DaemonSet'
import { ClusterRole } from 'kubernetes-models/rbac.authorization.k8s.io/v1/ClusterRole'
import { ClusterRoleBinding } from 'kubernetes-models/rbac.authorization.k8s.io/v1/ClusterRoleBinding'
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap'
import { ServiceAccount } from 'kubernetes-models/v1/ServiceAccount'
import { describe, expect, it } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { IMAGE_NAME } from '../../scripts/image/name.ts'

/* conf/bowline.yaml against the types of the Kubernetes API, and against what our own programs expect. */

const KINDS = { ClusterRole, ClusterRoleBinding, ConfigMap, DaemonSet, ServiceAccount } as const

const read = (name: string) => readFileSync(new URL(`../../conf/${name}`, import.meta.url), 'utf8')
const documents = parseAllDocuments(read('bowline.yaml')).map((one) => one.toJS() as Manifest)

type Manifest = { kind: keyof typeof KINDS; metadata: { name: string; namespace?: string } } & Record<
  string,
  unknown
>

function validate(manifest: Manifest): void {
  // On the prototype, as a constructor would copy the object.
  KINDS[manifest.kind].prototype.validate.call(manifest)
}

/**
 * Keys that the API does not know: those that the validator has not looked at. It ignores them, as the API server does without
 * --validate=strict; a misspelt one would be without effect.
 */
function unknownKeys(manifest: Manifest): string[] {
  const seen = new Set<string>()
  validate(watched(manifest, '', seen))
  return pathsOf(manifest, '').filter((path) => !seen.has(path))
}

function watched<T extends object>(value: T, path: string, seen: Set<string>): T {
  return new Proxy(value, {
    get(target, key, receiver) {
      const child: unknown = Reflect.get(target, key, receiver)
      if (typeof key === 'symbol' || !Object.hasOwn(target, key)) return child
      seen.add(`${path}/${key}`)
      return typeof child === 'object' && child !== null ? watched(child, `${path}/${key}`, seen) : child
    },
  })
}

function pathsOf(value: unknown, path: string): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, child]) => [
    `${path}/${key}`,
    ...pathsOf(child, `${path}/${key}`),
  ])
}

function only<K extends keyof typeof KINDS>(kind: K): InstanceType<(typeof KINDS)[K]> {
  const [found, ...more] = documents.filter((one) => one.kind === kind)
  expect(more).toEqual([])
  return found as never
}

const template = only('DaemonSet').spec?.template.spec
const container = template?.containers[0]

describe('conf/bowline.yaml', () => {
  it.each(documents.map((one) => [one.kind, one]))('has a %s as the API takes it', (_, manifest) => {
    expect(unknownKeys(manifest)).toEqual([])
  })

  it('would be found wrong with a key that the API does not know, and with a value of another type', () => {
    const manifest = structuredClone(only('DaemonSet')) as unknown as Manifest
    const { spec } = (manifest as unknown as { spec: { template: { spec: object } } }).spec.template
    Object.assign(spec, { hostNetworks: true })
    expect(unknownKeys(manifest)).toEqual(['/spec/template/spec/hostNetworks'])
    Object.assign(spec, { hostNetwork: 'yes' })
    expect(() => unknownKeys(manifest)).toThrow('hostNetwork')
  })

  it('is all in kube-system under one name', () => {
    const namespaces = documents
      .filter(({ kind }) => !kind.startsWith('Cluster'))
      .map(({ metadata }) => metadata.namespace)
    expect([new Set(namespaces), new Set(documents.map(({ metadata }) => metadata.name))]).toEqual([
      new Set(['kube-system']),
      new Set(['bowline']),
    ])
  })

  it('names the image that npm run image makes', () => {
    expect(container?.image).toBe(IMAGE_NAME)
  })

  it('hands out the conflist that we ship', () => {
    expect(only('ConfigMap').data?.['10-bowline.conflist']).toBe(read('10-bowline.conflist'))
  })

  it('lets the agent list and watch Nodes and patch their status, and nothing else', () => {
    expect(only('ClusterRole').rules).toEqual([
      { apiGroups: [''], resources: ['nodes'], verbs: ['list', 'watch'] },
      { apiGroups: [''], resources: ['nodes/status'], verbs: ['patch'] },
    ])
  })

  it('gives it one capability, no way to more, and no root file system to write', () => {
    expect(container?.securityContext).toMatchObject({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      seLinuxOptions: { type: 'spc_t' },
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
    })
    expect(container?.securityContext?.privileged).toBeUndefined()
    expect([template?.hostPID, template?.hostIPC]).toEqual([undefined, undefined])
  })

  it('runs on nodes that are not ready, before what needs a network', () => {
    expect(template).toMatchObject({
      hostNetwork: true,
      priorityClassName: 'system-node-critical',
      tolerations: [{ operator: 'Exists' }],
    })
  })

  it('shows the agent the namespaces of pods, as they come and go, and the boot id of the node, which it may not write', () => {
    const mounts = container?.volumeMounts?.filter(({ name }) => ['namespaces', 'boot-id'].includes(name))
    expect(mounts).toEqual([
      {
        name: 'namespaces',
        mountPath: '/var/run/netns',
        mountPropagation: 'HostToContainer',
        readOnly: true,
      },
      { name: 'boot-id', mountPath: '/run/bowline/boot_id', readOnly: true },
    ])
  })

  it('asks the agent on loopback alone', () => {
    const probes = [container?.livenessProbe, container?.readinessProbe].map((probe) => probe?.httpGet)
    expect(probes).toEqual(['/livez', '/readyz'].map((path) => ({ host: '127.0.0.1', port: 19474, path })))
  })
})

it('conf/kind.yaml makes a cluster that has no network of its own', () => {
  const [cluster] = parseAllDocuments(read('kind.yaml')).map((one) => one.toJS() as Record<string, unknown>)
  expect(cluster).toMatchObject({ kind: 'Cluster', networking: { disableDefaultCNI: true } })
})
