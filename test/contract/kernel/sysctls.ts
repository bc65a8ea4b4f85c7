import { describe, expect } from 'vitest'
import { faultOf } from '../../support/fault_of.ts'
import { errnoOf, type It } from './fixture.ts'

export function sysctlSentences(it: It): void {
  it('belong to one namespace', ({ a, b }) => {
    a.writeSysctl('ipv4/ip_forward', '1')
    b.writeSysctl('ipv4/ip_forward', '0')
    expect(a.readSysctl('ipv4/ip_forward')).toBe('1')
    expect(b.readSysctl('ipv4/ip_forward')).toBe('0')
  })

  it('of an interface are there as long as the interface', ({ a, pair }) => {
    const key = 'ipv4/conf/near/forwarding'
    expect(a.readSysctl(key)).toBeUndefined()
    pair()
    expect(a.readSysctl(key)).toBe('0')
    a.apply([{ op: 'removeLink', link: { name: 'near' } }])
    expect(a.readSysctl(key)).toBeUndefined()
  })

  it('of an interface whose name has a dot are its own', ({ a, createBridge }) => {
    createBridge('br0.100')
    a.writeSysctl('ipv4/conf/br0.100/arp_notify', '1')
    expect(a.readSysctl('ipv4/conf/br0.100/arp_notify')).toBe('1')
  })

  it('are undefined when read and refused with ENOENT when written if there is no such key', ({ a }) => {
    expect(a.readSysctl('ipv4/no_such_key')).toBeUndefined()
    const fault = faultOf(() => a.writeSysctl('ipv4/no_such_key', '1'))
    expect(fault.errno).toBe('ENOENT')
    expect(fault.message).toContain('ipv4/no_such_key')
  })

  it('are refused with EINVAL when the value is no number', ({ a }) => {
    expect(errnoOf(() => a.writeSysctl('ipv4/ip_forward', 'yes'))).toBe('EINVAL')
  })

  it('of forwarding reach every interface, the new ones too', ({ a, createBridge, pair }) => {
    createBridge()
    a.writeSysctl('ipv4/ip_forward', '1')
    a.writeSysctl('ipv6/conf/all/forwarding', '1')
    pair()
    for (const name of ['br0', 'near', 'default', 'all']) {
      expect([name, a.readSysctl(`ipv4/conf/${name}/forwarding`)]).toEqual([name, '1'])
      expect([name, a.readSysctl(`ipv6/conf/${name}/forwarding`)]).toEqual([name, '1'])
    }
  })

  it('of the pseudo-interface default hold for new interfaces', ({ a, pair }) => {
    a.writeSysctl('ipv4/conf/default/send_redirects', '0')
    a.writeSysctl('ipv6/conf/default/accept_ra', '0')
    pair()
    expect(a.readSysctl('ipv4/conf/near/send_redirects')).toBe('0')
    expect(a.readSysctl('ipv6/conf/near/accept_ra')).toBe('0')
  })

  it('accept_ra is shown with its link, on one that is large enough for IPv6', ({ a, pair }) => {
    const link = { name: 'near' }
    expect(pair().near.acceptRa).toBe(1)
    a.writeSysctl('ipv6/conf/near/accept_ra', '2')
    expect(a.link(link)?.acceptRa).toBe(2)
    a.writeSysctl('ipv6/conf/near/accept_ra', '0')
    expect(a.links().find(({ name }) => name === 'near')?.acceptRa).toBe(0)
    expect(a.applyAndRead([{ op: 'setLink', link, mtu: 1279 }], link).acceptRa).toBeUndefined()
  })

  describe('that are set with the link', () => {
    it('are those of IPv4 that were named, and no others', ({ a, pair }) => {
      const { index } = pair().near
      a.apply([{ op: 'setLink', link: { index }, ipv4: { sendRedirects: false, arpNotify: true } }])
      const read = (leaf: string) => a.readSysctl(`ipv4/conf/near/${leaf}`)
      expect([read('send_redirects'), read('arp_notify'), read('forwarding')]).toEqual(['0', '1', '0'])
      a.apply([{ op: 'setLink', link: { index }, ipv4: { forwarding: true } }])
      expect([read('send_redirects'), read('arp_notify'), read('forwarding')]).toEqual(['0', '1', '1'])
    })

    it('say whether the kernel makes a link-local address', ({ a, pair }) => {
      const { index } = pair().near
      const read = () => a.readSysctl('ipv6/conf/near/addr_gen_mode')
      a.apply([{ op: 'setLink', link: { index }, ipv6LinkLocal: false }])
      expect(read()).toBe('1')
      a.apply([{ op: 'setLink', link: { index }, ipv6LinkLocal: true }])
      expect(read()).toBe('0')
    })
  })
}
