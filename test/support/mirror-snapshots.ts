import type { MirrorSnapshotNamespace } from '../../src/cls/rbd/types.ts'
import { NO_SNAP } from '../../src/rados/io-ctx.ts'

/** The namespace of a complete primary mirror-snapshot that no peer waits for, but for what is named. */
export function mirrorNamespace(more: Partial<MirrorSnapshotNamespace> = {}): MirrorSnapshotNamespace {
  return {
    type: 'mirror',
    state: 'primary',
    complete: true,
    mirrorPeerUuids: new Set(),
    primaryMirrorUuid: '',
    primarySnapId: NO_SNAP,
    lastCopiedObjectNumber: 0,
    snapSeqs: new Map(),
    ...more,
  }
}
