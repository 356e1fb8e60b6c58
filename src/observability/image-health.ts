import type { ImageMetrics } from './metrics.ts'

export type HealthLevel = 'ok' | 'warning' | 'error'

/** Why an image is as it is: a short list, so that it may be a label. */
export type Reason =
  | 'ok'
  | 'primary'
  | 'starting'
  | 'first_sync'
  | 'rpo_missed'
  | 'stopped'
  | 'remote_demoted'
  | 'remote_unreachable'
  | 'unknown'
  | 'split_brain'
  | 'disconnected'
  | 'journal_damaged'
  | 'copy_failed'
  | 'lock_held'
  | 'full'
  | 'bootstrap_failed'
  | 'failed'

export interface ImageHealth {
  level: HealthLevel
  reason: Reason
  /** what an operator is told, with what to do about it */
  text: string
}

type Seen = Pick<ImageMetrics, 'state' | 'description' | 'replicatedTimestamp' | 'rpoSeconds' | 'entriesBehind'> & {
  readonly isPrimary: boolean
  lagSeconds(nowSeconds: number): number | undefined
}

/** How a description tells its reason, the first that fits counts (the texts of mirror/image-status.ts). */
const errorReasons: readonly (readonly [RegExp, Reason])[] = [
  [/split-brain|linked to unknown peer/, 'split_brain'],
  [/^disconnected/, 'disconnected'],
  [/no space|ENOSPC|EDQUOT|is full/i, 'full'],
  [/replay completed with error|corrupt|damaged/i, 'journal_damaged'],
  [/exclusive lock/, 'lock_held'],
  [/copy/, 'copy_failed'],
  [/bootstrap/, 'bootstrap_failed'],
]

/** Why an image is in error. */
export function reasonOf({ description }: Pick<ImageMetrics, 'description'>): Reason {
  return errorReasons.find(([pattern]) => pattern.test(description))?.[1] ?? 'failed'
}

const cures: Partial<Record<Reason, string>> = {
  split_brain: 'both sides were written to: demote the one to be given up, then "rbd mirror image resync" there (its changes are lost)',
  disconnected: 'the primary gave up waiting for this replica: "rbd mirror image resync"',
  full: 'a cluster or quota is full: make room; the replay goes on by itself',
  journal_damaged: 'the journal can not be replayed: the description and the log say where',
  lock_held: 'another client has the replica open: end it',
  copy_failed: 'the copy is tried again; the log says what failed',
  bootstrap_failed: 'it is tried again; the log says what failed',
  failed: 'it is tried again; the log says what failed',
  remote_demoted: 'no side is primary: promote one with "rbd mirror image promote"',
  remote_unreachable: "look at the peer's monitors, key and caps: rbd-mirror doctor",
}

/** Pure: health and its reason from what is known of the image at `nowSeconds`. */
export function healthOfImage(image: Seen, nowSeconds: number): ImageHealth {
  const { state, description } = image
  const health = (level: HealthLevel, reason: Reason, text = description): ImageHealth => {
    const cure = cures[reason]
    return { level, reason, text: cure === undefined ? text : `${text === '' ? reason : text} – ${cure}` }
  }
  switch (state) {
    case 'error':
      return health('error', reasonOf(image))
    case 'stopped':
      if (image.isPrimary) return health('ok', 'primary')
      return health('warning', 'stopped')
    case 'unknown':
      if (description === 'remote cluster is unreachable') return health('warning', 'remote_unreachable')
      if (description.startsWith('remote image')) return health('warning', 'remote_demoted')
      return health('warning', 'unknown', description || 'nothing is known of it yet')
    case 'starting_replay':
    case 'stopping_replay':
      return health('ok', 'starting')
    case 'syncing':
      return health('warning', 'first_sync', 'the first copy is under way: there is no complete state yet')
    case 'replaying': {
      const lag = image.lagSeconds(nowSeconds)
      if (lag === undefined && image.entriesBehind === undefined) return health('warning', 'first_sync', 'there is no complete state yet')
      if (image.rpoSeconds !== undefined && lag !== undefined && lag > image.rpoSeconds) {
        return health('warning', 'rpo_missed', `${Math.round(lag)} s behind, the target is ${Math.round(image.rpoSeconds)} s`)
      }
      return { level: 'ok', reason: 'ok', text: '' }
    }
  }
}
