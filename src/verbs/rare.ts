import { check } from './check.ts'
import { gc, ipamGc } from './gc.ts'
import { ipamStatus, status } from './status.ts'

/** The verbs that a pod's start and end do without: together they take about as much code as ADD and DEL. */
export const RARE = { check, status, ipamStatus, gc, ipamGc }

export type RareVerbs = typeof RARE
