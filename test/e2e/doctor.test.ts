import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { beforeAll, expect, it } from 'vitest'
import type { Finding } from '../../src/cli/doctor/finding.ts'
import { describeCeph } from '../support/ceph.ts'
import { startDaemon } from '../support/e2e.ts'
import { createMirroredPool, waitForState } from '../support/mirroring.ts'
import { waitFor } from '../support/wait.ts'

const POOL = 'doctor'
const program = [createRequire(import.meta.url).resolve('tsx'), fileURLToPath(new URL('../../src/cli/rbd-mirror.ts', import.meta.url))] as const

describeCeph('what an operator looks with', (pair) => {
  beforeAll(() => createMirroredPool(pair.a, pair.b, POOL))

  const run = (...args: string[]) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      execFile(process.execPath, ['--import', ...program, ...args], { cwd: pair.folder, timeout: 60_000 }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code ?? 99) : 0, stdout, stderr }),
      )
    })
  async function doctor(...args: string[]): Promise<{ code: number; wrong: string[]; findings: Finding[] }> {
    const usual = ['--cluster', pair.b.name, '--id', 'rbd-mirror.b', '--rbd-mirror-metrics-port=0']
    const { code, stdout, stderr } = await run('doctor', '--json', ...usual, ...args)
    expect(stderr).toBe('')
    const { findings } = JSON.parse(stdout) as { findings: Finding[] }
    const wrong = findings.filter(({ level, subject }) => (level === 'error' || level === 'warning') && (subject.includes(POOL) || !subject.startsWith('pool')))
    return { code, findings, wrong: wrong.map(({ level, subject, text }) => `${level} ${subject}: ${text}`) }
  }

  it('the doctor finds what is wrong, and nothing when all is well', async () => {
    await pair.a.rbd('create', `${POOL}/good`, '--size', '8M')
    await pair.a.rbd('mirror', 'image', 'enable', `${POOL}/good`, 'snapshot')
    {
      await using daemon = startDaemon(pair)
      await daemon.waitUntilUp()
      await waitFor('this site to be known to the other', async () => {
        const { peers } = await pair.a.rbdJson<{ peers: unknown[] }>('mirror', 'pool', 'info', POOL)
        return peers.length > 0 || undefined
      })
      await pair.a.rbd('mirror', 'image', 'snapshot', `${POOL}/good`)
      await waitForState(pair.b, `${POOL}/good`, 'up+replaying', /"replay_state":"idle"/)
      const well = await doctor(`--admin-socket=${daemon.adminSocket}`)
      expect(well.wrong).toEqual([])
      expect(well.findings.map(({ text }) => text)).toEqual(expect.arrayContaining([expect.stringMatching(/^version .* images$/)]))
      const top = await run('top', '--json', '--admin-socket', daemon.adminSocket, '--pool', POOL)
      expect(JSON.parse(top.stdout)).toMatchObject({
        status: { peers: expect.arrayContaining([expect.objectContaining({ pool: POOL, up: true, leader: true })]) as unknown },
        images: { images: [{ spec: `${POOL}/good`, state: 'replaying', health: 'ok' }] },
      })
      await daemon.stop()
    }
    await pair.a.rbd('create', `${POOL}/plain`, '--size', '8M', '--image-feature', 'layering')
    await pair.a.rbd('mirror', 'image', 'enable', `${POOL}/plain`, 'snapshot')
    const features = await doctor()
    expect(features.code).toBe(0)
    expect(features.wrong).toEqual([expect.stringMatching(/^warning pool doctor on .*: 1 image in snapshot mode without object-map and fast-diff/)])
    expect((await doctor('--strict')).code).toBe(1)

    const { peers } = await pair.b.rbdJson<{ peers: { uuid: string }[] }>('mirror', 'pool', 'info', POOL)
    await pair.b.rbd('mirror', 'pool', 'peer', 'set', POOL, peers[0]!.uuid, 'mon-host', '127.0.0.1:2')
    const unreached = await doctor()
    expect(unreached.code).toBe(1)
    expect(unreached.wrong).toEqual([expect.stringMatching(/^error peer .*: none of its monitors is reached: monitor 127\.0\.0\.1 port 2: ECONNREFUSED$/)])
  })

  it('the doctor says why it gets nowhere', async () => {
    const { stdout, code } = await run('doctor', '--cluster', pair.b.name, '--id', 'nobody', '--rbd-mirror-metrics-port=0')
    expect(code).toBe(1)
    expect(stdout).toMatch(/ERROR {2}keyring: no keyring for client\.nobody[^\n]*\n {8}→ ceph auth get client\.nobody -o /)
    expect(stdout).not.toContain('==')
  })
})
