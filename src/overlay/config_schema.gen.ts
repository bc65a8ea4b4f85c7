// Made by scripts/generate.ts from src/overlay/schema.ts. Do not edit.
import type { Rule } from '../cni/validate.ts'

const r0: Rule = { type: "integer", min: 1, max: 65535 }
export const OVERLAY_RULE: Rule = { type: "object", keys: {
  "$schema": { type: "string" },
  "backend": { type: "string", values: ["vxlan","direct","host-gw","none"] },
  "vni": { type: "integer", min: 1, max: 16777215 },
  "port": r0,
  "underlayMtu": { type: "integer", min: 1350, max: 65535 },
  "checksumOffload": { type: "string", values: ["auto","on","off"] },
  "probePort": r0,
  "probeIntervalMs": { type: "integer", min: 0, max: 600000 },
  "nonMasqueradeCIDRs": { type: "array", items: { type: "string", format: "network" } },
} }

export const OVERLAY_DEFAULTS = {
  backend: "vxlan",
  vni: 4242,
  port: 4789,
  checksumOffload: "auto",
  probePort: 19475,
  probeIntervalMs: 10000,
  nonMasqueradeCIDRs: [],
} as const
