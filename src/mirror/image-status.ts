import { unreachable } from '../base/assert.ts'
import type { MirrorImageStatusState } from '../cls/rbd/mirror-types.ts'
import type { ReplayEnd } from './replayer.ts'

/** What an operator reads of one image. */
export interface ImageStatus {
  state: MirrorImageStatusState
  description: string
}

/** The texts of the stock daemon (tools/rbd_mirror/ImageReplayer.cc and image_replayer/{snapshot,journal}/Replayer.cc). */
export function statusOfEnd(end: ReplayEnd): ImageStatus {
  switch (end.type) {
    case 'stopped':
      return { state: 'stopped', description: 'stopped' }
    case 'localPrimary':
      return { state: 'stopped', description: 'local image is primary' }
    case 'remoteNotPrimary':
      return { state: 'unknown', description: 'remote image is not primary' }
    case 'remoteDemoted':
      return { state: 'unknown', description: 'remote image demoted' }
    case 'localPromoted':
      return { state: 'stopped', description: 'force promoted' }
    case 'orphan':
      return { state: 'stopped', description: 'orphan (force promoting)' }
    case 'splitBrain':
      return { state: 'error', description: end.reason }
    case 'modesDiffer':
      return {
        state: 'error',
        description: `split-brain detected: mirrored by ${end.remote} on the primary, by ${end.local} here; to take over the primary's data and mode: rbd mirror image resync, here`,
      }
    case 'disconnected':
      return { state: 'error', description: 'disconnected' }
    case 'resyncRequested':
      return { state: 'stopped', description: 'resync requested' }
    case 'resyncDue':
      return { state: 'starting_replay', description: 'starting replay' }
    case 'resyncWaits':
      return { state: 'unknown', description: waitingFor[end.for] }
    case 'remoteGone':
      return { state: 'stopped', description: 'remote image no longer exists' }
    case 'localIncomplete':
      return { state: 'starting_replay', description: 'starting replay' }
    case 'imageGone':
      return { state: 'error', description: 'error bootstrapping replay' }
    case 'transient':
      return { state: 'error', description: end.reason }
    case 'failed':
      return { state: 'error', description: end.description }
    default:
      return unreachable(end)
  }
}

const waitingFor = {
  primary: 'remote image is not primary; the requested resync waits until it is promoted: nothing is given up here before',
  snapshot: 'the requested resync waits for a mirror-snapshot of the primary for this site: rbd mirror image snapshot, there',
} as const

export const STARTING: ImageStatus = { state: 'starting_replay', description: 'starting replay' }
export const STOPPING: ImageStatus = { state: 'stopping_replay', description: 'stopping replay' }
export const STOPPED: ImageStatus = { state: 'stopped', description: 'stopped' }
export const REMOTE_UNREACHABLE: ImageStatus = { state: 'unknown', description: 'remote cluster is unreachable' }

export type Health = 'ok' | 'warning' | 'error'

/** How an image counts in the daemon's service status. */
export function healthOf({ state }: ImageStatus): Health {
  if (state === 'error') return 'error'
  return state === 'unknown' || state === 'syncing' ? 'warning' : 'ok'
}

/** `replaying, {…}`: numbers that are no integers by nature carry a point even when they are whole, as json_spirit writes them. */
export function replayingDescription(fields: Readonly<Record<string, unknown>>): string {
  const json = JSON.stringify(fields).replace(/("(?:bytes_per_second|bytes_per_snapshot|entries_per_second)":\d+)(?=[,}])/g, '$1.0')
  return `replaying, ${json}`
}
