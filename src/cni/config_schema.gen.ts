// Made by scripts/generate.ts from src/cni/schema.ts. Do not edit.
import type { Rule } from './validate.ts'

const r0: Rule = { type: "string" }
const r1: Rule = { type: "boolean" }
const r2: Rule = { type: "string", format: "cidr" }
const r3: Rule = { type: "array", items: r2 }
const r4: Rule = { type: "integer", min: 1, max: 4094 }
const r5: Rule = { type: "integer", min: 0, max: 9007199254740991 }
const r6: Rule = { type: "integer", min: 0, max: 34359738359 }
const r7: Rule = { type: "string", format: "address" }
const r8: Rule = { type: "object", required: ["subnet"], keys: {
  "subnet": r2,
  "rangeStart": r7,
  "rangeEnd": r7,
  "gateway": r7,
} }
const r9: Rule = { type: "array", items: r8 }
const r10: Rule = { type: "array", items: r9 }
const r11: Rule = { type: "integer", min: 0, max: 4294967295 }
const r12: Rule = { type: "integer", min: 0, max: 255 }
const r13: Rule = { type: "object", required: ["dst"], keys: {
  "dst": r2,
  "gw": r7,
  "mtu": r11,
  "advmss": r11,
  "priority": r11,
  "table": r11,
  "scope": r12,
} }
const r14: Rule = { type: "array", items: r13 }
const r15: Rule = { type: "string", format: "path" }
const r16: Rule = { type: "array", items: r0 }
const r17: Rule = { type: "object", keys: {
  "nameservers": r16,
  "domain": r0,
  "search": r16,
  "options": r16,
} }
const r18: Rule = { type: "string", format: "mac" }
const r19: Rule = { type: "string", format: "addressOrCidr" }
const r20: Rule = { type: "array", items: r19 }
const r21: Rule = { type: "integer", min: 1, max: 65535 }
const r22: Rule = { type: "object" }
const r23: Rule = { type: "object", required: ["containerID","ifname"], keys: {
  "containerID": r0,
  "ifname": r0,
} }
const r24: Rule = { type: "array", nullable: true, items: r23 }
const r25: Rule = { type: "object", required: ["ip"], keys: {
  "ip": r2,
  "gateway": r7,
  "routes": r14,
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
  "ipMasqBackend": { type: "string", values: ["iptables","nftables"] },
  "nonMasqueradeCIDRs": r3,
  "ipMasqFullyRandom": r1,
  "snat": r1,
  "masqAll": r1,
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
  "enabledad": r1,
  "disableContainerInterface": r1,
  "portIsolation": r1,
  "ingressRate": r5,
  "ingressBurst": r6,
  "egressRate": r5,
  "egressBurst": r6,
  "shapedSubnets": r3,
  "unshapedSubnets": r3,
  "ipam": { type: "object", keys: {
  "type": { type: "string", format: "pluginName" },
  "ranges": r10,
  "subnet": r2,
  "rangeStart": r7,
  "rangeEnd": r7,
  "gateway": r7,
  "routes": r14,
  "dataDir": r15,
  "resolvConf": r15,
} },
  "dns": r17,
  "logFile": r15,
  "logLevel": { type: "string", values: ["error","info","debug","trace"] },
  "args": { type: "object", keys: {
  "cni": { type: "object", keys: {
  "mac": r18,
  "ips": r20,
  "masquerade": r1,
} },
} },
  "runtimeConfig": { type: "object", keys: {
  "mac": r18,
  "ips": r20,
  "ipRanges": r10,
  "dns": { type: "object", keys: {
  "servers": r16,
  "searches": r16,
  "options": r16,
  "nameservers": r16,
  "domain": r0,
  "search": r16,
} },
  "portMappings": { type: "array", items: { type: "object", required: ["hostPort","containerPort"], keys: {
  "hostPort": r21,
  "containerPort": r21,
  "protocol": { type: "string", values: ["tcp","udp","sctp"] },
  "hostIP": r7,
} } },
  "bandwidth": { type: "object", keys: {
  "ingressRate": r5,
  "ingressBurst": r6,
  "egressRate": r5,
  "egressBurst": r6,
  "shapedSubnets": r3,
  "unshapedSubnets": r3,
} },
  "io.kubernetes.cri.pod-annotations": { type: "object", keys: {
  "bowline.io/masquerade": { type: "string", values: ["true","false"] },
} },
} },
  "capabilities": r22,
  "prevResult": r22,
  "cni.dev/valid-attachments": r24,
  "cni.dev/attachments": r24,
} }
export const RESULT_RULE: Rule = { type: "object", keys: {
  "cniVersion": r0,
  "interfaces": { type: "array", items: { type: "object", keys: {
  "name": r0,
  "mac": r0,
  "mtu": r11,
  "sandbox": r0,
  "socketPath": r0,
  "pciID": r0,
} } },
  "ips": { type: "array", items: { type: "object", required: ["address"], keys: {
  "address": r2,
  "gateway": r7,
  "interface": r11,
} } },
  "routes": r14,
  "ip4": r25,
  "ip6": r25,
  "dns": r17,
} }
