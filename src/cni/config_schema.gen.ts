// Made by scripts/generate.ts from src/cni/schema.ts. Do not edit.
import type { Rule } from './validate.ts'

const r0: Rule = { type: "string" }
const r1: Rule = { type: "boolean" }
const r2: Rule = { type: "integer", min: 1, max: 4094 }
const r3: Rule = { type: "string", format: "cidr" }
const r4: Rule = { type: "string", format: "address" }
const r5: Rule = { type: "object", required: ["subnet"], keys: {
  "subnet": r3,
  "rangeStart": r4,
  "rangeEnd": r4,
  "gateway": r4,
} }
const r6: Rule = { type: "array", items: r5 }
const r7: Rule = { type: "array", items: r6 }
const r8: Rule = { type: "integer", min: 0, max: 4294967295 }
const r9: Rule = { type: "integer", min: 0, max: 255 }
const r10: Rule = { type: "object", required: ["dst"], keys: {
  "dst": r3,
  "gw": r4,
  "mtu": r8,
  "advmss": r8,
  "priority": r8,
  "table": r8,
  "scope": r9,
} }
const r11: Rule = { type: "array", items: r10 }
const r12: Rule = { type: "string", format: "path" }
const r13: Rule = { type: "array", items: r0 }
const r14: Rule = { type: "object", keys: {
  "nameservers": r13,
  "domain": r0,
  "search": r13,
  "options": r13,
} }
const r15: Rule = { type: "string", format: "mac" }
const r16: Rule = { type: "string", format: "addressOrCidr" }
const r17: Rule = { type: "array", items: r16 }
const r18: Rule = { type: "integer", min: 1, max: 65535 }
const r19: Rule = { type: "integer", min: 0, max: 9007199254740991 }
const r20: Rule = { type: "integer", min: 0, max: 34359738359 }
const r21: Rule = { type: "object" }
const r22: Rule = { type: "object", required: ["containerID","ifname"], keys: {
  "containerID": r0,
  "ifname": r0,
} }
const r23: Rule = { type: "array", nullable: true, items: r22 }
const r24: Rule = { type: "object", required: ["ip"], keys: {
  "ip": r3,
  "gateway": r4,
  "routes": r11,
} }
export const CONFIG_RULE: Rule = { type: "object", required: ["name"], keys: {
  "cniVersion": { type: "string", values: ["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"] },
  "name": { type: "string", format: "networkName" },
  "type": r0,
  "mode": { type: "string", values: ["l2","l3"] },
  "bridge": { type: "string", format: "interfaceName" },
  "isGateway": r1,
  "isDefaultGateway": r1,
  "forceAddress": r1,
  "ipMasq": r1,
  "ipMasqBackend": { type: "string", values: ["iptables","nftables"] },
  "mtu": { type: "integer", min: 0, max: 65535 },
  "txQueueLen": { type: "integer", min: 1, max: 1000000 },
  "hairpinMode": r1,
  "promiscMode": r1,
  "vlan": { type: "integer", min: 0, max: 4094 },
  "vlanTrunk": { type: "array", items: { type: "object", keys: {
  "id": r2,
  "minID": r2,
  "maxID": r2,
} } },
  "preserveDefaultVlan": r1,
  "macspoofchk": r1,
  "enabledad": r1,
  "disableContainerInterface": r1,
  "portIsolation": r1,
  "ipam": { type: "object", keys: {
  "type": { type: "string", format: "pluginName" },
  "ranges": r7,
  "subnet": r3,
  "rangeStart": r4,
  "rangeEnd": r4,
  "gateway": r4,
  "routes": r11,
  "dataDir": r12,
  "resolvConf": r12,
} },
  "dns": r14,
  "logFile": r12,
  "logLevel": { type: "string", values: ["error","info","debug","trace"] },
  "args": { type: "object", keys: {
  "cni": { type: "object", keys: {
  "mac": r15,
  "ips": r17,
} },
} },
  "runtimeConfig": { type: "object", keys: {
  "mac": r15,
  "ips": r17,
  "ipRanges": r7,
  "dns": { type: "object", keys: {
  "servers": r13,
  "searches": r13,
  "options": r13,
  "nameservers": r13,
  "domain": r0,
  "search": r13,
} },
  "portMappings": { type: "array", items: { type: "object", required: ["hostPort","containerPort"], keys: {
  "hostPort": r18,
  "containerPort": r18,
  "protocol": { type: "string", values: ["tcp","udp","sctp"] },
  "hostIP": r4,
} } },
  "bandwidth": { type: "object", keys: {
  "ingressRate": r19,
  "ingressBurst": r20,
  "egressRate": r19,
  "egressBurst": r20,
} },
} },
  "capabilities": r21,
  "prevResult": r21,
  "cni.dev/valid-attachments": r23,
  "cni.dev/attachments": r23,
} }
export const RESULT_RULE: Rule = { type: "object", keys: {
  "cniVersion": r0,
  "interfaces": { type: "array", items: { type: "object", keys: {
  "name": r0,
  "mac": r0,
  "mtu": r8,
  "sandbox": r0,
  "socketPath": r0,
  "pciID": r0,
} } },
  "ips": { type: "array", items: { type: "object", required: ["address"], keys: {
  "address": r3,
  "gateway": r4,
  "interface": r8,
} } },
  "routes": r11,
  "ip4": r24,
  "ip6": r24,
  "dns": r14,
} }
