import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createCluster } from '../../src/cli/cluster/create-cluster.ts'
import { answer } from '../../src/cli/rbd/mirror/schedule-backend.ts'
import { emulator } from '../../src/daemon/drivers.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import { OurRbd } from '../support/rbd-command.ts'

const POOL = 'mirrored'
const IMAGE = `${POOL}/image`

/** Two clusters of our own in a folder: no Ceph is needed. */
describe('rbd mirror commands on emulated clusters', () => {
  let folder: string
  const clusters: Record<string, Cluster> = {}
  const rbd: Record<string, OurRbd> = {}

  async function ok(site: string, line: string, input?: string): Promise<string> {
    const { code, stdout, stderr } = await rbd[site]!.run(line.split(' '), input)
    expect({ line, code, stderr }).toEqual({ line, code: 0, stderr: '' })
    return stdout
  }
  const fails = async (site: string, line: string, input?: string) => {
    const { code, stderr } = await rbd[site]!.run(line.split(' '), input)
    return { code, stderr }
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rbd-emulated-'))
    for (const name of ['site-a', 'site-b']) {
      const { conf } = await createCluster({ name, monHost: undefined, confFolder: folder, dataFolder: join(folder, 'data') })
      const cluster = await (await emulator()).connect({ name, entity: 'client.admin', confFile: conf, options: {} })
      expect((await cluster.monCommand({ prefix: 'osd pool create', pool: POOL })).code).toBe(0)
      clusters[name] = cluster
      rbd[name] = OurRbd.on({ conf }, cluster)
      await ok(name, `pool init ${POOL}`)
      await ok(name, `namespace create ${POOL}/ns`)
    }
    await ok('site-a', `create -s 8M ${IMAGE}`)
    await ok('site-a', `create -s 8M ${POOL}/journaled --image-feature layering,exclusive-lock,journaling`)
    await ok('site-a', `create -s 8M ${POOL}/ns/inner`)
  })
  afterAll(async () => {
    for (const one of Object.values(rbd)) await one.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it('make two of them peers by a token, which names the folder', async () => {
    await ok('site-a', `mirror pool enable ${POOL} image --site-name site-a`)
    const token = await ok('site-a', `mirror pool peer bootstrap create ${POOL}`)
    expect(JSON.parse(Buffer.from(token, 'base64').toString())).toMatchObject({
      fsid: clusters['site-a']!.fsid,
      client_id: 'rbd-mirror-peer',
      mon_host: `file://${join(folder, 'data', 'site-a')}`,
    })
    await ok('site-b', `mirror pool peer bootstrap import ${POOL} - --site-name site-b`, `\n ${token} \n`)
    for (const [site, other] of [['site-a', 'site-b'], ['site-b', 'site-a']] as const) {
      const info = JSON.parse(await ok(site, `mirror pool info ${POOL} --all --format json`)) as { peers: unknown[] }
      expect(info).toMatchObject({
        mode: 'image',
        site_name: site,
        peers: [{ site_name: other, direction: 'rx-tx', mon_host: `file://${join(folder, 'data', other)}` }],
      })
    }
    expect(await fails('site-a', `mirror pool peer bootstrap import ${POOL} -`, token)).toMatchObject({ code: 22 })
  })

  it('enable, demote, promote, prune and disable images', async () => {
    await ok('site-a', `mirror image enable ${IMAGE} snapshot`)
    await ok('site-a', `mirror image enable ${POOL}/journaled journal`)
    for (let count = 0; count < 7; count++) await ok('site-a', `mirror image snapshot ${IMAGE}`)
    const status = JSON.parse(await ok('site-a', `mirror image status ${IMAGE} --format json`)) as { snapshots: { mirror_peer_uuids: string[] }[] }
    expect(status.snapshots.map(({ mirror_peer_uuids }) => mirror_peer_uuids.length)).toEqual([1, 1, 1, 1, 1])
    expect(await ok('site-a', `mirror pool demote ${POOL}`)).toBe('Demoted 2 mirrored images\n')
    expect(await fails('site-a', `mirror image snapshot ${IMAGE}`)).toMatchObject({ code: 22 })
    expect(await ok('site-a', `mirror pool promote ${POOL}`)).toBe('Promoted 2 mirrored images\n')
    expect(await ok('site-a', `mirror pool status ${POOL}`)).toMatch(/^health: WARNING\n.*\n.*\nimages: 2 total\n {4}2 unknown\n$/)
    await ok('site-a', `mirror image disable ${POOL}/journaled`)
    expect(await fails('site-a', `mirror pool disable ${POOL}`)).toMatchObject({ code: 16 })
  })

  it('keep schedules as the manager of a real cluster does', async () => {
    const schedule = (line: string) => ok('site-a', `mirror snapshot schedule ${line}`)
    await schedule(`add -p ${POOL} 1d 14:00:00-05:00`)
    await schedule(`add -p ${POOL} 90m`)
    await schedule(`add -p ${POOL} 90m`)
    await schedule(`add -p ${POOL} --image image 2h`)
    await schedule('add 1d')
    const io = await clusters['site-a']!.openPool(POOL)
    const { entries } = await io.omapGet('rbd_mirror_snapshot_schedule', '', '', 10)
    const stored = [...entries].map(([key, value]) => [key.replace(/\/\/\w+/, '//IMAGE'), value.toString()])
    expect(stored).toEqual([
      [
        `${io.poolId}`,
        '[\n    {\n        "interval": "1d",\n        "start_time": "14:00:00-05:00"\n    },\n    {\n        "interval": "90m",\n        "start_time": null\n    }\n]',
      ],
      [`${io.poolId}//IMAGE`, '[\n    {\n        "interval": "2h",\n        "start_time": null\n    }\n]'],
    ])
    io.close()
    expect((await schedule('ls -R')).split('\n').map((line) => line.trimEnd())).toEqual([
      'POOL      NAMESPACE  IMAGE  SCHEDULE',
      '-         -          -      every 1d',
      'mirrored  -          -      every 1d starting at 14:00:00-05:00, every 90m',
      'mirrored             image  every 2h',
      '',
    ])
    expect(await schedule(`ls -p ${POOL} --image image`)).toBe('every 2h\n')
    const status = await answer(clusters['site-a']!, 'status', { level_spec: `${POOL}/` }, new Date(2026, 0, 31, 23, 30).getTime())
    expect(JSON.parse(status.output)).toEqual({ scheduled_images: [{ image: IMAGE, schedule_time: '2026-02-01 00:00:00' }] })
    expect(await schedule('status')).toMatch(/^SCHEDULE TIME {8}IMAGE +\n\d{4}-\d\d-\d\d \d\d:00:00 {2}mirrored\/image\n$/)
    await schedule(`rm -p ${POOL} 1d 14:00:00-05:00`)
    expect(await schedule(`ls -p ${POOL}`)).toBe('every 90m\n')
    await schedule(`rm -p ${POOL}`)
    expect((await fails('site-a', `mirror snapshot schedule ls -p ${POOL}`)).code).toBe(2)
    await schedule(`rm -p ${POOL} --image image`)
    await schedule('rm')
    expect(await schedule('ls -R --format json')).toBe('[]\n')
  })

  it.each([
    ['add 1x', 'Invalid interval (1x)'],
    ['add 1h noon', 'Invalid start time noon: Unknown string format: noon'],
    ['add -p nowhere 1h', 'Invalid level spec nowhere/: pool nowhere does not exist'],
    [`add -p ${POOL} --namespace none 1h`, `Invalid level spec ${POOL}/none/: namespace none does not exist`],
    [`add -p ${POOL} --namespace ns 1h`, `Invalid level spec ${POOL}/ns/: namespace ns is not in mirror image mode`],
    [`add -p ${POOL} --image none 1h`, `Invalid level spec ${POOL}/none: image none does not exist`],
    [`add -p ${POOL} --image journaled 1h`, `Invalid level spec ${POOL}/journaled: image journaled is not in snapshot mirror mode`],
  ])('refuse schedule %s', async (line, problem) => {
    const stderr = `rbd: rbd mirror snapshot schedule add failed: (22) Invalid argument: ${problem}\n`
    expect(await fails('site-a', `mirror snapshot schedule ${line}`)).toEqual({ code: 22, stderr })
  })

  it('forget the peers', async () => {
    await ok('site-a', `mirror image disable ${IMAGE}`)
    for (const site of ['site-a', 'site-b']) {
      const { peers } = JSON.parse(await ok(site, `mirror pool info ${POOL} --format json`)) as { peers: { uuid: string }[] }
      await ok(site, `mirror pool peer remove ${POOL} ${peers[0]!.uuid}`)
      await ok(site, `mirror pool disable ${POOL}`)
    }
  })
})
