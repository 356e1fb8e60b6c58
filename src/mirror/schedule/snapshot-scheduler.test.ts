import { beforeEach, describe, expect, it } from 'vitest'
import { ManualClock } from '../../../test/unit/manual-clock.ts'
import { emulatorFor } from '../../../test/support/emulated.ts'
import { silentLog, type Log } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import type { Cluster } from '../../rados/cluster.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { createImage, generateImageId } from '../../rbd/create-image.ts'
import { FEATURE_EXCLUSIVE_LOCK } from '../../rbd/features.ts'
import { loadHeader } from '../../rbd/header.ts'
import { Image } from '../../rbd/image.ts'
import { standardLockPolicy } from '../../rbd/lock-policy.ts'
import { enableImage } from '../../rbd/mirror/enable-image.ts'
import { isMirrorSnapshot } from '../../rbd/mirror/mirror-snapshot.ts'
import { addPeer } from '../../rbd/mirror/peers.ts'
import { setMirrorMode } from '../../rbd/mirror/pool-mode.ts'
import { saveSchedule } from '../../rbd/mirror/schedule/schedule-store.ts'
import { dueRuns, SnapshotScheduler } from './snapshot-scheduler.ts'

const MINUTE = 60_000
const every = (minutes: number) => [{ interval: minutes, start: undefined }]

describe('what is due', () => {
  it.each([
    { name: 'nothing before its time', from: 0, to: 9 * MINUTE, expected: { due: false, missed: 0 } },
    { name: 'one run at its time', from: 9 * MINUTE, to: 10 * MINUTE, expected: { due: true, missed: 0 } },
    { name: 'not the same run twice', from: 10 * MINUTE, to: 11 * MINUTE, expected: { due: false, missed: 0 } },
    { name: 'the newest of several', from: 0, to: 30 * MINUTE, expected: { due: true, missed: 2 } },
    { name: 'one whose time is long over, as a missed one', from: 0, to: 18 * MINUTE, expected: { due: true, missed: 1 } },
  ])('$name', ({ from, to, expected }) => {
    expect(dueRuns(every(10), from, to, 2 * MINUTE)).toEqual(expected)
  })
})

describe('the scheduler of an emulated cluster', () => {
  let clock: ManualClock
  let cluster: Cluster
  let io: IoCtx
  let connect: () => Promise<Cluster>
  let warnings: Record<string, unknown>[]
  const stop = new AbortController().signal

  beforeEach(async () => {
    clock = new ManualClock()
    warnings = []
    const monHost = `memory:${systemRandom.uuid()}`
    const driver = emulatorFor(monHost, { clock })
    await driver.create({ monHost })
    connect = () => driver.connect({ name: 'site-a', entity: 'client.admin', options: {} })
    cluster = await connect()
    await cluster.monCommand({ prefix: 'osd pool create', pool: 'data' })
    io = await cluster.openPool('data')
    const options = { cluster, clock, random: systemRandom, log: silentLog, lockPolicy: standardLockPolicy }
    await setMirrorMode(io, 'image', options)
    await addPeer(io, cluster, { siteName: 'site-b', clientName: 'client.b', direction: 'rx-tx', newUuid: () => systemRandom.uuid() })
  })

  async function mirroredImage(name: string): Promise<string> {
    const id = generateImageId(cluster.instanceId, systemRandom)
    await createImage(io, { id, name, size: 2 ** 22, order: 22, features: FEATURE_EXCLUSIVE_LOCK })
    const image = await Image.open(io, { id }, { cluster, access: 'write', clock, random: systemRandom, log: silentLog, lockPolicy: standardLockPolicy })
    await enableImage(image, { mode: 'snapshot' })
    await image.close()
    return id
  }

  const snapshots = async (id: string) => (await loadHeader(io, id, { access: 'read-only' })).snapshots.filter(isMirrorSnapshot).length
  const schedulerOn = (on: Cluster) => new SnapshotScheduler({ cluster: on, clock, random: systemRandom, log: { ...silentLog, warn: (fields) => void warnings.push(fields as Record<string, unknown>) } satisfies Log })

  it('makes mirror-snapshots when they are due, by the most specific schedule', async () => {
    const [often, seldom] = [await mirroredImage('often'), await mirroredImage('seldom')]
    await saveSchedule(cluster, { poolId: io.poolId, namespace: undefined, imageId: undefined }, every(60))
    await saveSchedule(cluster, { poolId: io.poolId, namespace: '', imageId: often }, every(1))
    const scheduler = schedulerOn(cluster)
    await scheduler.tick(stop)
    const before = [await snapshots(often), await snapshots(seldom)]
    for (let minute = 0; minute < 3; minute++) {
      await clock.advance(MINUTE)
      await scheduler.tick(stop)
    }
    expect([await snapshots(often), await snapshots(seldom)]).toEqual([before[0]! + 3, before[1]])
    expect(warnings).toEqual([])
  })

  it('runs in one daemon at a time, and in the next when that one is gone; what nobody ran is reported', async () => {
    const id = await mirroredImage('image')
    await saveSchedule(cluster, { poolId: io.poolId, namespace: undefined, imageId: undefined }, every(1))
    const other = await connect()
    const [first, second] = [schedulerOn(cluster), schedulerOn(other)]
    await Promise.all([first.tick(stop), second.tick(stop)])
    const before = await snapshots(id)
    await clock.advance(MINUTE)
    await Promise.all([first.tick(stop), second.tick(stop)])
    expect(await snapshots(id)).toBe(before + 1)
    await clock.advance(10 * MINUTE)
    await second.tick(stop)
    expect(await snapshots(id)).toBe(before + 2)
    expect(warnings).toEqual([expect.objectContaining({ image: 'data/image', missed: 9 })])
    await other.close()
  })
})
