import type { SnapId } from '../rados/io-ctx.ts'
import { checksumSeed } from '../rbd/data/compare-objects.ts'
import { copyImage, type CopyProgress, type CopyRequest } from '../rbd/data/copy-engine.ts'
import type { Image } from '../rbd/image.ts'
import type { ImageContext } from './image-context.ts'

/** What a resync knows of a replica that may hold anything. */
export interface Comparison {
  /** the newest snapshot of the primary that the replica keeps its own of; 0: none */
  keptUpTo: SnapId
  /** how many objects the replica may have */
  objects: number
}

export interface ReplicaCopy extends Pick<CopyRequest, 'fromSnap' | 'steps' | 'resumeFrom' | 'leftovers' | 'changedWhole'> {
  local: Image
  remote: Image
  comparison: Comparison | undefined
  signal: AbortSignal
  onProgress: (progress: CopyProgress) => void
}

/**
 * Copies from a primary into its replica (see `copyImage`), within the daemon's limits. What is read counts in the image's metrics. The replica's
 * lock, if it has one, is in use by the caller. Resolves with the bytes read.
 */
export async function copyIntoReplica(context: ImageContext, copy: ReplicaCopy): Promise<number> {
  const { local, remote, comparison, onProgress, ...request } = copy
  const { options, limits, metrics, log, random, throttle } = context
  const header = await local.refreshIfNeeded()
  let counted = 0
  const { bytesRead } = await copyImage({
    ...request,
    source: { io: remote.io, data: remote.data(), header: remote.header },
    destination: { io: local.io, data: local.data(), header },
    compare: comparison && { seed: checksumSeed(random), objects: comparison.objects },
    concurrency: options.concurrentManagementOps,
    byteBudget: limits.byteBudget,
    buffers: limits.buffers,
    throttle,
    objectMap: local.objectMap,
    onProgress: (progress) => {
      metrics.addBytes(progress.bytesRead - counted)
      counted = progress.bytesRead
      onProgress(progress)
    },
    log,
  })
  return bytesRead
}
