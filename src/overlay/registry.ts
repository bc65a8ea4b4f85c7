import type { Backend } from './backend.ts'
import { direct } from './backends/direct.ts'
import { hostGw } from './backends/host_gw.ts'
import { none } from './backends/none.ts'
import { vxlan } from './backends/vxlan.ts'
import type { OverlayConfig } from './config.ts'

/** A new backend is one file and one line here. */
export const BACKENDS: Readonly<Record<OverlayConfig['backend'], Backend>> = {
  vxlan,
  direct,
  'host-gw': hostGw,
  none,
}

/** The links of all backends: those of a backend that is no longer configured are removed. */
export const OVERLAY_LINKS = [...new Set(Object.values(BACKENDS).flatMap(({ links }) => links))]
