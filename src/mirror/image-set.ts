import type { ImageListing } from './pool-watcher.ts'

/** What the listings of both sides ask of the image replayers of a namespace. */
export interface ImageSetPlan {
  start: string[]
  /** in neither listing any more */
  stop: string[]
  /** replayed, but no longer mirrored on one of the sides: to be looked at again */
  reconsider: string[]
}

/**
 * @param running global image ids with a replayer
 * @param before what was listed before, to find what vanished
 */
export function planImageSet(
  running: ReadonlySet<string>,
  local: ImageListing,
  remote: ImageListing,
  before: { local: ImageListing; remote: ImageListing } | undefined,
): ImageSetPlan {
  const plan: ImageSetPlan = { start: [], stop: [], reconsider: [] }
  for (const id of new Set([...local.keys(), ...remote.keys()])) {
    if (!running.has(id)) plan.start.push(id)
    else if (before && ((before.remote.has(id) && !remote.has(id)) || (before.local.has(id) && !local.has(id)))) plan.reconsider.push(id)
  }
  for (const id of running) if (!local.has(id) && !remote.has(id)) plan.stop.push(id)
  return plan
}
