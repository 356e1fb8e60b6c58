import PQueue from 'p-queue'
import { systemClock } from '../../src/base/clock.ts'
import { Cancelled } from '../../src/base/cancelled.ts'
import { silentLog, type Log } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { Semaphore } from '../../src/base/semaphore.ts'
import { mirrorImageGet, mirrorPeerList, mirrorUuidGet } from '../../src/cls/rbd/mirror-client.ts'
import { dirGetId } from '../../src/cls/rbd/client.ts'
import { libradosDriver } from '../../src/drivers/librados/driver.ts'
import { bootstrap } from '../../src/mirror/bootstrap/bootstrap.ts'
import type { ImageContext } from '../../src/mirror/image-context.ts'
import type { MirrorOptions } from '../../src/mirror/options.ts'
import type { ReplayEnd } from '../../src/mirror/replayer.ts'
import { Metrics } from '../../src/observability/metrics.ts'
import { FaultyCluster } from '../../src/drivers/faulty/faulty-cluster.ts'
import type { Fault } from '../../src/drivers/faulty/fault-plan.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import { MemoryShare } from '../../src/base/memory-share.ts'
import { BufferPool } from '../../src/rbd/data/buffer-pool.ts'
import { RBD_DIRECTORY, RBD_MIRRORING } from '../../src/rbd/names.ts'
import { AtWrite } from './at-write.ts'
import type { CephCluster } from './ceph-cluster.ts'

/** A librados connection as client.admin. */
export function connectTo(cluster: Pick<CephCluster, 'name' | 'conf'>): Promise<Cluster> {
  return libradosDriver.connect({ name: cluster.name, entity: 'client.admin', confFile: cluster.conf, options: {} })
}

/** Replays one image in this process until there is nothing more to do, or something ends it. */
export async function replayUntilIdle(
  clusters: { local: Cluster; remote: Cluster },
  pool: string,
  image: string,
  log: Log = silentLog,
): Promise<ReplayEnd | { type: 'idle' }> {
  const stop = new AbortController()
  const context = await contextOf(clusters, pool, image, log)
  const started = await bootstrap(context, stop.signal)
  if (started.type !== 'replay') return started
  const run = started.replayer.run(stop.signal)
  const first = await Promise.race([run, started.replayer.flush().then(() => ({ type: 'idle' as const }))])
  stop.abort(new Cancelled('idle'))
  const end = await run
  return end.type === 'stopped' ? first : end
}

async function contextOf({ local, remote }: { local: Cluster; remote: Cluster }, pool: string, image: string, log: Log): Promise<ImageContext> {
  const [localIo, remoteIo] = await Promise.all([local.openPool(pool), remote.openPool(pool)])
  const [localUuid, remoteUuid, peers, imageId] = await Promise.all([
    mirrorUuidGet.call(localIo, RBD_MIRRORING),
    mirrorUuidGet.call(remoteIo, RBD_MIRRORING),
    mirrorPeerList.call(remoteIo, RBD_MIRRORING),
    dirGetId.call(remoteIo, RBD_DIRECTORY, { name: image }),
  ])
  const { globalImageId } = await mirrorImageGet.call(remoteIo, RBD_MIRRORING, { imageId })
  const options: Partial<MirrorOptions> = { concurrentManagementOps: 4, defaultDataPool: '' }
  return {
    globalImageId,
    local: { cluster: local, io: localIo, mirrorUuid: localUuid },
    remote: { cluster: remote, io: remoteIo, mirrorUuid: remoteUuid, mirrorPeerUuid: peers[0]!.uuid },
    pools: { local: () => undefined, remote: () => undefined },
    clock: systemClock,
    random: systemRandom,
    log,
    limits: {
      imageSyncs: new PQueue({ concurrency: 1 }),
      byteBudget: new Semaphore(64 * 2 ** 20),
      buffers: new BufferPool(32 * 2 ** 20),
      journalMemory: new MemoryShare(64 * 2 ** 20, 16 * 2 ** 20),
    },
    snapIds: { take: () => localIo.createSelfManagedSnap(), giveBack: () => undefined },
    options: options as MirrorOptions,
    metrics: new Metrics().image({ pool, namespace: '', peer: 'a', globalImageId }),
    report: () => undefined,
  }
}

/** One run whose local connection gets `fault` at its `write`-th write. Resolves with how many writes there were. */
export async function replayWithFault(pair: Record<'a' | 'b', CephCluster>, pool: string, image: string, write: number, fault: Fault): Promise<number> {
  const [inner, remote] = await Promise.all([connectTo(pair.b), connectTo(pair.a)])
  const plan = new AtWrite(write, fault)
  try {
    await replayUntilIdle({ local: new FaultyCluster(inner, plan, systemClock), remote }, pool, image).catch(() => undefined)
  } finally {
    await Promise.all([inner.close(), remote.close()])
  }
  return plan.writes
}

/** Up to eight runs that crash, each some writes further than the one before, or until one comes to its end. */
export async function crashAgainAndAgain(pair: Record<'a' | 'b', CephCluster>, pool: string, image: string, longestStride: number): Promise<void> {
  for (let tries = 0, write = 0; tries < 8; tries++, write += 1 + Math.floor(Math.random() * longestStride)) {
    if ((await replayWithFault(pair, pool, image, write, { type: 'crash', applied: tries % 2 === 0 })) <= write) return
  }
}
