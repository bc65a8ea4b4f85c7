import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { encodeCell } from '../../../src/overlay/mesh/cell.ts'
import type { MeshView } from '../../../src/overlay/mesh/view.ts'
import { type Page, startChromium } from '../../support/browser/chromium.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { enterSandbox } from '../../support/node/sandbox.ts'
import { inNamespace, type MeshOfAgents, startMeshOfAgents } from '../../support/overlay/agents.ts'
import { meshOf } from '../../support/overlay/mesh_view.ts'
import { type FakeSite, serveMesh } from '../../support/overlay/site.ts'

/* The page of the mesh in a real browser: of agents as they were built, and of meshes that are made up. */
let page: Page
let site: FakeSite | undefined

beforeAll(enterSandbox)

async function untilPage(what: string, expression: string): Promise<void> {
  for (let round = 0; round < 400; round++) {
    if (await page.evaluate<boolean>(expression)) return
    await Bun.sleep(50)
  }
  throw new Error(`the page never had: ${what}\n${await text()}\n${page.console.join('\n')}`)
}

const text = () => page.evaluate<string>('document.body.innerText')
const cell = (from: number, to: number) =>
  `document.querySelector('#matrix tbody').rows[${from}].cells[${to + 1}]`

describe('the page of an agent', () => {
  let mesh: MeshOfAgents
  beforeAll(async () => {
    mesh = startMeshOfAgents({ backend: 'direct' })
    page = await startChromium({ prefix: mesh.on(1), within: (work) => inNamespace(1, work) })
  })
  afterAll(async () => {
    await page.close()
    await mesh.end()
  })

  it('shows the mesh, and at once what breaks and what is mended', async () => {
    await page.show(1280, 900)
    await page.open('http://127.0.0.1:19474/')
    await untilPage('the mesh', `document.querySelectorAll('#matrix td.ok').length === 6`)
    expect(await text()).toMatch(/Mesh, as seen from node1\n+3 nodes, backend direct[\s\S]*● live/)
    run(
      `ip netns exec n3 nft 'table inet cut { chain in { type filter hook prerouting priority -300; udp dport 4789 drop; }; }'`,
    )
    await untilPage(
      'the silence',
      `${cell(0, 2)}.textContent === '✗' && ${cell(0, 1)}.className.includes('ok')`,
    )
    await untilPage(
      'the cause',
      `document.querySelector('#findings').innerText.includes('UDP port 4789 (VXLAN)')`,
    )
    // As node 2 has measured, and told node 1.
    await untilPage('the row of another node', `${cell(1, 2)}.textContent === '✗'`)
    run('ip netns exec n3 nft delete table inet cut')
    await untilPage('the end of it', `document.querySelectorAll('#matrix td.ok').length === 6`)
    await untilPage(
      'no finding',
      `document.querySelector('#findings').innerText.includes('Nothing, as far as')`,
    )
  })

  it('says when the agent has gone', async () => {
    mesh.nodes[0]?.agent.kill()
    await untilPage('the loss', `document.querySelector('#live').textContent.includes('does not answer')`)
    expect(await page.evaluate('document.querySelector("#live").className')).toBe('lost')
  })
})

describe('the page of any mesh', () => {
  beforeAll(async () => {
    page = await startChromium()
  })
  afterEach(async () => {
    await site?.stop()
  })
  afterAll(() => page.close())

  async function open(view: MeshView, width = 1280): Promise<void> {
    site = serveMesh(view)
    await page.show(width, 900)
    await page.open(site.url)
    await untilPage(
      'the mesh',
      `document.querySelectorAll('#matrix td').length === ${view.nodes.length ** 2}`,
    )
  }

  it('says each state by a sign and by words, not by colour alone', async () => {
    const troubles = (['lossy', 'small', 'silent', 'noAgent', 'unmeasured'] as const).map(
      (state, i) => [0, i + 1, state] as const,
    )
    await open(meshOf(6, troubles))
    const signs = await page.evaluate<string[]>(
      `[...document.querySelector('#matrix tbody').rows[0].cells].slice(2).map((one) => one.textContent)`,
    )
    expect(signs.map((one) => one.replace(/\d.*/, '#'))).toEqual(['! #', '~ #', '✗', '–', '?'])
    expect(await page.evaluate(`${cell(0, 3)}.getAttribute('aria-label')`)).toBe(
      'node1 to node4: nothing arrives',
    )
    expect(await page.evaluate(`document.querySelector('#map').getAttribute('aria-label')`)).toMatch(
      /^6 nodes; 4 pairs have a problem/,
    )
  })

  it('is used with the keyboard alone', async () => {
    await open(meshOf(4))
    await page.press('Tab')
    expect(await page.evaluate(`document.activeElement.getAttribute('aria-label')`)).toMatch(
      /^node1 to node2: all is well/,
    )
    for (const key of ['ArrowDown', 'ArrowDown', 'ArrowRight', 'ArrowRight']) await page.press(key)
    expect(await page.evaluate(`document.activeElement.getAttribute('aria-label')`)).toMatch(
      /^node3 to node4/,
    )
    expect(await page.evaluate(`document.querySelector('#detail h2').textContent`)).toBe('node3 → node4')
    expect(await page.evaluate(`getComputedStyle(document.activeElement).outlineStyle`)).toBe('solid')
  })

  it.each([360, 800, 1600])('never scrolls sideways as a whole: %d pixels', async (width) => {
    for (const count of [3, 12, 100]) {
      await open(
        meshOf(count, [], [], (i) => `ip-10-0-${i}-17.eu-west-1.compute.internal`),
        width,
      )
      const overflow = await page.evaluate(
        'document.documentElement.scrollWidth - document.documentElement.clientWidth',
      )
      expect([count, overflow]).toEqual([count, 0])
      await site?.stop()
    }
  })

  it('has a dark form', async () => {
    await open(meshOf(3))
    const back = () => page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
    const light = await back()
    await page.show(1280, 900, 'dark')
    expect(await back()).not.toBe(light)
  })

  it('runs nothing that the name of a node says', async () => {
    const name = `<img src=x onerror="document.title='run'"><script>document.title='run'</script>`
    await open(meshOf(3, [[0, 1, 'silent']], [], (i) => `${name}${i}`))
    expect(await page.evaluate('document.images.length')).toBe(0)
    expect(await page.evaluate('document.title')).toContain('mesh of <img')
  })

  it('keeps the choice of a pair when nodes come, and takes a change of one row', async () => {
    await open(meshOf(3))
    await page.evaluate(`${cell(1, 2)}.click()`)
    site?.tell({ kind: 'view', view: meshOf(5) })
    await untilPage('five nodes', `document.querySelectorAll('#matrix td').length === 25`)
    expect(await page.evaluate(`document.querySelector('#detail h2').textContent`)).toBe('node2 → node3')
    expect(await page.evaluate(`document.activeElement === ${cell(1, 2)}`)).toBe(true)
    const view = meshOf(5)
    const cells = [...(view.rows[1] ?? [])]
    cells[2 * 4 + 2] = encodeCell({ state: 'silent', isTunnelled: true })
    const node = view.nodes[1]
    if (node) site?.tell({ kind: 'row', node, cells })
    await untilPage('the silence', `${cell(1, 2)}.textContent === '✗'`)
    expect(await page.evaluate(`document.querySelector('#detail').innerText`)).toContain('✗ nothing arrives')
  })
})
