/**
 * The settings of the mirror layer, read each time they are needed: the configuration may change while running.
 * Times in seconds as in Ceph; the Ceph option is `rbd_mirror_…` unless another is named.
 */
export interface MirrorOptions {
  readonly concurrentImageSyncs: number
  readonly concurrentImageDeletions: number
  readonly poolReplayersRefreshInterval: number
  readonly deleteRetryInterval: number
  /** how soon an image that ended is tried again */
  readonly imageStateCheckInterval: number
  readonly leaderHeartbeatInterval: number
  readonly leaderMaxMissedHeartbeats: number
  readonly leaderMaxAcquireAttemptsBeforeBreak: number
  /** `none` (the leader has all images) or `simple` */
  readonly imagePolicyType: string
  readonly imagePolicyMigrationThrottle: number
  readonly imagePolicyUpdateThrottleInterval: number
  /** 0: never */
  readonly imagePolicyRebalanceTimeout: number
  readonly journalCommitAge: number
  readonly journalPollAge: number
  /** `rbd_mirroring_delete_delay` */
  readonly mirroringDeleteDelay: number
  /** `rbd_mirroring_replay_delay` */
  readonly mirroringReplayDelay: number
  /** `rbd_mirroring_resync_after_disconnect` */
  readonly mirroringResyncAfterDisconnect: boolean
  /** `rbd_mirroring_max_mirroring_snapshots` */
  readonly mirroringMaxMirroringSnapshots: number
  /** `rbd_default_data_pool` of the local cluster, '' for none */
  readonly defaultDataPool: string
  /** `rbd_concurrent_management_ops` */
  readonly concurrentManagementOps: number
  readonly resyncMode: 'delta' | 'recreate'
  readonly resyncKeepSnapshot: boolean
  /** 0: replicas are not compared by themselves */
  readonly verifyInterval: number
  /** 0: no limit */
  readonly verifyBytesPerSecond: number
  /** `rbd_blocklist_expire_seconds` */
  readonly blocklistExpireSeconds: number
}

/** Images that start or stop at once, per namespace. */
export const MAX_IMAGE_STARTS = 16
/** Bytes in flight of all copies and replays of a daemon, which takes about three times as much memory for them. */
export const BYTE_BUDGET = 32 * 1024 * 1024
/** Bytes of journals that all replays of a daemon hold together, fetched or waiting to be written. */
export const JOURNAL_MEMORY = 64 * 1024 * 1024
/** The most of it for one journal. */
export const JOURNAL_MEMORY_EACH = 24 * 1024 * 1024
