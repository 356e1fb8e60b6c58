import { delay, systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { mirrorImageGet, mirrorImageGetImageId, mirrorUuidGet } from '../../cls/rbd/mirror-client.ts'
import type { MirrorImageMode } from '../../cls/rbd/mirror-types.ts'
import { dirGetId } from '../../cls/rbd/client.ts'
import { ConfigError, UsageError } from '../../config/config-error.ts'
import type { Configuration } from '../../config/load-configuration.ts'
import { Connections } from '../../daemon/connect.ts'
import type { Cluster } from '../../rados/cluster.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { Image } from '../../rbd/image.ts'
import { loadOwnership } from '../../rbd/journal/image-journal.ts'
import { loadImageMeta } from '../../rbd/mirror/image-meta.ts'
import { resyncImage } from '../../rbd/mirror/resync-image.ts'
import { verifyJournalReplica } from '../../rbd/mirror/verify-journal-replica.ts'
import { verifySnapshotReplica, type Verification, type VerifyOptions } from '../../rbd/mirror/verify-replica.ts'
import { RBD_DIRECTORY, RBD_MIRRORING } from '../../rbd/names.ts'
import { connectPeer, found, parseImageSpec, takeImageSpec } from '../image-argument.ts'
import { takeOwnOptions } from '../own-options.ts'
import { configurationFrom, connectLocal, interruptSignal } from '../subcommand.ts'

const usage = `usage: rbd-mirror verify POOL/[NAMESPACE/]IMAGE [--repair] [--json] [--quiet] [--rate BYTES] [--cluster NAME] [--id ID] [--conf FILE] …

Compares a replica with its primary while both are in use, by checksums that the OSDs compute: little data moves. To be run where the replica is.
An image mirrored by snapshots is compared with the primary's mirror-snapshot that was synced last; one mirrored by its journal with a snapshot
that is made for it, or with the primary as it is while nobody writes it.

  --repair      what differs is copied from the primary, by the daemon, as a resync does it; then the images are compared again
  --rate BYTES  compared per second at most (default: no limit)
  --json        the result as JSON
  --quiet       no progress

exit status: 0 the same, 1 failed, 2 misused, 3 they differ, 4 nothing can be said
`

const exitStatus = { equal: 0, differs: 3, unknown: 4 } as const
const REPAIR_POLL_MS = 500

/** `rbd-mirror verify`. */
export async function verify(args: readonly string[]): Promise<number> {
  const own = takeOwnOptions(args, { repair: 'flag', json: 'flag', quiet: 'flag', rate: 'value' })
  if (own.rest.includes('--help') || own.rest.includes('-h')) {
    process.stdout.write(usage)
    return 0
  }
  const { spec, rest } = takeImageSpec('verify', own.rest)
  const rate = Number(own.values.get('rate') ?? 0)
  if (!Number.isFinite(rate) || rate < 0) throw new UsageError('--rate is a number of bytes per second')
  const configuration = configurationFrom(rest)
  const signal = interruptSignal()
  const json = own.flags.has('json')
  const progress = !json && !own.flags.has('quiet') && process.stderr.isTTY
  const options: VerifyOptions = {
    clock: systemClock,
    random: systemRandom,
    concurrency: configuration.options.get('rbd_concurrent_management_ops'),
    bytesPerSecond: rate,
    signal,
    ...(progress && { onProgress: (done, total) => process.stderr.write(`\r${Math.floor((100 * done) / Math.max(1, total))} %`) }),
  }
  const replica = await openReplica(configuration, spec, signal)
  try {
    let verification = await replica.verify(options)
    if (progress) process.stderr.write('\r')
    if (own.flags.has('repair') && verification.type === 'differs') {
      if (!json) process.stdout.write(`${describe(spec, verification)}\nrepairing: a resync is requested, and waits for the daemon\n`)
      await replica.repair(configuration, signal)
      verification = await replica.verify(options)
    }
    process.stdout.write(json ? `${JSON.stringify({ image: spec, ...verification }, undefined, 2)}\n` : `${describe(spec, verification)}\n`)
    return exitStatus[verification.type]
  } finally {
    await replica.close()
  }
}

interface Replica {
  verify(options: VerifyOptions): Promise<Verification>
  repair(configuration: Configuration, signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

async function openReplica(configuration: Configuration, spec: string, signal: AbortSignal): Promise<Replica> {
  const { poolName, namespace, name } = parseImageSpec(spec)
  const connections = new Connections(configuration)
  const closers: (() => Promise<void> | void)[] = []
  const close = async () => {
    for (const closer of closers.reverse()) await closer()
  }
  try {
    const cluster = await connectLocal(connections, configuration, signal)
    closers.push(() => cluster.close())
    const pool = await found(cluster.openPool(poolName), `no pool ${poolName} on cluster ${cluster.name}`)
    const io = pool.duplicate({ namespace })
    const imageId = await found(dirGetId.call(io, RBD_DIRECTORY, { name }), `no image ${spec} on cluster ${cluster.name}`)
    const { globalImageId, mode } = await found(mirrorImageGet.call(io, RBD_MIRRORING, { imageId }), `image ${spec} is not mirrored`)
    const remote = await connectPeer(connections, cluster, pool, signal)
    closers.push(() => remote.close())
    const remotePool = await found(remote.openPool(poolName), `no pool ${poolName} on cluster ${remote.name}`)
    const remoteIo = remotePool.duplicate({ namespace })
    const remoteId = await found(mirrorImageGetImageId.call(remoteIo, RBD_MIRRORING, { globalImageId }), `image ${spec} is not mirrored on cluster ${remote.name}`)
    const open = (side: Cluster, context: IoCtx, id: string, access: 'read-only' | 'write') =>
      Image.open(context, { id }, { cluster: side, access, clock: systemClock, random: systemRandom, log: silentLog, signal })
    const local = await open(cluster, io, imageId, 'read-only')
    closers.push(() => local.close())
    const primary = await open(remote, remoteIo, remoteId, mode === 'journal' ? 'write' : 'read-only')
    closers.push(() => primary.close())
    const uuids = { localMirrorUuid: await mirrorUuidGet.call(io, RBD_MIRRORING), remoteMirrorUuid: await mirrorUuidGet.call(remoteIo, RBD_MIRRORING) }
    const sides = { local, remote: primary, ...uuids }
    return {
      verify: (options) => (mode === 'journal' ? verifyJournalReplica(sides, options) : verifySnapshotReplica(sides, options)),
      repair: ({ options }, stop) => repair({ cluster, io, imageId, mode, mirrorUuid: uuids.localMirrorUuid }, options.get('rbd_mirror_resync_mode'), stop),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

interface Repaired {
  cluster: Cluster
  io: IoCtx
  imageId: string
  mode: MirrorImageMode
  mirrorUuid: string
}

/** The daemon has the replica's lock, and does it: the request is gone when it is done. */
async function repair({ cluster, io, imageId, mode, mirrorUuid }: Repaired, resyncMode: string, signal: AbortSignal): Promise<void> {
  if (resyncMode !== 'delta') throw new ConfigError('--repair copies what differs, but rbd_mirror_resync_mode is recreate: that would make the image anew')
  const image = await Image.open(io, { id: imageId }, { cluster, access: 'write', clock: systemClock, random: systemRandom, log: silentLog, signal })
  try {
    await resyncImage(image, signal)
  } finally {
    await image.close()
  }
  const requested = async () =>
    mode === 'journal' ? (await loadOwnership(io, imageId)).meta.resyncRequested : (await loadImageMeta(io, imageId, mirrorUuid)).resyncRequested
  while (await requested()) await delay(systemClock, REPAIR_POLL_MS, signal)
}

function describe(spec: string, verification: Verification): string {
  if (verification.type === 'unknown') return `${spec}: nothing can be said: ${verification.reason}`
  const { against, objects, bytesCompared, differences } = verification
  if (verification.type === 'equal') return `${spec}: the same as ${against} (${objects} objects, ${bytesCompared} bytes of both sides compared)`
  const { sizes, examples } = differences
  const lines = [`${spec}: DIFFERS from ${against}: ${differences.bytes} bytes in ${differences.objects} of ${objects} objects`]
  if (examples.length > 0) lines.push(`  objects: ${examples.join(', ')}${differences.objects > examples.length ? ', …' : ''}`)
  if (sizes) lines.push(`  size: ${sizes.primary} bytes on the primary, ${sizes.replica} here`)
  return lines.join('\n')
}
