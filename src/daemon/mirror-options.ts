import type { Options } from '../config/options.ts'
import type { MirrorOptions } from '../mirror/options.ts'

/** The mirror layer's view of Ceph's options: read each time, for they may change while running. */
export function mirrorOptions(options: Options): MirrorOptions {
  return {
    get concurrentImageSyncs() {
      return options.get('rbd_mirror_concurrent_image_syncs')
    },
    get concurrentImageDeletions() {
      return options.get('rbd_mirror_concurrent_image_deletions')
    },
    get poolReplayersRefreshInterval() {
      return options.get('rbd_mirror_pool_replayers_refresh_interval')
    },
    get deleteRetryInterval() {
      return options.get('rbd_mirror_delete_retry_interval')
    },
    get imageStateCheckInterval() {
      return options.get('rbd_mirror_image_state_check_interval')
    },
    get leaderHeartbeatInterval() {
      return options.get('rbd_mirror_leader_heartbeat_interval')
    },
    get leaderMaxMissedHeartbeats() {
      return options.get('rbd_mirror_leader_max_missed_heartbeats')
    },
    get leaderMaxAcquireAttemptsBeforeBreak() {
      return options.get('rbd_mirror_leader_max_acquire_attempts_before_break')
    },
    get imagePolicyType() {
      return options.get('rbd_mirror_image_policy_type')
    },
    get imagePolicyMigrationThrottle() {
      return options.get('rbd_mirror_image_policy_migration_throttle')
    },
    get imagePolicyUpdateThrottleInterval() {
      return options.get('rbd_mirror_image_policy_update_throttle_interval')
    },
    get imagePolicyRebalanceTimeout() {
      return options.get('rbd_mirror_image_policy_rebalance_timeout')
    },
    get journalCommitAge() {
      return options.get('rbd_mirror_journal_commit_age')
    },
    get journalPollAge() {
      return options.get('rbd_mirror_journal_poll_age')
    },
    get mirroringDeleteDelay() {
      return options.get('rbd_mirroring_delete_delay')
    },
    get mirroringReplayDelay() {
      return options.get('rbd_mirroring_replay_delay')
    },
    get mirroringResyncAfterDisconnect() {
      return options.get('rbd_mirroring_resync_after_disconnect')
    },
    get mirroringMaxMirroringSnapshots() {
      return options.get('rbd_mirroring_max_mirroring_snapshots')
    },
    get defaultDataPool() {
      return options.get('rbd_default_data_pool')
    },
    get concurrentManagementOps() {
      return options.get('rbd_concurrent_management_ops')
    },
    get resyncMode() {
      return options.get('rbd_mirror_resync_mode') === 'recreate' ? 'recreate' : 'delta'
    },
    get resyncKeepSnapshot() {
      return options.get('rbd_mirror_resync_keep_snapshot')
    },
    get verifyInterval() {
      return options.get('rbd_mirror_verify_interval')
    },
    get verifyBytesPerSecond() {
      return options.get('rbd_mirror_verify_bytes_per_second')
    },
    get blocklistExpireSeconds() {
      return options.get('rbd_blocklist_expire_seconds')
    },
  }
}
