/** Where an image stands in the map (tools/rbd_mirror/image_map/StateTransition.h). */
export type MapState =
  /** in the map that a former leader left: its daemon is told again */
  | 'initializing'
  | 'associating'
  | 'associated'
  | 'shuffling'
  | 'dissociating'
  | 'unassociated'

/** What is to be done for an image: `update` and `remove` write the map, `acquire` and `release` ask the daemon that has it. */
export type MapAction = 'update' | 'remove' | 'acquire' | 'release'

export interface MapStep {
  readonly action: MapAction
  /** `map`: a daemon is chosen when the action starts */
  readonly before?: 'map'
  /** `unmap`: the image has no daemon once the action is done; `forget`: nor is it known any more */
  readonly after?: 'unmap' | 'forget'
}

export interface MapProgram {
  readonly steps: readonly MapStep[]
  readonly end: 'associated' | 'unassociated'
}

const release: MapStep = { action: 'release', after: 'unmap' }
const update: MapStep = { action: 'update', before: 'map' }
const acquire: MapStep = { action: 'acquire' }

/** A state is on its way as long as there is a step left. The map is written before the daemon hears of an image, and after it let go. */
export const programs: Readonly<Partial<Record<MapState, MapProgram>>> = {
  initializing: { steps: [acquire], end: 'associated' },
  associating: { steps: [update, acquire], end: 'associated' },
  shuffling: { steps: [release, update, acquire], end: 'associated' },
  dissociating: { steps: [release, { action: 'remove', after: 'forget' }], end: 'unassociated' },
}
