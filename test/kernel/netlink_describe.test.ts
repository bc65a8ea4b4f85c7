import { describe, expect, it } from 'vitest'
import { describeChange } from '../../src/kernel/describe.ts'
import { REQUESTS } from '../support/netlink/requests.ts'

const WORDS: Record<string, string> = {
  'ip link add br1 address 02:00:00:00:00:01 type bridge': 'create bridge br1',
  'ip link add br1 address 02:00:00:00:00:01 mtu 1400 type bridge vlan_filtering 1':
    'create bridge br1 with VLAN filtering',
  'ip link set v0 up': 'set link 7',
  'ip link add link br0 name br0.5 type vlan id 5': 'create VLAN link br0.5 for VLAN 5',
  'ip addr add 10.1.0.2/31 dev v0': 'add address 10.1.0.2/31 to link 7',
  'ip addr del fd00::2/64 dev v0': 'remove address fd00::2/64 from link 7',
  'ip -6 route append default via fd00::1 dev v0': 'add route ::/0 via fd00::1',
  'ip route append 10.2.0.0/24 dev v0 scope host': 'add route 10.2.0.0/24',
  'bridge vlan add dev v0 vid 10-20 master': 'add VLAN 10-20 to port 7',
}

describe('in words for people', () => {
  it.each(Object.entries(WORDS))('%s is: %s', (ip, words) => {
    const change = REQUESTS.find(([command]) => command === ip)?.[1]
    expect(change && describeChange(change)).toBe(words)
  })

  it('no change is without words', () => {
    for (const [, change] of REQUESTS) expect(describeChange(change)).toMatch(/^[a-z]+ [a-zA-Z]+ ./)
  })
})
