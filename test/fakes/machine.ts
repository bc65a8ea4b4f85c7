import type { Machine } from '../../src/core/machine.ts'

/** A machine without a terminal, where it is always the same moment. */
export function createFakeMachine(more: Partial<Machine> = {}): Machine {
  return {
    now: () => 1_700_000_000_123,
    pid: () => 42,
    hostname: () => 'node',
    modified: () => undefined,
    selinuxLabel: () => '',
    isTerminal: () => false,
    columns: () => 80,
    readLine: () => '',
    show: () => undefined,
    appendLog: () => undefined,
    ...more,
  }
}
