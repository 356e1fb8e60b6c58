import { Errno } from '../../rados/errors.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import { findSnapshotByName, type ImageHeader } from '../header.ts'
import type { Image } from '../image.ts'
import { operationError } from '../operations/invoke.ts'
import { createSnapshot } from '../operations/snapshot-create.ts'
import { mirrorNamespace } from './mirror-snapshot.ts'
import { listPeers } from './peers.ts'
import { nextUnlink, primarySnapshotRefusal } from './primary-plan.ts'
import { Refusal } from './refusal.ts'
import { removeTrashedMirrorSnapshots } from './trashed-snapshots.ts'
import { forgetSnapshot } from './unlink-peer.ts'

export interface PrimarySnapshot {
  globalImageId: string
  /** nobody may write from this snapshot on, until a site is promoted */
  demoted?: boolean
  /** whatever the newest mirror-snapshot is */
  force?: boolean
  /** with no peer to follow it, it is refused with EINVAL otherwise */
  withoutPeers?: boolean
  quiesce?: 'quiesce' | 'skip' | 'ignore-error' | undefined
  signal?: AbortSignal | undefined
}

/** More rounds than any image has snapshots to be pruned. */
const maxUnlinks = 512

const here = 'librbd::mirror::snapshot'

/**
 * Makes a mirror-snapshot of a primary's head for all peers that fetch from here, and prunes the older ones to
 * `rbd_mirroring_max_mirroring_snapshots` (librbd/mirror/snapshot/CreatePrimaryRequest.cc). Resolves with its id. Rejects with Refusal.
 */
export async function createPrimarySnapshot(image: Image, options: PrimarySnapshot): Promise<SnapId> {
  const { globalImageId, demoted = false, force = false, withoutPeers = false, quiesce, signal } = options
  const check = ({ snapshots }: ImageHeader) => {
    const refusal = primarySnapshotRefusal(snapshots, { demoted, force })
    if (refusal !== undefined) throw new Refusal(Errno.EINVAL, [`${here}::util:  can_create_primary_snapshot: ${refusal}`], image)
  }
  check(await image.refreshIfNeeded())
  const peers = await followers(image)
  if (peers.length === 0 && !withoutPeers) {
    const line = `${here}::CreatePrimaryRequest: handle_get_mirror_peers: no mirror tx peers configured for the pool`
    throw new Refusal(Errno.EINVAL, [line], image)
  }
  const name = `.mirror.primary.${globalImageId}.${image.options.random.uuid()}`
  const namespace = mirrorNamespace(demoted ? 'primary-demoted' : 'primary', false, { mirrorPeerUuids: new Set(peers) })
  // the image may have been demoted since
  await createSnapshot(image, { name, namespace, quiesce, check }, { signal })
  const created = findSnapshotByName(await image.refresh(), 'mirror', name)
  if (!created) throw operationError(image, Errno.ENOENT, 'find the new mirror-snapshot')
  await prune(image, peers, signal)
  return created.id
}

/** The peers of the pool that may fetch from here. */
async function followers(image: Image): Promise<string[]> {
  const pool = image.io.duplicate({ namespace: '' })
  try {
    return (await listPeers(pool)).filter(({ direction }) => direction !== 'rx').map(({ uuid }) => uuid)
  } finally {
    pool.close()
  }
}

/** The snapshot is made: a failure to prune is told in the log only, the next one tries again. */
async function prune(image: Image, peers: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  const limit = Math.max(3, image.numericOption('rbd_mirroring_max_mirroring_snapshots', 5))
  try {
    await removeTrashedMirrorSnapshots(image, signal)
    for (let round = 0; round < maxUnlinks; round++) {
      const unlink = nextUnlink((await image.refreshIfNeeded()).snapshots, peers, limit)
      if (!unlink) return
      await forgetSnapshot(image, unlink.snapId, unlink.peerUuid, signal)
    }
  } catch (error) {
    signal?.throwIfAborted()
    image.options.log.warn({ imageId: image.id, error: String(error) }, 'older mirror-snapshots not pruned')
  }
}
