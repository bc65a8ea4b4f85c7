import { describe, expect, it } from 'vitest'
import { parseResolvConf } from '../../ipam/resolv_conf.ts'

describe('a resolv.conf', () => {
  it('gives name servers, domain, search list and options', () => {
    const text =
      'nameserver 192.0.2.1\nnameserver fd00::1\ndomain example.com\nsearch a.com b.com\noptions ndots:2 rotate\n'
    expect(parseResolvConf(text)).toEqual({
      nameservers: ['192.0.2.1', 'fd00::1'],
      domain: 'example.com',
      search: ['a.com', 'b.com'],
      options: ['ndots:2', 'rotate'],
    })
  })

  it('adds up search lists and options, and takes the last domain', () => {
    const { search, options, domain } = parseResolvConf(
      'search a\nsearch b c\noptions x\noptions y\ndomain d\ndomain e',
    )
    expect({ search, options, domain }).toEqual({ search: ['a', 'b', 'c'], options: ['x', 'y'], domain: 'e' })
  })

  it('passes over comments, unknown words, and words without a value', () => {
    const text = '# nameserver 1.1.1.1\n;nameserver 1.1.1.1\nsortlist 1.2.3.4\nnameserver\ndomain\n\nsearch\n'
    expect(parseResolvConf(text)).toEqual({ nameservers: [], search: [], options: [] })
  })

  it('takes only the first value of a name server, and any white space between', () => {
    expect(parseResolvConf('  nameserver\t192.0.2.1   trailing words\r\n').nameservers).toEqual(['192.0.2.1'])
  })

  it('may be empty', () => {
    expect(parseResolvConf('')).toEqual({ nameservers: [], search: [], options: [] })
  })
})
