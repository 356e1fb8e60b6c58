import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { freePorts } from '../support/ports.ts'
import { tryRun } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

const program = (name: string) => ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href, fileURLToPath(new URL(`../../src/cli/${name}.ts`, import.meta.url))]
const IMAGES = ['data/journal-image', 'data/snapshot-image']
/** Each look is a program of its own, which takes seconds on a busy machine. */
const LIMIT_MS = 90_000
// Names that no machine has a configuration file of.
const [A, B] = ['quick-a', 'quick-b']

interface Status {
  state: string
  description: string
}

/** What a newcomer does first, on a machine without Ceph. */
describe('the quick start', () => {
  let folder: string
  let port: number
  let running: ChildProcess | undefined
  let output = ''

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rbd-mirror-quick-'))
    port = await freePorts(2)
  })

  afterEach(async () => {
    await end('SIGTERM')
    rmSync(folder, { recursive: true, force: true })
  })

  function start(): void {
    const args = [...program('rbd-mirror'), 'quick-start', '--sites', `${A},${B}`, '--port', String(port)]
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
    output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => void (output += data.toString()))
    running = child
  }

  async function end(signal: NodeJS.Signals): Promise<number | null> {
    const child = running
    running = undefined
    if (!child) return null
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit')
      child.kill(signal)
      await ended
    }
    return child.exitCode
  }

  const rbd = (...args: string[]) => tryRun([process.execPath, ...program('rbd'), ...args], { cwd: folder })
  const rbdMirror = (...args: string[]) => tryRun([process.execPath, ...program('rbd-mirror'), ...args], { cwd: folder })

  async function statusOf(site: string, image: string): Promise<Status | undefined> {
    const { code, stdout } = await rbd('--cluster', site, 'mirror', 'image', 'status', image, '--format', 'json')
    return code === 0 ? (JSON.parse(stdout) as Status) : undefined
  }

  function untilReplaying(site: string, image: string): Promise<unknown> {
    let seen: Status | undefined
    return waitFor(`${image} to be replayed by ${site}`, async () => (seen = await statusOf(site, image))?.state === 'up+replaying', {
      timeout: LIMIT_MS,
      interval: 500,
      detail: () => ({ seen, running: running?.exitCode, output: output.slice(-1500) }),
    })
  }

  async function contentOf(site: string, image: string): Promise<Buffer> {
    const file = join(folder, `${site}.bin`)
    const { code, stderr } = await rbd('--cluster', site, 'export', '--no-progress', image, file)
    if (code !== 0) throw new Error(stderr)
    const content = readFileSync(file)
    rmSync(file)
    return content
  }

  it('sets up two clusters, mirrors an image of each mode, fails over, and goes on at its next start', async () => {
    start()
    for (const image of IMAGES) await untilReplaying(B, image)
    expect(output).toContain(`http://127.0.0.1:${port}/metrics`)
    expect((await fetch(`http://127.0.0.1:${port}/metrics`)).ok).toBe(true)
    expect(statSync(join(folder, 'clusters', `${A}.client.admin.keyring`)).mode & 0o077).toBe(0)

    for (const image of IMAGES) {
      expect(await rbdMirror('test-failover', image, '--cluster', B)).toMatchObject({ code: 0 })
      expect(await rbd('--cluster', B, 'bench', '--io-type', 'write', '--io-size', '64K', '--io-total', '1M', `${image}-test-failover`)).toMatchObject({ code: 0 })
      expect(await rbdMirror('test-failover', image, '--cluster', B, '--cleanup')).toMatchObject({ code: 0 })
    }

    const image = 'data/journal-image'
    expect(await rbd('--cluster', A, 'mirror', 'image', 'demote', image)).toMatchObject({ code: 0 })
    await waitFor('the promotion', async () => (await rbd('--cluster', B, 'mirror', 'image', 'promote', image)).code === 0, { timeout: LIMIT_MS, interval: 500 })
    await untilReplaying(A, image)
    expect(await end('SIGINT')).toBe(0)

    start()
    await untilReplaying(A, image)
    await untilReplaying(B, 'data/snapshot-image')
    expect(output).toContain('going on with the clusters')
    expect(output).not.toContain('cluster create')
    // nobody writes any more once it is demoted: both sides come to rest on the same bytes
    expect(await rbd('--cluster', B, 'mirror', 'image', 'demote', image)).toMatchObject({ code: 0 })
    await waitFor('the demotion to be replayed', async () => /remote image|demoted/.test((await statusOf(A, image))?.description ?? ''), { timeout: LIMIT_MS, interval: 500 })
    const [left, right] = [await contentOf(A, image), await contentOf(B, image)]
    expect(left.length).toBe(64 * 2 ** 20)
    expect(left.some((byte) => byte !== 0)).toBe(true)
    expect(left.equals(right)).toBe(true)
    expect(await end('SIGINT')).toBe(0)
  })
})
