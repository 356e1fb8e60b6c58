import type { ImageListing } from './pool-watcher.ts'

export interface Listings {
  readonly local: ImageListing
  readonly remote: ImageListing
}

/** What the listings of both sides ask of the image replayers of a namespace. */
export interface ImageSetPlan {
  start: string[]
  /** replayed, but no longer mirrored on one of the sides: to be looked at again */
  reconsider: string[]
}

/**
 * @param assigned global image ids that this daemon is to replay
 * @param running of them those with a replayer
 * @param before what was listed before, to find what vanished
 */
export function planImageSet(
  assigned: ReadonlySet<string>,
  running: ReadonlySet<string>,
  { local, remote }: Listings,
  before: Listings | undefined,
): ImageSetPlan {
  const plan: ImageSetPlan = { start: [], reconsider: [] }
  for (const id of assigned) {
    if (!running.has(id)) {
      if (local.has(id) || remote.has(id)) plan.start.push(id)
    } else if (before && ((before.remote.has(id) && !remote.has(id)) || (before.local.has(id) && !local.has(id)))) plan.reconsider.push(id)
  }
  return plan
}

/** Of the images that a leader has assigned, those that are gone from one side, or from both. */
export function planVanished(
  known: Iterable<string>,
  { local, remote }: Listings,
  before: Listings | undefined,
): { fromRemote: string[]; fromBoth: string[] } {
  const fromRemote: string[] = []
  const fromBoth: string[] = []
  for (const id of known) {
    if (!local.has(id) && !remote.has(id)) fromBoth.push(id)
    else if (before?.remote.has(id) && !remote.has(id)) fromRemote.push(id)
  }
  return { fromRemote, fromBoth }
}
