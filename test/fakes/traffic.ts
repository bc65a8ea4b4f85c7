import { sameAddress } from '../../src/core/address.ts'
import type { Connection, ConnectionFilter, Listener, Traffic } from '../../src/kernel/traffic.ts'
import type { Steps } from './kernel/steps.ts'

/** Sockets and connections that a test puts here. */
export class FakeTraffic implements Traffic {
  /** By protocol. */
  readonly sockets = new Map<number, Listener[]>()
  tracked: Connection[] = []
  readonly #steps: Steps

  constructor(steps: Steps) {
    this.#steps = steps
  }

  listeners(protocol: number): Listener[] {
    return this.#steps.run(`list listeners of protocol ${protocol}`, () => this.sockets.get(protocol) ?? [])
  }

  connections({ family, protocol, port, answeredBy }: ConnectionFilter): Connection[] {
    return this.#steps.run('list connections', () =>
      this.tracked.filter(
        (one) =>
          one.destination.family === family &&
          (protocol === undefined || one.protocol === protocol) &&
          (port === undefined || one.port === port) &&
          (answeredBy === undefined || sameAddress(one.answeredBy, answeredBy)),
      ),
    )
  }

  forget(connections: readonly Connection[]): void {
    this.#steps.run(`forget ${connections.length} connections`, () => {
      this.tracked = this.tracked.filter((one) => !connections.includes(one))
    })
  }
}
