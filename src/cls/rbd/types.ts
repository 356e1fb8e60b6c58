import { bool, bytes, enumeration, list, map, optional, s64, set, size, string, u32, u64, u8, utime, zeroTime } from '../../encoding/codec.ts'
import type { Codec, Infer } from '../../encoding/codec.ts'
import { fields, since, struct, variant, versioned } from '../../encoding/struct.ts'

/* The values that the object class `rbd` speaks of, as cls/rbd/cls_rbd_types.{h,cc} define them. Each name is both a codec and its values' type. */

export type { Utime } from '../../encoding/codec.ts'

export const DirectoryState = enumeration(u8, { ready: 0, 'add-disabled': 1 })
export type DirectoryState = Infer<typeof DirectoryState>

export const ProtectionStatus = enumeration(u8, { unprotected: 0, unprotecting: 1, protected: 2 })
export type ProtectionStatus = Infer<typeof ProtectionStatus>

export const ParentImageSpec = struct(
  { version: 1, compat: 1 },
  {
    /** -1 for no parent */
    poolId: s64,
    poolNamespace: string,
    imageId: string,
    snapId: u64,
  },
)
export type ParentImageSpec = Infer<typeof ParentImageSpec>

/** The parent of legacy methods, which know no namespaces; `poolId` -1 for none. */
export const LegacyParent = fields({ poolId: s64, imageId: string, snapId: u64 })
export type LegacyParent = Infer<typeof LegacyParent>

export const ChildImageSpec = struct({ version: 2, compat: 1 }, { poolId: s64, imageId: string, poolNamespace: since(2, string, '') })
export type ChildImageSpec = Infer<typeof ChildImageSpec>

export const SnapshotNamespaceType = enumeration(u32, { user: 0, group: 1, trash: 2, mirror: 3 })
export type SnapshotNamespaceType = Infer<typeof SnapshotNamespaceType>

export const MirrorSnapshotState = enumeration(u8, { primary: 0, 'primary-demoted': 1, 'non-primary': 2, 'non-primary-demoted': 3 })
export type MirrorSnapshotState = Infer<typeof MirrorSnapshotState>

/** What a snapshot is for: `{ type: 'user' | 'group' | 'trash' | 'mirror' | 'unknown', … }`. */
export const SnapshotNamespace = versioned(
  { version: 1, compat: 1 },
  variant(u32, {
    user: [0, {}],
    group: [1, { groupPool: s64, groupId: string, groupSnapshotId: string }],
    trash: [2, { originalName: string, originalType: SnapshotNamespaceType }],
    mirror: [
      3,
      {
        state: MirrorSnapshotState,
        complete: bool,
        mirrorPeerUuids: set(string),
        /** of a non-primary snapshot: mirror uuid of the cluster that it comes from; '' for an orphan */
        primaryMirrorUuid: string,
        /** of a non-primary snapshot: the primary's snapshot id, NO_SNAP for an orphan. Of a primary one it is Ceph's clean_since_snap_id. */
        primarySnapId: u64,
        /** of an incomplete non-primary snapshot: objects below this number are copied */
        lastCopiedObjectNumber: size,
        /** remote snapshot id → local snapshot id */
        snapSeqs: map(u64, u64),
      },
    ],
  }),
)
export type SnapshotNamespace = Infer<typeof SnapshotNamespace>
export type MirrorSnapshotNamespace = Extract<SnapshotNamespace, { type: 'mirror' }>

export const SnapshotInfo = struct(
  { version: 1, compat: 1 },
  { id: u64, namespace: SnapshotNamespace, name: string, imageSize: size, timestamp: utime, childCount: u32 },
)
export type SnapshotInfo = Infer<typeof SnapshotInfo>

export const SnapContext = fields({ seq: u64, snaps: list(u64) })

/** An entry of a pool's trash. */
export const TrashImageSource = enumeration(u8, { user: 0, mirroring: 1, migration: 2, removing: 3, user_parent: 4 })
export type TrashImageSource = Infer<typeof TrashImageSource>
export const TrashImageState = enumeration(u8, { normal: 0, moving: 1, removing: 2, restoring: 3 })
export type TrashImageState = Infer<typeof TrashImageState>
export const TrashImageSpec = struct(
  { version: 2, compat: 1 },
  {
    source: TrashImageSource,
    name: string,
    deletionTime: utime,
    defermentEndTime: utime,
    state: since(2, TrashImageState, 'normal' as const),
  },
)
export type TrashImageSpec = Infer<typeof TrashImageSpec>

export const GroupImageLinkState = enumeration(u8, { attached: 0, incomplete: 1 })
export type GroupImageLinkState = Infer<typeof GroupImageLinkState>
export const GroupImageSpec = struct({ version: 1, compat: 1 }, { imageId: string, poolId: s64 })
export type GroupImageSpec = Infer<typeof GroupImageSpec>
export const GroupImageStatus = struct({ version: 1, compat: 1 }, { spec: GroupImageSpec, state: GroupImageLinkState })
export type GroupImageStatus = Infer<typeof GroupImageStatus>
/** The group that an image belongs to; `poolId` -1 for none. */
export const GroupSpec = struct({ version: 1, compat: 1 }, { poolId: s64, groupId: string })
export type GroupSpec = Infer<typeof GroupSpec>
export const ImageSnapshotSpec = struct({ version: 1, compat: 1 }, { poolId: s64, imageId: string, snapId: u64 })
export type ImageSnapshotSpec = Infer<typeof ImageSnapshotSpec>
export const GroupSnapshotState = enumeration(u8, { incomplete: 0, complete: 1 })
export type GroupSnapshotState = Infer<typeof GroupSnapshotState>
export const GroupSnapshot = struct(
  { version: 1, compat: 1 },
  { id: string, name: string, state: GroupSnapshotState, snaps: list(ImageSnapshotSpec) },
)
export type GroupSnapshot = Infer<typeof GroupSnapshot>

export const MirrorImageMode = enumeration(u8, { journal: 0, snapshot: 1 })
export type MirrorImageMode = Infer<typeof MirrorImageMode>

export const MigrationHeaderType = enumeration(u8, { source: 1, destination: 2 })
export type MigrationHeaderType = Infer<typeof MigrationHeaderType>
export const MigrationState = enumeration(u8, { error: 0, preparing: 1, prepared: 2, executing: 3, executed: 4, aborting: 5 })
export type MigrationState = Infer<typeof MigrationState>
const migrationFields = fields({
  headerType: MigrationHeaderType,
  poolId: s64,
  poolNamespace: string,
  imageName: string,
  imageId: string,
  snapSeqs: map(u64, u64),
  overlap: size,
  flatten: bool,
  mirroring: bool,
  state: MigrationState,
  stateDescription: string,
})
export type MigrationSpec = Infer<typeof migrationFields> & { mirrorImageMode: MirrorImageMode; sourceSpec: string }
/** A live migration's state. With a source spec only readers of version 3 may understand it. */
export const MigrationSpec: Codec<MigrationSpec> = {
  encode(encoder, value) {
    encoder.versioned(3, value.sourceSpec === '' ? 1 : 3, () => {
      migrationFields.encode(encoder, value)
      MirrorImageMode.encode(encoder, value.mirrorImageMode)
      encoder.string(value.sourceSpec)
    })
  },
  decode: (decoder) =>
    decoder.versioned(3, (version) => ({
      ...migrationFields.decode(decoder),
      mirrorImageMode: version >= 2 ? MirrorImageMode.decode(decoder) : 'journal',
      sourceSpec: version >= 3 ? decoder.string() : '',
    })),
}

export const AssertSnapcSeqState = enumeration(u8, { 'greater-than-snapset-seq': 0, 'at-most-snapset-seq': 1 })
export type AssertSnapcSeqState = Infer<typeof AssertSnapcSeqState>

/** How the header keeps its parent (cls_rbd.h, cls_rbd_parent); `headOverlap` undefined: only snapshots still have it. */
export interface StoredParent {
  poolId: bigint
  poolNamespace: string
  imageId: string
  snapId: bigint
  headOverlap: number | undefined
}
const optionalSize = optional(size)
export const StoredParent: Codec<StoredParent> = {
  encode(encoder, value) {
    encoder.versioned(2, 2, () => {
      encoder.s64(value.poolId).string(value.poolNamespace).string(value.imageId).u64(value.snapId)
      optionalSize.encode(encoder, value.headOverlap)
    })
  },
  decode: (decoder) =>
    decoder.versioned(2, (version) => ({
      poolId: decoder.s64(),
      poolNamespace: version >= 2 ? decoder.string() : '',
      imageId: decoder.string(),
      snapId: decoder.u64(),
      headOverlap: version >= 2 ? optionalSize.decode(decoder) : decoder.size(),
    })),
}

/** How the header keeps a snapshot since Nautilus (cls_rbd.h, cls_rbd_snap). */
export interface StoredSnapshot {
  id: bigint
  name: string
  imageSize: number
  protectionStatus: ProtectionStatus
  flags: bigint
  namespace: SnapshotNamespace
  timestamp: Infer<typeof utime>
  childCount: number
  parentOverlap: number | undefined
  /** only in what older OSDs wrote */
  parent: StoredParent | undefined
}
export const StoredSnapshot: Codec<StoredSnapshot> = {
  encode(encoder, value) {
    encoder.versioned(8, 8, () => {
      encoder.u64(value.id).string(value.name).size(value.imageSize)
      ProtectionStatus.encode(encoder, value.protectionStatus)
      encoder.u64(value.flags)
      SnapshotNamespace.encode(encoder, value.namespace)
      utime.encode(encoder, value.timestamp)
      encoder.u32(value.childCount)
      optionalSize.encode(encoder, value.parentOverlap)
    })
  },
  decode: (decoder) =>
    decoder.versioned(8, (version, compat) => {
      const id = decoder.u64()
      const name = decoder.string()
      const imageSize = decoder.size()
      if (compat < 8) decoder.u64() // the image's features, unused
      const parent = version >= 2 && compat < 8 ? StoredParent.decode(decoder) : undefined
      return {
        id,
        name,
        imageSize,
        parent,
        protectionStatus: version >= 3 ? ProtectionStatus.decode(decoder) : 'unprotected',
        flags: version >= 4 ? decoder.u64() : 0n,
        namespace: version >= 5 ? SnapshotNamespace.decode(decoder) : { type: 'user' },
        timestamp: version >= 6 ? utime.decode(decoder) : zeroTime,
        childCount: version >= 7 ? decoder.u32() : 0,
        parentOverlap: version >= 8 ? optionalSize.decode(decoder) : undefined,
      }
    }),
}


/** Anything that a key holds as it is. */
export const MetadataMap = map(string, bytes)
