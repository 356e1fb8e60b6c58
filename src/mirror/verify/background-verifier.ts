import { isCancelled } from '../../base/cancelled.ts'
import { delay } from '../../base/clock.ts'
import { Semaphore } from '../../base/semaphore.ts'
import { mirrorImageGet, mirrorUuidGet } from '../../cls/rbd/mirror-client.ts'
import type { ImageMetrics } from '../../observability/metrics.ts'
import { EBLOCKLISTED, isErrno } from '../../rados/errors.ts'
import type { Cluster } from '../../rados/cluster.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { Image } from '../../rbd/image.ts'
import { verifyJournalReplica } from '../../rbd/mirror/verify-journal-replica.ts'
import { verifySnapshotReplica, type Verification } from '../../rbd/mirror/verify-replica.ts'
import { RBD_MIRRORING } from '../../rbd/names.ts'
import type { PoolContext } from '../pool-context.ts'

/** How often it is looked whether a replica is due. */
const LOOK_MS = 1_000
/** Of the whole daemon one replica at a time, so that its pace is that of all. */
const turns = new Semaphore(1)

/** A replica that may be compared now. */
export interface VerifiableImage {
  globalImageId: string
  localImageId: string
  remoteImageId: string
  metrics: ImageMetrics
}

export interface BackgroundVerifierOptions {
  context: PoolContext
  /** of the namespace, on either side */
  local: IoCtx
  remote: { cluster: Cluster; io: IoCtx }
  /** those that are being replayed */
  images(): VerifiableImage[]
  /** names of the images that were found to differ when they were looked at last */
  onDifferent(names: readonly string[]): void
}

/**
 * Compares the replicas of a namespace with their primaries, one after the other, each as often as `rbd_mirror_verify_interval` says: the one that
 * was not looked at for the longest time first. What is found goes to log, metrics and callouts; nothing is repaired.
 */
export class BackgroundVerifier {
  private readonly verifiedAt = new Map<string, number>()
  private readonly different = new Map<string, string>()

  constructor(private readonly options: BackgroundVerifierOptions) {}

  /** Until the signal is aborted. Rejects when a connection is blocklisted. */
  async run(signal: AbortSignal): Promise<void> {
    const { context } = this.options
    try {
      for (;;) {
        await delay(context.clock, LOOK_MS, signal)
        for (let due = this.due(); due; due = this.due()) {
          const image = due
          this.verifiedAt.set(image.globalImageId, context.clock.monotonic())
          await turns.run(1, () => this.verify(image, signal), signal)
        }
      }
    } finally {
      this.options.onDifferent([])
    }
  }

  private due(): VerifiableImage | undefined {
    const { context } = this.options
    const intervalMs = context.options.verifyInterval * 1000
    if (intervalMs === 0) return undefined
    const before = context.clock.monotonic() - intervalMs
    const lastOf = ({ globalImageId }: VerifiableImage) => this.verifiedAt.get(globalImageId) ?? -Infinity
    const [first] = this.options.images().sort((a, b) => lastOf(a) - lastOf(b))
    return first && lastOf(first) <= before ? first : undefined
  }

  private async verify(image: VerifiableImage, signal: AbortSignal): Promise<void> {
    const { log, clock } = this.options.context
    const fields = { globalImageId: image.globalImageId }
    let verification: Verification
    try {
      verification = await this.compare(image, signal)
    } catch (error) {
      if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
      return log.warn({ ...fields, err: error }, 'a replica could not be verified')
    }
    if (verification.type === 'unknown') return log.info({ ...fields, reason: verification.reason }, 'nothing can be said of a replica')
    const { type, against, bytesCompared, differences } = verification
    image.metrics.setVerified({ at: clock.now() / 1000, differingBytes: differences.bytes })
    if (type === 'equal') {
      this.different.delete(image.globalImageId)
      log.info({ ...fields, against, bytesCompared }, 'replica verified')
    } else {
      this.different.set(image.globalImageId, image.metrics.name || image.globalImageId)
      log.error({ ...fields, against, ...differences }, 'a replica differs from its primary: rbd-mirror verify --repair copies what differs')
    }
    this.options.onDifferent([...this.different.values()])
  }

  private async compare({ localImageId, remoteImageId }: VerifiableImage, signal: AbortSignal): Promise<Verification> {
    const { context, local: io, remote } = this.options
    const { clock, random, log, options } = context
    const { mode } = await mirrorImageGet.call(io, RBD_MIRRORING, { imageId: localImageId }, { signal })
    const open = (cluster: Cluster, at: IoCtx, id: string, access: 'read-only' | 'write') => Image.open(at, { id }, { cluster, access, clock, random, log, signal })
    const local = await open(context.cluster, io, localImageId, 'read-only')
    try {
      const primary = await open(remote.cluster, remote.io, remoteImageId, mode === 'journal' ? 'write' : 'read-only')
      try {
        const remoteMirrorUuid = await mirrorUuidGet.call(remote.io, RBD_MIRRORING, undefined, { signal })
        const sides = { local, remote: primary, localMirrorUuid: context.localMirrorUuid, remoteMirrorUuid }
        const how = { clock, random, concurrency: 2, bytesPerSecond: options.verifyBytesPerSecond, signal }
        return await (mode === 'journal' ? verifyJournalReplica(sides, how) : verifySnapshotReplica(sides, how))
      } finally {
        await primary.close()
      }
    } finally {
      await local.close()
    }
  }
}
