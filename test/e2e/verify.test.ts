import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { WriteOperation } from '../../src/rados/operation.ts'
import { describeCeph } from '../support/ceph.ts'
import { MIB, mirrorAndCompare } from '../support/e2e.ts'
import { expectReplayed } from '../support/journal.ts'
import type { LibrbdImage } from '../support/librbd.ts'
import { waitForState } from '../support/mirroring.ts'
import { RbdClient, type RbdInfo } from '../support/rbd.ts'
import { mirroring } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'verify'

interface Result {
  code: number
  type: string
  reason?: string
  bytesCompared: number
  differences: { bytes: number; objects: number; examples: number[] }
}

describeCeph('rbd-mirror verify', (pair) => {
  const scenario = mirroring(() => pair, [POOL])

  async function verify(spec: string, ...options: string[]): Promise<Result> {
    const program = ['--import', createRequire(import.meta.url).resolve('tsx'), new URL('../../src/cli/rbd-mirror.ts', import.meta.url).pathname]
    const args = ['verify', spec, '--json', '--cluster', pair.b.name, '--id', 'rbd-mirror.b', ...options]
    const child = spawn(process.execPath, [...program, ...args], { cwd: pair.folder, stdio: ['ignore', 'pipe', 'pipe'] })
    let [output, errors] = ['', '']
    child.stdout.on('data', (data: Buffer) => (output += data.toString()))
    child.stderr.on('data', (data: Buffer) => (errors += data.toString()))
    const code = await new Promise<number>((resolve) => child.once('close', resolve))
    if (output === '') throw new Error(`verify ended with ${code}: ${errors}`)
    return { code, ...(JSON.parse(output) as Omit<Result, 'code'>) }
  }

  /** Spoils two objects of the replica, behind everybody's back. */
  async function spoil(spec: string): Promise<void> {
    const { block_name_prefix } = await pair.b.rbdJson<RbdInfo>('info', spec)
    await using client = await RbdClient.connect(pair.b)
    const io = await client.pool(POOL)
    await io.write(`${block_name_prefix}.0000000000000001`, new WriteOperation().write(70_000, randomBytes(10)))
    await io.remove(`${block_name_prefix}.0000000000000003`)
  }

  it('finds what differs in a replica mirrored by snapshots, while replication goes on, and repairs it', async () => {
    const spec = `${POOL}/snapshots`
    const { a } = await pair.connect()
    await pair.a.rbd('create', spec, '--size', '30M')
    await a.with(spec, 'write', async (image) => {
      for (let at = 0; at < 28 * MIB; at += 4 * MIB) await image.write(at + 5, randomBytes(200_000))
      await image.enableMirroring('snapshot')
    })
    await mirrorAndCompare(pair, spec)
    let go = true
    const writing = (async () => {
      while (go) {
        await a.with(spec, 'write', async (image) => {
          await image.write(20 * MIB + Math.floor(Math.random() * MIB), randomBytes(5_000))
          await image.mirrorSnapshot()
        })
      }
    })()
    try {
      expect(await verify(spec)).toMatchObject({ code: 0, type: 'equal' })
      await spoil(spec)
      const result = await verify(spec)
      expect(result).toMatchObject({ code: 3, type: 'differs', differences: { objects: 2, examples: [1, 3] } })
    } finally {
      go = false
      await writing
    }
    expect(await verify(spec, '--repair')).toMatchObject({ code: 0, type: 'equal' })
    await mirrorAndCompare(pair, spec)
  })

  it('compares a replica of journal mode with a primary that is written, and with one at rest', async () => {
    const spec = `${POOL}/journal`
    const { a } = await pair.connect()
    await pair.a.rbd('create', spec, '--size', '30M', '--image-feature', 'exclusive-lock,object-map,fast-diff,journaling')
    await a.with(spec, 'write', async (image) => {
      for (let at = 0; at < 28 * MIB; at += 4 * MIB) await image.write(at + 5, randomBytes(200_000))
    })
    await pair.a.rbd('mirror', 'image', 'enable', spec, 'journal')
    await waitForState(pair.b, spec, 'up+replaying')
    await expectReplayed(pair, spec)
    expect(await verify(spec)).toMatchObject({ code: 0, type: 'equal' })
    await spoil(spec)
    await a.with(spec, 'write', async (image) => {
      await image.write(20 * MIB, randomBytes(5_000))
      let go = true
      const writing = (async () => {
        while (go) await scribbleTail(image)
      })()
      const result = await verify(spec)
      go = false
      await writing
      expect(result).toMatchObject({ code: 3, type: 'differs', differences: { objects: 2, examples: [1, 3] } })
    })
    expect((await pair.a.rbd('snap', 'ls', '--all', spec)).includes('.rbd-mirror')).toBe(false)
    expect(await verify(spec, '--repair')).toMatchObject({ code: 0, type: 'equal' })
    await expectReplayed(pair, spec)
  })

  const scribbleTail = async (image: LibrbdImage) => {
    await image.write(20 * MIB + Math.floor(Math.random() * MIB), randomBytes(5_000))
    await image.flush()
  }

  it('is done by the daemon itself at the configured pace', async () => {
    const spec = `${POOL}/background`
    const { a } = await pair.connect()
    await pair.a.rbd('create', spec, '--size', '16M')
    await a.with(spec, 'write', async (image) => {
      for (let at = 0; at < 16 * MIB; at += 4 * MIB) await image.write(at + 5, randomBytes(200_000))
      await image.enableMirroring('snapshot')
    })
    await mirrorAndCompare(pair, spec)
    await spoil(spec)
    await scenario.daemon.setOption('rbd_mirror_verify_interval', '1')
    await scenario.daemon.waitForLog(/differs from its primary/)
    await a.with(spec, 'write', (image) => image.mirrorSnapshot())
    await waitForState(pair.b, spec, 'up+replaying', /"differing_bytes":[1-9]/)
    await waitFor('the callout', async () => /replica differs from its primary: image background/.test(await pair.b.rbd('mirror', 'pool', 'status', '--verbose', POOL)))
    expect(await verify(spec, '--repair')).toMatchObject({ code: 0, type: 'equal' })
    // a replica that is given one snapshot after the other is never at rest: time for a comparison is left in between
    const gone = async () => {
      await a.with(spec, 'write', (image) => image.mirrorSnapshot())
      return !(await waitForState(pair.b, spec, 'up+replaying')).description.includes('differing_bytes')
    }
    await waitFor('the finding to go', gone, { timeout: 90_000, interval: 3_000 })
    await scenario.daemon.setOption('rbd_mirror_verify_interval', '0')
  })

  it('says when nothing can be said', async () => {
    const spec = `${POOL}/demoted`
    await pair.b.rbd('create', spec, '--size', '4M')
    await pair.b.rbd('mirror', 'image', 'enable', spec, 'snapshot')
    await expect(verify(spec)).rejects.toThrow(/is not mirrored on cluster/)
  })
})
