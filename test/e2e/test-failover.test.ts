import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { metadataRemove } from '../../src/cls/rbd/client.ts'
import { describeCeph } from '../support/ceph.ts'
import { contentDigest } from '../support/compare.ts'
import { MIB, mirrorAndCompare, scribble } from '../support/e2e.ts'
import { expectReplayed } from '../support/journal.ts'
import { imageStatus } from '../support/mirroring.ts'
import { tracesIn } from '../support/pool-traces.ts'
import { RbdClient } from '../support/rbd.ts'
import { imageIdOf, journalImage, mirroring, snapshotImage } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'test-failover'
const MODES = ['snapshot', 'journal'] as const

describeCeph('rbd-mirror test-failover', (pair) => {
  mirroring(() => pair, [POOL])
  let before: string[] = []

  beforeAll(async () => {
    const spec = await snapshotImage(pair, `${POOL}/first`, { size: '4M' })
    await mirrorAndCompare(pair, spec)
    await pair.a.rbd('rm', '--no-progress', spec)
    const settled = async () => !(before = await tracesIn(pair.b, POOL)).some((trace) => /image_map|first|rbd_header/.test(trace))
    await waitFor('the first replica to be gone', settled)
  })

  async function testFailover(spec: string, ...options: string[]): Promise<{ code: number; output: string; errors: string }> {
    const program = ['--import', createRequire(import.meta.url).resolve('tsx'), new URL('../../src/cli/rbd-mirror.ts', import.meta.url).pathname]
    const args = ['test-failover', spec, '--cluster', pair.b.name, '--id', 'rbd-mirror.b', ...options]
    const child = spawn(process.execPath, [...program, ...args], { cwd: pair.folder, stdio: ['ignore', 'pipe', 'pipe'] })
    let [output, errors] = ['', '']
    child.stdout.on('data', (data: Buffer) => (output += data.toString()))
    child.stderr.on('data', (data: Buffer) => (errors += data.toString()))
    const code = await new Promise<number>((resolve) => child.once('close', resolve))
    return { code, output, errors }
  }

  async function ask(spec: string, ...options: string[]): Promise<Record<string, unknown>> {
    const { code, output, errors } = await testFailover(spec, '--json', ...options)
    if (code !== 0) throw new Error(`test-failover ${spec} ${options.join(' ')} ended with ${code}: ${errors}`)
    return JSON.parse(output) as Record<string, unknown>
  }

  for (const mode of MODES) {
    it(`gives a copy to write to while replication goes on, and takes it away without a trace, in ${mode} mode`, async () => {
      const { a, b } = await pair.connect()
      const journaled = mode === 'journal'
      const spec = journaled ? await journalImage(pair, `${POOL}/journal`) : await snapshotImage(pair, `${POOL}/snapshot`)
      const change = async () => {
        await a.with(spec, 'write', (image) => scribble(image, { count: 5 }))
        if (journaled) await expectReplayed(pair, spec)
        else await mirrorAndCompare(pair, spec)
      }
      await change()
      const expected = await a.with(spec, 'read-only', (image) => contentDigest(image))
      const copy = `${spec}-test-failover`
      const digestOfCopy = () => b.with(copy, 'read-only', (image) => contentDigest(image))

      expect(await ask(spec)).toMatchObject({ image: spec, mode, created: true, copy })
      expect(await digestOfCopy()).toBe(expected)
      expect(await ask(spec)).toMatchObject({ created: false, copy })
      // a creation that was cut short before its end
      await using client = await RbdClient.connect(pair.b)
      const io = await client.pool(POOL)
      await metadataRemove.call(io, `rbd_header.${await imageIdOf(pair.b, copy)}`, { key: 'rbd-mirror.test-failover' })
      expect(await ask(spec, '--list')).toEqual({ image: spec, copies: [] })
      expect(await ask(spec)).toMatchObject({ created: true })
      expect(await ask(spec, '--list')).toMatchObject({ copies: [{ copy }] })

      // more than are kept, so that the copied one is pruned
      for (let round = 0; round < 3; round++) await change()
      expect(await digestOfCopy()).toBe(expected)
      await pair.b.rbd('bench', '--io-type', 'write', '--io-size', '64K', '--io-total', '2M', copy)
      await pair.b.rbd('snap', 'create', '--no-progress', `${copy}@drill`)
      const exported = join(mkdtempSync(join(tmpdir(), 'rbd-mirror-test-')), 'copy')
      await pair.b.rbd('export', '--no-progress', copy, exported)
      expect(statSync(exported).size).toBe(16 * MIB)
      rmSync(dirname(exported), { recursive: true })
      expect(await digestOfCopy()).not.toBe(expected)
      await change()

      await b.with(copy, 'write', async () => {
        const refused = await testFailover(spec, '--cleanup')
        expect([refused.code, refused.errors]).toEqual([1, expect.stringMatching(/copy test-failover\/\S+ is in use: unmap or close it first/)])
      })
      expect(await ask(spec, '--cleanup')).toEqual({ image: spec, removed: [copy] })
      expect(await ask(spec, '--cleanup')).toEqual({ image: spec, removed: [] })
      const left = await pair.b.rbdJson<{ name: string; namespace: { type: string } }[]>('snap', 'ls', '--all', spec)
      expect(left.filter(({ namespace }) => namespace.type !== 'mirror')).toEqual([])
      expect((await pair.a.rbdJson<{ namespace: { type: string } }[]>('snap', 'ls', '--all', spec)).filter(({ namespace }) => namespace.type !== 'mirror')).toEqual([])
      await change()
      await pair.a.rbd('rm', '--no-progress', spec)
      await waitFor('no trace to be left', async () => (await imageStatus(pair.b, spec)) === undefined && JSON.stringify(await tracesIn(pair.b, POOL)) === JSON.stringify(before), {
        timeout: 15_000,
      }).catch(async () => expect(await tracesIn(pair.b, POOL)).toEqual(before))
    })
  }

  it('says what is in the way', async () => {
    await pair.b.rbd('create', `${POOL}/plain`, '--size', '1M')
    const said = async (spec: string, ...options: string[]) => {
      const { code, errors } = await testFailover(spec, ...options)
      return [code, errors.trim()]
    }
    expect(await Promise.all([said(`${POOL}/plain`), said(`${POOL}/none`), said('nowhere/image'), said('image'), said(`${POOL}/plain`, '--list', '--cleanup')])).toEqual([
      [1, expect.stringContaining('image test-failover/plain is not mirrored')],
      [1, expect.stringContaining('no image test-failover/none')],
      [1, expect.stringContaining('no pool nowhere')],
      [2, expect.stringContaining('needs an image')],
      [2, expect.stringContaining('exclude each other')],
    ])
  })
})
