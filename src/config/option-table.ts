import { parseBandwidthRules } from './bandwidth-rules.ts'
import type { OptionType, ValueOf } from './option-type.ts'

export interface OptionDefinition<T extends OptionType = OptionType> {
  type: T
  /** as it would be written in a conf file; '' is no value of a text option */
  default: string
  description: string
  min?: number
  max?: number
  values?: readonly string[]
  /** Not one of Ceph's: librados does not know it. */
  own?: true
  /** Takes effect only at the start. */
  startup?: true
  /** Throws ConfigError for a text that is no good. */
  check?: (text: string) => unknown
  /** Never shown nor logged. */
  secret?: true
}

type Limits = Omit<OptionDefinition, 'type' | 'default' | 'description'>

function option<T extends OptionType>(type: T, defaultValue: string | number | boolean, description: string, limits: Limits = {}): OptionDefinition<T> {
  return { type, default: String(defaultValue), description, ...limits }
}

const startup = { startup: true } as const
const own = { own: true } as const

/**
 * The options that this program acts upon: names, types, defaults and limits are Ceph's (common/options/*.yaml.in of 18.2, with the
 * defaults of a daemon); those marked `own` are ours. Times are in seconds unless the type says otherwise.
 */
export const optionTable = {
  rbd_mirror_journal_commit_age: option('float', 5, 'time between two commits of the journal position'),
  rbd_mirror_journal_poll_age: option('float', 5, 'longest time between two looks at a remote journal'),
  rbd_mirror_journal_max_fetch_bytes: option('size', '32768', 'accepted for compatibility: the fetch size adapts by itself', own),
  rbd_mirror_sync_point_update_age: option('float', 30, 'time between two updates of how far an image sync has come'),
  rbd_mirror_concurrent_image_syncs: option('uint', 5, 'images that may be synced at a time'),
  rbd_mirror_pool_replayers_refresh_interval: option('uint', 30, 'time between two looks at the pools and their peers'),
  rbd_mirror_concurrent_image_deletions: option('uint', 1, 'images that may be deleted at a time', { min: 1 }),
  rbd_mirror_delete_retry_interval: option('float', 30, 'wait before a failed deletion is tried again'),
  rbd_mirror_image_state_check_interval: option('uint', 30, 'time between two checks of the images and their replayers', { min: 1 }),
  rbd_mirror_leader_heartbeat_interval: option('uint', 5, 'time between two heartbeats of the leader', { min: 1 }),
  rbd_mirror_leader_max_missed_heartbeats: option('uint', 2, 'missed heartbeats after which the leader lock is asked for'),
  rbd_mirror_leader_max_acquire_attempts_before_break: option('uint', 3, 'failed attempts after which the leader lock is broken'),
  rbd_mirror_image_policy_type: option('str', 'simple', 'how images are spread over the daemons', { values: ['none', 'simple'] }),
  rbd_mirror_image_policy_migration_throttle: option('uint', 300, 'time that an image stays with a daemon before it may move again'),
  rbd_mirror_image_policy_update_throttle_interval: option('float', 1, 'time over which moves of images are gathered', { min: 1 }),
  rbd_mirror_image_policy_rebalance_timeout: option('float', 0, 'idle time after which images are spread anew (0: never)'),
  rbd_mirror_perf_stats_prio: option('int', 5, 'priority of the replication counters', { min: 0, max: 11 }),
  rbd_mirror_image_perf_stats_prio: option('int', 5, 'priority of the replication counters of each image', { min: 0, max: 11 }),
  rbd_mirror_memory_autotune: option('bool', true, 'accepted for compatibility: memory is bounded by the byte budget'),
  rbd_mirror_memory_target: option('size', '4G', 'accepted for compatibility: memory is bounded by the byte budget'),
  rbd_mirror_memory_base: option('size', '768M', 'accepted for compatibility: memory is bounded by the byte budget'),
  rbd_mirror_memory_expected_fragmentation: option('float', 0.15, 'accepted for compatibility', { min: 0, max: 1 }),
  rbd_mirror_memory_cache_min: option('size', '128M', 'accepted for compatibility: memory is bounded by the byte budget'),
  rbd_mirror_memory_cache_resize_interval: option('float', 5, 'accepted for compatibility'),
  rbd_mirror_memory_cache_autotune_interval: option('float', 30, 'accepted for compatibility'),

  rbd_mirror_resync_mode: option('str', 'delta', 'how a resync is done: only what differs, or by a new image (recreate)', { own: true, values: ['delta', 'recreate'] }),
  rbd_mirror_resync_keep_snapshot: option('bool', false, 'whether a resync keeps what it gives up as a snapshot of the replica', own),
  rbd_mirror_verify_interval: option('secs', 0, 'time between two comparisons of each replica with its primary (0: none)', { own: true, min: 0 }),
  rbd_mirror_verify_bytes_per_second: option('size', '64M', 'pace of these comparisons (0: as fast as they go)', own),

  rbd_mirror_metrics_address: option('str', '127.0.0.1', 'address at which /metrics and /healthz are served', { own: true, startup: true }),
  rbd_mirror_metrics_port: option('uint', 9927, 'port of the status page, /metrics, /healthz and /readyz (0: none)', { own: true, startup: true, max: 65535 }),
  rbd_mirror_metrics_image_limit: option('uint', 5000, 'images that have series of their own on /metrics, those in error first', { own: true, max: 100_000 }),
  rbd_mirror_metrics_ceph_names: option('bool', false, "whether /metrics has the names that ceph-exporter gives to the stock daemon's counters too", own),
  rbd_mirror_bandwidth_limits: option(
    'str',
    '',
    'bytes per second as in "100M, 20M pool=volumes, 5M image=volumes/db-*, unlimited during=[* 0-5 * * *]"; the last that fits counts',
    { own: true, check: parseBandwidthRules },
  ),
  rbd_mirror_rpo_target: option('secs', 0, 'lag that is still as it should be, for images without a snapshot schedule (0: none)', { own: true, min: 0 }),

  rbd_default_data_pool: option('str', '', 'pool for the data of new images'),
  rbd_default_clone_format: option('str', 'auto', 'format of new clones', { values: ['1', '2', 'auto'] }),
  rbd_concurrent_management_ops: option('uint', 10, 'operations in flight while an image is copied, resized or removed', { min: 1 }),
  rbd_request_timed_out_seconds: option('uint', 30, 'time after which a request to the owner of an image times out'),
  rbd_blocklist_on_break_lock: option('bool', true, 'whether a client is blocklisted before its lock is broken'),
  rbd_blocklist_expire_seconds: option('uint', 0, 'how long a client stays blocklisted (0: as the OSDs have it)'),
  rbd_skip_partial_discard: option('bool', true, 'leave out the unaligned ends of a discard'),
  rbd_move_to_trash_on_remove: option('bool', false, 'move images to the trash instead of removing them'),
  rbd_move_to_trash_on_remove_expire_seconds: option('uint', 0, 'how long a removed image is kept in the trash'),
  rbd_mirroring_resync_after_disconnect: option('bool', false, 'resync an image whose journal client was disconnected'),
  rbd_mirroring_delete_delay: option('uint', 0, 'time that a replica is kept in the trash after its primary was removed'),
  rbd_mirroring_replay_delay: option('uint', 0, 'time by which a replica stays behind its primary'),
  rbd_mirroring_max_mirroring_snapshots: option('uint', 5, 'mirror-snapshots that an image may have', { min: 3 }),
  rbd_journal_order: option('uint', 24, 'size of new journal objects, as a power of two', { min: 12, max: 26 }),
  rbd_journal_splay_width: option('uint', 4, 'journal objects that are written at a time'),
  rbd_journal_pool: option('str', '', 'pool for new journals'),
  rbd_journal_max_payload_bytes: option('size', '16K', 'longest payload of a journal entry'),

  rados_osd_op_timeout: option('secs', 0, 'time after which an operation on an object times out (0: never)', { min: 0 }),
  rados_mon_op_timeout: option('secs', 0, 'time after which an operation on the monitors times out (0: never)', { min: 0 }),
  client_mount_timeout: option('secs', 300, 'time after which connecting to a cluster is given up', startup),

  mon_host: option('str', '', 'addresses of the monitors', startup),
  keyring: option(
    'str',
    '/etc/ceph/$cluster.$name.keyring,/etc/ceph/$cluster.keyring,/etc/ceph/keyring,/etc/ceph/keyring.bin,',
    'files that may hold the key, the first that exists is taken',
    startup,
  ),
  key: option('str', '', 'the key itself', { startup: true, secret: true }),
  keyfile: option('str', '', 'file that holds nothing but the key', startup),

  daemonize: option('bool', true, 'run in the background', startup),
  chdir: option('str', '', 'directory to change to in the background ("": stay)', startup),
  pid_file: option('str', '', 'file that gets the process id', startup),
  run_dir: option('str', '/var/run/ceph', 'directory of sockets and pid files', startup),
  admin_socket: option('str', '$run_dir/$cluster-$name.$pid.$cctid.asok', 'path of the admin socket', startup),
  admin_socket_mode: option('str', '', 'permissions of the admin socket, e.g. 0755', startup),
  setuser: option('str', '', 'user to run as', startup),
  setgroup: option('str', '', 'group to run as', startup),
  log_file: option('str', '/var/log/ceph/$cluster-$name.log', 'file for the log'),
  log_to_file: option('bool', true, 'whether the log goes to the file'),
  log_to_stderr: option('bool', false, 'whether the log goes to stderr', startup),
  err_to_stderr: option('bool', true, 'whether errors go to stderr too', startup),
  debug_rbd_mirror: option('str', '0/5', 'how much is logged: 0 to 4 the normal, 5 to 19 more, 20 and more everything'),
} as const satisfies Readonly<Record<string, OptionDefinition>>

export type OptionName = keyof typeof optionTable
export type OptionValue<N extends OptionName> = ValueOf<(typeof optionTable)[N]['type']>

export function definitionOf(name: string): OptionDefinition | undefined {
  return Object.hasOwn(optionTable, name) ? optionTable[name as OptionName] : undefined
}
