import type { MirrorSnapshotNamespace } from '../../cls/rbd/types.ts'
import { NO_SNAP } from '../../rados/io-ctx.ts'
import type { ImageSnapshot } from '../header.ts'

/** A snapshot that mirroring has made. */
export type MirrorSnapshot = Omit<ImageSnapshot, 'namespace'> & { namespace: MirrorSnapshotNamespace }

export function isMirrorSnapshot(snapshot: ImageSnapshot): snapshot is MirrorSnapshot {
  return snapshot.namespace.type === 'mirror'
}

/** Oldest first. */
export function mirrorSnapshots(snapshots: readonly ImageSnapshot[]): MirrorSnapshot[] {
  return snapshots.filter(isMirrorSnapshot).sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** What a new mirror-snapshot is, but for what `more` says: nobody waits for it, and it stands for none of another site. */
export function mirrorNamespace(state: MirrorSnapshotNamespace['state'], complete: boolean, more: Partial<MirrorSnapshotNamespace> = {}): MirrorSnapshotNamespace {
  return {
    type: 'mirror',
    state,
    complete,
    mirrorPeerUuids: new Set(),
    primaryMirrorUuid: '',
    primarySnapId: NO_SNAP,
    lastCopiedObjectNumber: 0,
    snapSeqs: new Map(),
    ...more,
  }
}

export function isPrimary({ state }: MirrorSnapshotNamespace): boolean {
  return state === 'primary' || state === 'primary-demoted'
}

export function isNonPrimary({ state }: MirrorSnapshotNamespace): boolean {
  return state === 'non-primary' || state === 'non-primary-demoted'
}

export function isDemoted({ state }: MirrorSnapshotNamespace): boolean {
  return state === 'primary-demoted' || state === 'non-primary-demoted'
}

/** A snapshot that a forced promotion leaves to say that the image follows nobody any more. */
export function isOrphan(namespace: MirrorSnapshotNamespace): boolean {
  return isNonPrimary(namespace) && namespace.primaryMirrorUuid === '' && namespace.primarySnapId === NO_SNAP
}

/**
 * Stands in `lastCopiedObjectNumber` of a complete non-primary snapshot when the snapshot reads as the image does after that sync, so
 * that a forced promotion in the middle of the next one may roll back to it. librbd never writes such a number, and ignores it in a
 * complete snapshot. A snapshot that the C++ daemon has synced reads as the image did *before* that sync: its data is
 * written with the new snapshot already in the snapshot context (ObjectCopyRequest.cc, send_write_object).
 */
export const READS_AS_SYNCED = 2 ** 52

/** Whether a complete non-primary snapshot may be rolled back to. */
export function readsAsSynced(namespace: MirrorSnapshotNamespace): boolean {
  return isNonPrimary(namespace) && namespace.complete && namespace.lastCopiedObjectNumber === READS_AS_SYNCED
}
