import type { Backend } from '../backend.ts'

/** The network between the nodes knows the way to pods: nothing is to be made, and what another backend has made goes. */
export const none: Backend = {
  links: [],
  reach: () => ({ entries: [] }),
  link: () => [],
}
