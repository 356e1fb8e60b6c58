import { programs, type MapAction, type MapState, type MapStep } from './transitions.ts'

export interface MappedImage {
  readonly instanceId: string
  /** milliseconds since the epoch */
  readonly mappedAt: number
}

/** One thing to do. It stays the image's only one until `finish` is told how it went. */
export interface MapTask extends MappedImage {
  readonly globalImageId: string
  readonly action: MapAction
}

interface ImageRecord {
  state: MapState
  /** of the state's program */
  step: number
  /** what comes after the program that runs */
  next: MapState | undefined
  /** '': none */
  instanceId: string
  mappedAt: number
}

export interface PolicyOptions {
  /** our own instance id */
  readonly self: string
  /** milliseconds since the epoch */
  now(): number
  /** `rbd_mirror_image_policy_migration_throttle`, seconds */
  migrationThrottle(): number
}

/**
 * Which daemon has which image, and what is to be done about it, as in tools/rbd_mirror/image_map/{Policy,SimplePolicy}: new images go to the
 * daemon that has the fewest; images of a daemon that is gone go to the others; who has more than its share gives some away, but none that
 * moved a short while ago.
 *
 * Unlike there, nothing moves that would not bring two daemons nearer to each other; images that may not move yet are looked at again when
 * they may; and new images go only to daemons that are known to answer.
 */
export class ImageMapPolicy {
  /** images by daemon; daemons that are gone stay until they have none */
  private readonly instances = new Map<string, Set<string>>()
  private readonly dead = new Set<string>()
  /** named by the map that was loaded; it has to answer before it gets more */
  private readonly unconfirmed = new Set<string>()
  private readonly images = new Map<string, ImageRecord>()
  /** on their way to another state */
  private readonly busy = new Set<string>()
  /** of those, with something to be begun */
  private readonly due = new Set<string>()
  private heldBackUntil: number | undefined

  constructor(private readonly options: PolicyOptions) {
    this.instances.set(options.self, new Set())
  }

  /** Takes over the map of a former leader. @param alive daemons that may be living; the images of all others move */
  load(map: ReadonlyMap<string, MappedImage>, alive: ReadonlySet<string>): void {
    for (const [globalImageId, { instanceId, mappedAt }] of map) {
      this.images.set(globalImageId, { state: 'associated', step: 0, next: undefined, instanceId, mappedAt })
      if (!this.instances.has(instanceId)) this.unconfirmed.add(instanceId)
      this.imagesOf(instanceId).add(globalImageId)
      if (!alive.has(instanceId)) this.dead.add(instanceId)
      this.enter(globalImageId, this.dead.has(instanceId) ? 'shuffling' : 'initializing')
    }
  }

  lookup(globalImageId: string): MappedImage | undefined {
    const image = this.images.get(globalImageId)
    return image && image.instanceId !== '' ? { instanceId: image.instanceId, mappedAt: image.mappedAt } : undefined
  }

  get imageIds(): string[] {
    return [...this.images.keys()]
  }

  /** Images by daemon, for those that are not gone. */
  get loads(): Map<string, number> {
    return new Map([...this.instances].filter(([id]) => !this.dead.has(id)).map(([id, images]) => [id, images.size]))
  }

  /** Nobody but us is there to take images. */
  get alone(): boolean {
    return [...this.instances.keys()].every((id) => id === this.options.self || this.dead.has(id))
  }

  /** Whether nothing is to be done or on its way. */
  get idle(): boolean {
    return this.busy.size === 0
  }

  /** Since the epoch: when images that stay for the migration throttle's sake may move. */
  get nextBalance(): number | undefined {
    return this.heldBackUntil
  }

  addImage(globalImageId: string): void {
    const image = this.images.get(globalImageId)
    if (!image) this.images.set(globalImageId, { state: 'unassociated', step: 0, next: undefined, instanceId: '', mappedAt: 0 })
    else if (image.state !== 'dissociating' && image.state !== 'unassociated' && image.next !== 'dissociating') return // it is as it should be
    this.enter(globalImageId, 'associating')
  }

  removeImage(globalImageId: string): void {
    if (this.images.has(globalImageId)) this.enter(globalImageId, 'dissociating')
  }

  /** Daemons that answer. */
  addInstances(ids: readonly string[]): void {
    for (const id of ids) {
      this.imagesOf(id)
      this.unconfirmed.delete(id)
      this.dead.delete(id)
    }
    this.balance()
  }

  /** Daemons that are gone for good. */
  removeInstances(ids: readonly string[]): void {
    for (const id of ids) {
      const images = this.instances.get(id)
      if (id === this.options.self || !images) continue
      this.unconfirmed.delete(id)
      if (images.size === 0) this.instances.delete(id)
      else this.dead.add(id)
      for (const globalImageId of images) {
        const image = this.images.get(globalImageId)!
        if (image.state === 'dissociating' || image.next === 'dissociating') continue
        if (image.state === 'shuffling' && stepOf(image).action === 'release') continue // it is leaving already
        this.enter(globalImageId, 'shuffling', true)
      }
    }
  }

  isDead(instanceId: string): boolean {
    return this.dead.has(instanceId) || !this.instances.has(instanceId)
  }

  /** Moves images from the daemon that has most to the one that has fewest, until no move would bring them nearer. */
  balance(): void {
    this.heldBackUntil = undefined
    const loads = this.plannedLoads()
    for (;;) {
      const givers = [...loads.keys()].sort((a, b) => loads.get(b)! - loads.get(a)!)
      const taker = [...loads.keys()].filter((id) => !this.unconfirmed.has(id)).sort((a, b) => loads.get(a)! - loads.get(b)!)[0]
      if (taker === undefined) return
      const giver = givers.filter((id) => loads.get(id)! - loads.get(taker)! > 1).find((id) => this.moveOne(id))
      if (giver === undefined) return
      loads.set(giver, loads.get(giver)! - 1)
      loads.set(taker, loads.get(taker)! + 1)
    }
  }

  /** As they will be once all that is on its way has arrived: who looks for a daemon counts with the one that has fewest. */
  private plannedLoads(): Map<string, number> {
    const loads = new Map([...this.loads.keys()].map((id) => [id, 0]))
    let moving = 0
    for (const image of this.images.values()) {
      if (image.state === 'unassociated' || image.state === 'dissociating' || image.next === 'dissociating') continue
      const leaves = image.next === 'shuffling' || (image.state === 'shuffling' && stepOf(image).action === 'release')
      const load = loads.get(image.instanceId)
      if (leaves || load === undefined) moving++
      else loads.set(image.instanceId, load + 1)
    }
    for (; moving > 0; moving--) {
      const id = this.fewest(loads)
      loads.set(id, loads.get(id)! + 1)
    }
    return loads
  }

  private moveOne(instanceId: string): boolean {
    const throttleMs = this.options.migrationThrottle() * 1000
    for (const globalImageId of this.instances.get(instanceId)!) {
      const image = this.images.get(globalImageId)!
      if (image.state !== 'associated' || image.next !== undefined) continue
      const movableAt = image.mappedAt + throttleMs
      if (movableAt <= this.options.now()) {
        this.enter(globalImageId, 'shuffling')
        return true
      }
      this.heldBackUntil = Math.min(this.heldBackUntil ?? Infinity, movableAt)
    }
    return false
  }

  /** What is to be done now; each image's task comes once. @param updates whether the map may be written now */
  take(updates = true): MapTask[] {
    const tasks: MapTask[] = []
    for (const globalImageId of [...this.due].sort()) {
      const image = this.images.get(globalImageId)!
      const { action, before } = stepOf(image)
      if (!updates && (action === 'update' || action === 'remove')) continue
      this.due.delete(globalImageId)
      if (before === 'map') this.map(globalImageId, image)
      tasks.push({ globalImageId, action, instanceId: image.instanceId, mappedAt: image.mappedAt })
    }
    return tasks
  }

  /**
   * @param done false: it failed, and is to be tried again, unless the daemon it was meant for is gone
   */
  finish(globalImageId: string, done: boolean): void {
    const image = this.images.get(globalImageId)
    if (!image) return
    const { action, after } = stepOf(image)
    const toInstance = action === 'acquire' || action === 'release'
    if (!done && !(toInstance && this.isDead(image.instanceId))) return void this.due.add(globalImageId)
    const program = programs[image.state]!
    image.step++
    if (image.step < program.steps.length) this.due.add(globalImageId)
    else {
      image.state = program.end
      image.step = 0
      this.busy.delete(globalImageId)
    }
    if (after === 'unmap') this.unmap(globalImageId, image)
    // who it was meant for may be gone since, and nobody was told because it was to be removed then
    const next = image.next ?? (image.state === 'associated' && this.isDead(image.instanceId) ? 'shuffling' : undefined)
    if (programs[image.state] === undefined && next !== undefined) {
      image.next = undefined
      this.enter(globalImageId, next)
    } else if (after === 'forget') this.images.delete(globalImageId)
  }

  /** @param anew even if the image is on the way there: its present way no longer leads anywhere */
  private enter(globalImageId: string, state: MapState, anew = false): void {
    const image = this.images.get(globalImageId)!
    if (image.state === state && !anew) image.next = undefined
    else if (programs[image.state] === undefined) {
      image.state = state
      image.step = 0
      image.next = undefined
      this.busy.add(globalImageId)
      this.due.add(globalImageId)
    } else image.next = state
  }

  private map(globalImageId: string, image: ImageRecord): void {
    if (image.instanceId !== '' && !this.dead.has(image.instanceId)) return
    this.unmap(globalImageId, image)
    image.instanceId = this.fewest(this.loads)
    image.mappedAt = this.options.now()
    this.imagesOf(image.instanceId).add(globalImageId)
  }

  private unmap(globalImageId: string, image: ImageRecord): void {
    const { instanceId } = image
    if (instanceId === '') return
    const images = this.instances.get(instanceId)!
    images.delete(globalImageId)
    image.instanceId = ''
    image.mappedAt = 0
    if (images.size > 0 || !this.dead.has(instanceId)) return
    this.instances.delete(instanceId)
    this.dead.delete(instanceId)
  }

  private fewest(loads: ReadonlyMap<string, number>): string {
    const able = [...loads.keys()].filter((id) => !this.unconfirmed.has(id)).sort()
    return able.reduce((best, id) => (loads.get(id)! < loads.get(best)! ? id : best), able[0] ?? this.options.self)
  }

  private imagesOf(instanceId: string): Set<string> {
    let images = this.instances.get(instanceId)
    if (!images) this.instances.set(instanceId, (images = new Set()))
    return images
  }
}

function stepOf(image: ImageRecord): MapStep {
  const step = programs[image.state]?.steps[image.step]
  if (!step) throw new Error(`nothing is to be done for an image that is ${image.state}`)
  return step
}
