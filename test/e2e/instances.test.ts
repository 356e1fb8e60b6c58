import { afterAll, beforeAll, expect, it } from 'vitest'
import { RBD_MIRROR_LEADER } from '../../src/rbd/names.ts'
import { mirrorImageMapList, mirrorInstancesList } from '../../src/cls/rbd/mirror-client.ts'
import { describeCeph } from '../support/ceph.ts'
import type { DaemonKind, MirrorDaemon } from '../support/daemon.ts'
import { mirrorAndCompare, startDaemon } from '../support/e2e.ts'
import { lockOwner, replayedBy, statusOf, waitUntilShared } from '../support/instances.ts'
import { createMirroredPool } from '../support/mirroring.ts'
import { RbdClient } from '../support/rbd.ts'
import { imageIdOf, snapshotImage } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

/** Images may move as soon as another daemon comes, and who does not answer is given up within seconds. */
const ARGS = ['--rbd-mirror-leader-heartbeat-interval=1', '--rbd-mirror-image-policy-migration-throttle=0']
const POOL = 'instances'
const NAMES = ['one', 'two', 'three', 'four']

/** `rbd mirror pool status --verbose`, as far as it is looked at. */
interface PoolStatusOfRbd {
  readonly daemons: readonly { instance_id: string; leader: boolean }[]
  readonly images: readonly { state: string }[]
}

describeCeph('several daemons of one cluster', (pair) => {
  let client: RbdClient
  const specs = NAMES.map((name) => `${POOL}/${name}`)
  const start = (kind?: DaemonKind) => startDaemon(pair, { args: ARGS, ...(kind && { kind }) })

  beforeAll(async () => {
    await createMirroredPool(pair.a, pair.b, POOL)
    for (const spec of specs) await snapshotImage(pair, spec, { size: '8M' })
    client = await RbdClient.connect(pair.b)
  })
  afterAll(() => client?.close())

  const compareAll = async () => {
    for (const spec of specs) await mirrorAndCompare(pair, spec)
  }

  /** Each image’s exclusive lock is with the daemon that says it replays the image, and the map says so too. */
  const expectOwners = async (daemons: readonly MirrorDaemon[]) => {
    const io = await client.pool(POOL)
    const map = await mirrorImageMapList.call(io, RBD_MIRROR_LEADER, { startAfter: '', max: 100 })
    const mapped = [...map.values()].map(({ instanceId }) => instanceId).sort()
    const owners: (string | undefined)[] = []
    for (const daemon of daemons) {
      const { instance_id: id } = (await statusOf(daemon, POOL))!
      for (const spec of await replayedBy(daemon, POOL)) {
        expect(await lockOwner(io, await imageIdOf(pair.b, spec))).toBe(id)
        owners.push(id)
      }
    }
    expect(mapped).toEqual([...owners].sort())
  }

  const leaderOf = async (daemons: readonly MirrorDaemon[]) =>
    waitFor('one of them to lead', async () => {
      const statuses = await Promise.all(daemons.map((daemon) => statusOf(daemon, POOL)))
      return daemons.filter((_, index) => statuses[index]?.leader)[0]
    })

  it('share the images, and hand them over without a gap when one stops or gives the lead away', async () => {
    await using first = start()
    await waitUntilShared([first], POOL, 4, { each: 4 })
    await using second = start()
    await waitUntilShared([first, second], POOL, 4, { each: 2 })
    await expectOwners([first, second])
    const [leading, following] = [(await statusOf(first, POOL))!, (await statusOf(second, POOL))!]
    expect(leading.instances).toEqual([leading.instance_id, following.instance_id])
    expect(following.leader_instance_id).toBe(leading.instance_id)
    await compareAll()
    // the managers hear of it with the daemons' next reports
    let shown: PoolStatusOfRbd | undefined
    const look = async () => {
      const { daemons, images } = (shown = await pair.b.rbdJson<PoolStatusOfRbd>('mirror', 'pool', 'status', POOL, '--verbose'))
      // the managers remember daemons that were killed before, elsewhere, for a minute
      const both = daemons.filter(({ instance_id: id }) => [leading.instance_id, following.instance_id].includes(id))
      const leaders = both.filter(({ leader }) => leader).map(({ instance_id: id }) => id)
      const replayed = images.filter(({ state }) => state === 'up+replaying')
      return both.length === 2 && leaders.join() === leading.instance_id && replayed.length === 4
    }
    await waitFor('the cluster to show both daemons, one of them as the leader', look, { interval: 500, detail: () => ({ shown, leading, following }) })

    await first.admin(`rbd mirror leader release ${POOL} ${pair.a.name}`)
    expect(await leaderOf([second])).toBe(second)
    await waitUntilShared([first, second], POOL, 4, { each: 2 })
    await expectOwners([first, second])

    await first.stop()
    await waitUntilShared([second], POOL, 4, { each: 4 })
    await compareAll()

    await using third = start()
    await waitUntilShared([second, third], POOL, 4, { each: 2 })
    await second.stop()
    await waitUntilShared([third], POOL, 4, { each: 4 })
    await expectOwners([third])
    await compareAll()
    await third.stop()
    const io = await client.pool(POOL)
    expect(await mirrorInstancesList.call(io, RBD_MIRROR_LEADER, undefined)).toEqual([])
  })

  it.each<[DaemonKind, DaemonKind]>([
    ['stock', 'source'],
    ['source', 'stock'],
  ])('share the images, led by the %s daemon, with the %s one', async (leading, following) => {
    await using leader = start(leading)
    await waitUntilShared([leader], POOL, 4, { each: 4 })
    await using follower = start(following)
    await waitUntilShared([leader, follower], POOL, 4, { each: 1 })
    expect((await statusOf(leader, POOL))!.leader).toBe(true)
    expect((await statusOf(follower, POOL))!.leader).toBe(false)
    await expectOwners([leader, follower])
    await compareAll()
    await leader.stop()
    await waitUntilShared([follower], POOL, 4, { each: 4 })
    await compareAll()
    await follower.stop()
  })
})
