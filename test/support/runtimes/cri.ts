import { join } from 'node:path'
import { credentials, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

/** The kubelet's own. The kernel changes links one at a time on the whole machine, and others may have many to remove. */
const CALL_TIMEOUT_MS = 120_000

export type PodSandboxConfig = {
  readonly metadata: {
    readonly name: string
    readonly uid: string
    readonly namespace: string
    readonly attempt: number
  }
  readonly hostname: string
  readonly log_directory: string
  readonly annotations?: Readonly<Record<string, string>>
  readonly linux: { readonly cgroup_parent: string }
}

export type ContainerConfig = {
  readonly metadata: { readonly name: string; readonly attempt: number }
  readonly image: { readonly image: string }
  readonly command: readonly string[]
}

export type PodSandboxStatus = {
  readonly id: string
  readonly network: { readonly ip: string; readonly additional_ips: readonly { readonly ip: string }[] }
}

type RuntimeCondition = { readonly type: string; readonly status: boolean; readonly message: string }

/** A client of the Container Runtime Interface: the calls that the kubelet makes for a pod. */
export type Cri = {
  status(): Promise<{ readonly status: { readonly conditions: readonly RuntimeCondition[] } }>
  runPodSandbox(config: PodSandboxConfig): Promise<{ readonly pod_sandbox_id: string }>
  podSandboxStatus(
    id: string,
  ): Promise<{ readonly status: PodSandboxStatus; readonly info: Record<string, string> }>
  createContainer(
    id: string,
    config: ContainerConfig,
    sandbox: PodSandboxConfig,
  ): Promise<{ readonly container_id: string }>
  startContainer(id: string): Promise<unknown>
  stopPodSandbox(id: string): Promise<unknown>
  removePodSandbox(id: string): Promise<unknown>
  close(): void
}

/** Connects to the runtime behind a Unix socket. The connection is made with the first call. */
export function connectCri(socket: string): Cri {
  const definition = loadSync(join(import.meta.dirname, 'cri.proto'), { keepCase: true, defaults: true })
  const { runtime } = loadPackageDefinition(definition) as unknown as {
    runtime: { v1: { RuntimeService: ServiceClientConstructor } }
  }
  const client = new runtime.v1.RuntimeService(`unix:${socket}`, credentials.createInsecure())
  const call = <T>(method: string, request: object): Promise<T> =>
    new Promise((resolve, reject) => {
      const deadline = Date.now() + CALL_TIMEOUT_MS
      client[method]?.(request, { deadline }, (error: Error | null, response: T) =>
        error ? reject(error) : resolve(response),
      )
    })
  return {
    status: () => call('Status', {}),
    runPodSandbox: (config) => call('RunPodSandbox', { config }),
    podSandboxStatus: (id) => call('PodSandboxStatus', { pod_sandbox_id: id, verbose: true }),
    createContainer: (id, config, sandbox) =>
      call('CreateContainer', { pod_sandbox_id: id, config, sandbox_config: sandbox }),
    startContainer: (id) => call('StartContainer', { container_id: id }),
    stopPodSandbox: (id) => call('StopPodSandbox', { pod_sandbox_id: id }),
    removePodSandbox: (id) => call('RemovePodSandbox', { pod_sandbox_id: id }),
    close: () => client.close(),
  }
}
