import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeCeph } from '../support/ceph.ts'
import type { CephCluster } from '../support/ceph-cluster.ts'
import type { MirrorDaemon } from '../support/daemon.ts'
import { mirrorAndCompare, startDaemon } from '../support/e2e.ts'
import { createMirroredPool, waitForState } from '../support/mirroring.ts'
import { snapshotImage, watchersOf } from '../support/scenario.ts'
import { waitFor } from '../support/wait.ts'

interface PoolStatus {
  readonly peer: string
  readonly pool: string
  readonly instance_id: string
  readonly state: string
  readonly leader: boolean
  readonly leader_instance_id: string
  readonly image_replayers: readonly { name: string; state: string }[]
}

interface PeerInfo {
  readonly uuid: string
  readonly direction: string
  readonly site_name: string
}

/** The pool replayer's part of `rbd mirror status`; undefined while the daemon does not have the pool. */
async function poolStatus(daemon: MirrorDaemon, pool: string): Promise<PoolStatus | undefined> {
  const { pool_replayers: pools } = JSON.parse(await daemon.admin('rbd mirror status')) as { pool_replayers: PoolStatus[] }
  return pools.find((status) => status.pool === pool)
}

function waitForPool(
  daemon: MirrorDaemon,
  pool: string,
  what: string,
  test: (status: PoolStatus) => boolean,
  timeout = 20_000,
): Promise<PoolStatus> {
  let seen: PoolStatus | undefined
  return waitFor(
    `pool ${pool} to ${what}`,
    async () => {
      seen = await poolStatus(daemon, pool)
      return seen && test(seen) ? seen : undefined
    },
    { timeout, interval: 100, detail: () => seen },
  )
}

const leads = ({ leader }: PoolStatus) => leader

const peersOf = async (cluster: CephCluster, pool: string) =>
  (await cluster.rbdJson<{ peers: PeerInfo[] }>('mirror', 'pool', 'info', pool)).peers

describeCeph('what a daemon serves', (pair) => {
  let daemon: MirrorDaemon
  beforeAll(async () => {
    daemon = startDaemon(pair)
    await daemon.waitUntilUp()
  })
  afterAll(async () => {
    if (daemon.running) await daemon.stop()
  })

  it('is pools and peers as they come, change and go', async () => {
    const pool = 'frame-peers'
    await createMirroredPool(pair.a, pair.b, pool, { direction: 'rx-only' })
    const first = await waitForPool(daemon, pool, 'be replayed', leads)
    expect(first.peer).toMatch(new RegExp(`^uuid: \\S+ cluster: ${pair.a.name} client: client\\.rbd-mirror-peer$`))
    // by the ping the remote learns of us
    expect(await peersOf(pair.a, pool)).toEqual([expect.objectContaining({ site_name: pair.b.name, direction: 'tx-only' })])
    await snapshotImage(pair, `${pool}/image`)
    await mirrorAndCompare(pair, `${pool}/image`)

    const [peer] = await peersOf(pair.b, pool)
    await pair.b.rbd('mirror', 'pool', 'peer', 'remove', pool, peer!.uuid)
    await waitFor('the pool to be let go', async () => (await poolStatus(daemon, pool)) === undefined)
    await pair.b.rbd('mirror', 'pool', 'peer', 'add', pool, `client.rbd-mirror.a@${pair.a.name}`)
    const second = await waitForPool(daemon, pool, 'be replayed again', leads)
    expect(second.peer).toContain('client: client.rbd-mirror.a')
    expect(BigInt(second.instance_id)).toBeGreaterThan(BigInt(first.instance_id))
    await mirrorAndCompare(pair, `${pool}/image`)

    await pair.b.deletePool(pool)
    await waitFor('the deleted pool to be let go', async () => (await poolStatus(daemon, pool)) === undefined)
  })

  it('says what is wrong with a peer, and takes it up once it is right', async () => {
    const pool = 'frame-wrong'
    await Promise.all([pair.a.createPool(pool), pair.b.createPool(pool)])
    for (const cluster of [pair.a, pair.b]) await cluster.rbd('mirror', 'pool', 'enable', pool, 'image')
    await pair.b.rbd('mirror', 'pool', 'peer', 'add', pool, 'client.rbd-mirror.a@nowhere')
    const callouts = async () => {
      const { daemons } = await pair.b.rbdJson<{ daemons: { callouts?: string[] }[] }>('mirror', 'pool', 'status', pool, '--verbose')
      return daemons.flatMap(({ callouts: texts = [] }) => texts)
    }
    const wrong = 'unable to connect to remote cluster'
    await waitFor('the callout', async () => (await callouts()).includes(wrong), { timeout: 30_000, interval: 500 })
    const [peer] = await peersOf(pair.b, pool)
    await pair.b.rbd('mirror', 'pool', 'peer', 'set', pool, peer!.uuid, 'site-name', pair.a.name)
    await waitForPool(daemon, pool, 'be replayed', leads)
    await waitFor('the callout to go', async () => !(await callouts()).includes(wrong), { timeout: 30_000, interval: 500 })
  })

  it('is kept when the whole remote pool goes, and deleted when only its image does', async () => {
    const pool = 'frame-gone'
    await createMirroredPool(pair.a, pair.b, pool)
    for (const name of ['kept', 'deleted']) {
      await snapshotImage(pair, `${pool}/${name}`)
      await mirrorAndCompare(pair, `${pool}/${name}`)
    }
    await pair.a.rbd('mirror', 'image', 'disable', `${pool}/deleted`)
    await waitFor('the replica to be deleted', async () => (await pair.b.rbd('ls', pool)).trim() === 'kept')
    await pair.a.deletePool(pool)
    await waitForState(pair.b, `${pool}/kept`, 'up+unknown', /^remote cluster is unreachable$/)
    expect((await pair.b.rbd('ls', pool)).trim()).toBe('kept')
    await pair.b.rbd('mirror', 'image', 'promote', '--force', `${pool}/kept`)
    expect((await pair.b.rbd('info', `${pool}/kept`)).includes('mirroring primary: true')).toBe(true)
  })

  it('is given up and taken up again by operators, per pool and image', async () => {
    const pool = 'frame-admin'
    await createMirroredPool(pair.a, pair.b, pool)
    for (const name of ['one', 'two']) await snapshotImage(pair, `${pool}/${name}`)
    await Promise.all(['one', 'two'].map((name) => mirrorAndCompare(pair, `${pool}/${name}`)))
    await daemon.admin(`rbd mirror stop ${pool} ${pair.a.name}`)
    await waitForState(pair.b, `${pool}/one`, 'up+stopped', /^stopped$/)
    await waitForState(pair.b, `${pool}/two`, 'up+stopped', /^stopped$/)
    expect(await poolStatus(daemon, pool)).toMatchObject({ state: 'stopped (manual)' })
    await daemon.admin(`rbd mirror start ${pool}/one`)
    await waitForState(pair.b, `${pool}/one`, 'up+replaying')
    expect((await poolStatus(daemon, pool))!.image_replayers).toEqual([
      { name: `${pool}/one`, state: 'Replaying' },
      { name: `${pool}/two`, state: 'Stopped' },
    ])
    await daemon.admin(`rbd mirror restart ${pool} ${pair.a.name}`)
    await waitForState(pair.b, `${pool}/two`, 'up+replaying')
    await daemon.admin(`rbd mirror flush ${pool}/two`)
  })
})

describeCeph('the leader of a pool', (pair) => {
  const pool = 'frame-leader'
  beforeAll(() => createMirroredPool(pair.a, pair.b, pool))

  it('is one daemon, whichever kind the others are', async () => {
    await snapshotImage(pair, `${pool}/image`)
    await using ours = startDaemon(pair)
    await waitForPool(ours, pool, 'be led', leads)
    await using stock = startDaemon(pair, { kind: 'stock', args: ['--rbd-mirror-leader-heartbeat-interval=1'] })
    await stock.waitUntilUp()
    await waitForPool(stock, pool, 'know its leader', ({ leader_instance_id: id }) => id !== '')
    await mirrorAndCompare(pair, `${pool}/image`)
    expect([await poolStatus(ours, pool), await poolStatus(stock, pool)].map((status) => status!.leader)).toEqual([true, false])

    await ours.admin(`rbd mirror leader release ${pool} ${pair.a.name}`)
    const released = await waitForPool(stock, pool, 'be led by the stock daemon', leads)
    const standby = await waitForPool(ours, pool, 'know its new leader', ({ leader_instance_id: id }) => id === released.instance_id)
    expect([standby.leader, standby.image_replayers]).toEqual([false, [{ name: `${pool}/image`, state: 'Replaying' }]]) // it stays where it was
    await mirrorAndCompare(pair, `${pool}/image`)

    await stock.stop()
    await waitForPool(ours, pool, 'be led again', leads, 5_000)
    await mirrorAndCompare(pair, `${pool}/image`)
    await ours.stop()
    expect(await watchersOf(pair.b, pool, 'rbd_mirror_leader')).toEqual([])
  })
})
