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
