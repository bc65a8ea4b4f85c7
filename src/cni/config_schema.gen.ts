// Made by scripts/generate.ts from src/cni/schema.ts. Do not edit.
import type { Rule } from './validate.ts'

const r0: Rule = { type: "string" }
const r1: Rule = { type: "boolean" }
const r2: Rule = { type: "string", values: ["iptables","nftables"] }
const r3: Rule = { type: "array", items: r0 }
const r4: Rule = { type: "integer", min: 1, max: 4094 }
const r5: Rule = { type: "integer", min: 0, max: 9007199254740991 }
const r6: Rule = { type: "integer", min: 0, max: 34359738359 }
const r7: Rule = { type: "string", format: "cidr" }
const r8: Rule = { type: "array", items: r7 }
const r9: Rule = { type: "string", format: "address" }
const r10: Rule = { type: "object", required: ["subnet"], keys: {
  "subnet": r7,
  "rangeStart": r9,
  "rangeEnd": r9,
  "gateway": r9,
} }
const r11: Rule = { type: "array", items: r10 }
const r12: Rule = { type: "array", items: r11 }
const r13: Rule = { type: "integer", min: 0, max: 4294967295 }
const r14: Rule = { type: "integer", min: 0, max: 255 }
const r15: Rule = { type: "object", required: ["dst"], keys: {
  "dst": r7,
  "gw": r9,
  "mtu": r13,
  "advmss": r13,
  "priority": r13,
  "table": r13,
  "scope": r14,
} }
const r16: Rule = { type: "array", items: r15 }
const r17: Rule = { type: "string", format: "path" }
const r18: Rule = { type: "object", keys: {
  "nameservers": r3,
  "domain": r0,
  "search": r3,
  "options": r3,
} }
const r19: Rule = { type: "string", format: "mac" }
const r20: Rule = { type: "string", format: "addressOrCidr" }
const r21: Rule = { type: "array", items: r20 }
const r22: Rule = { type: "integer", min: 1, max: 65535 }
const r23: Rule = { type: "object" }
const r24: Rule = { type: "object", required: ["containerID","ifname"], keys: {
  "containerID": r0,
  "ifname": r0,
} }
const r25: Rule = { type: "array", nullable: true, items: r24 }
const r26: Rule = { type: "object", required: ["ip"], keys: {
  "ip": r7,
  "gateway": r9,
  "routes": r16,
} }
export const CONFIG_RULE: Rule = { type: "object", required: ["name"], keys: {
  "cniVersion": { type: "string", values: ["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"] },
  "name": { type: "string", format: "networkName" },
  "type": r0,
  "mode": { type: "string", values: ["l2","l3","chained"] },
  "bridge": { type: "string", format: "interfaceName" },
  "isGateway": r1,
  "isDefaultGateway": r1,
  "forceAddress": r1,
  "ipMasq": r1,
  "ipMasqBackend": r2,
  "nonMasqueradeCIDRs": { type: "array", items: { type: "string", format: "network" } },
  "ipMasqFullyRandom": r1,
  "snat": r1,
  "masqAll": r1,
  "backend": r2,
  "markMasqBit": { type: "integer", min: 0, max: 31 },
  "externalSetMarkChain": r0,
  "conditionsV4": r3,
  "conditionsV6": r3,
  "mtu": { type: "integer", min: 0, max: 65535 },
  "txQueueLen": { type: "integer", min: 1, max: 1000000 },
  "hairpinMode": r1,
  "promiscMode": r1,
  "vlan": { type: "integer", min: 0, max: 4094 },
  "vlanTrunk": { type: "array", items: { type: "object", keys: {
  "id": r4,
  "minID": r4,
  "maxID": r4,
} } },
  "preserveDefaultVlan": r1,
  "macspoofchk": r1,
  "ipspoofchk": r1,
  "enabledad": r1,
  "disableContainerInterface": r1,
  "portIsolation": r1,
  "ingressRate": r5,
  "ingressBurst": r6,
  "egressRate": r5,
  "egressBurst": r6,
  "shapedSubnets": r8,
  "unshapedSubnets": r8,
  "ipam": { type: "object", keys: {
  "type": { type: "string", format: "pluginName" },
  "ranges": r12,
  "subnet": r7,
  "rangeStart": r9,
  "rangeEnd": r9,
  "gateway": r9,
  "routes": r16,
  "dataDir": r17,
  "resolvConf": r17,
} },
  "dns": r18,
  "logFile": r17,
  "logLevel": { type: "string", values: ["error","info","debug","trace"] },
  "args": { type: "object", keys: {
  "cni": { type: "object", keys: {
  "mac": r19,
  "ips": r21,
  "masquerade": r1,
} },
} },
  "runtimeConfig": { type: "object", keys: {
  "mac": r19,
  "ips": r21,
  "ipRanges": r12,
  "dns": { type: "object", keys: {
  "servers": r3,
  "searches": r3,
  "options": r3,
  "nameservers": r3,
  "domain": r0,
  "search": r3,
} },
  "portMappings": { type: "array", items: { type: "object", required: ["hostPort","containerPort"], keys: {
  "hostPort": r22,
  "containerPort": r22,
  "protocol": { type: "string", values: ["tcp","udp","sctp"] },
  "hostIP": r9,
} } },
  "bandwidth": { type: "object", keys: {
  "ingressRate": r5,
  "ingressBurst": r6,
  "egressRate": r5,
  "egressBurst": r6,
  "shapedSubnets": r8,
  "unshapedSubnets": r8,
} },
  "io.kubernetes.cri.pod-annotations": { type: "object", keys: {
  "bowline.io/masquerade": { type: "string", values: ["true","false"] },
} },
} },
  "capabilities": r23,
  "prevResult": r23,
  "cni.dev/valid-attachments": r25,
  "cni.dev/attachments": r25,
} }
export const RESULT_RULE: Rule = { type: "object", keys: {
  "cniVersion": r0,
  "interfaces": { type: "array", items: { type: "object", keys: {
  "name": r0,
  "mac": r0,
  "mtu": r13,
  "sandbox": r0,
  "socketPath": r0,
  "pciID": r0,
} } },
  "ips": { type: "array", items: { type: "object", required: ["address"], keys: {
  "address": r7,
  "gateway": r9,
  "interface": r13,
} } },
  "routes": r16,
  "ip4": r26,
  "ip6": r26,
  "dns": r18,
} }
