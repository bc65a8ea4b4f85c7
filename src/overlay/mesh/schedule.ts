/*
 * Whom to measure next. Each turn is one peer, and turns come at a constant rate, so the load of a node and of the network between any two
 * does not grow with the cluster. The nodes stand in a ring by their names; in the n-th turn a node measures the one that is n places ahead
 * of it. So all peers have had a turn after as many turns as there are peers, and nodes that run in step never meet at one peer: each is
 * asked by one node a turn.
 *
 * Every other turn goes to a peer that something is wrong with, while there is one: an outage is followed closely, and every peer still has
 * its turn within twice as many turns.
 */

export type Schedule = {
  /** Returns the next peer; undefined if there is none. `suspects`: those with which something was wrong the last time. */
  next(ring: readonly string[], suspects: ReadonlySet<string>): string | undefined
}

export function createSchedule(own: string): Schedule {
  let distance = 0
  let suspectAt = 0
  let isRingsTurn = false
  const nextInRing = (ring: readonly string[]): string | undefined => {
    if (ring.length < 2) return undefined
    distance = (distance % (ring.length - 1)) + 1
    return ring[(placeOf(own, ring) + distance) % ring.length]
  }
  const nextSuspect = (ring: readonly string[], suspects: ReadonlySet<string>): string | undefined => {
    if (suspects.size === 0) return undefined
    for (let step = 0; step < ring.length; step++) {
      suspectAt = (suspectAt + 1) % ring.length
      const peer = ring[suspectAt]
      if (peer !== undefined && peer !== own && suspects.has(peer)) return peer
    }
    return undefined
  }
  return {
    next(ring, suspects) {
      isRingsTurn = !isRingsTurn
      return (isRingsTurn ? undefined : nextSuspect(ring, suspects)) ?? nextInRing(ring)
    },
  }
}

/** The ring contains the own name; a node that is not in it has a place all the same. */
function placeOf(own: string, ring: readonly string[]): number {
  return Math.max(0, ring.indexOf(own))
}
