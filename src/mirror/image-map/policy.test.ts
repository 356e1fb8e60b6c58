import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ImageMapPolicy, type MappedImage, type MapTask } from './policy.ts'

const SELF = '1'

/** What the policy's tasks lead to: the map as written, and which daemon replays which images. */
class World {
  now = 1_000_000
  throttle = 0
  readonly map = new Map<string, MappedImage>()
  readonly daemons = new Map<string, Set<string>>([[SELF, new Set()]])
  policy = this.newPolicy()
  readonly listed = new Set<string>()
  running: MapTask[] = []

  newPolicy(): ImageMapPolicy {
    return new ImageMapPolicy({ self: SELF, now: () => this.now, migrationThrottle: () => this.throttle })
  }

  holders(image: string): string[] {
    return [...this.daemons].filter(([, images]) => images.has(image)).map(([id]) => id)
  }

  begin(updates = true): void {
    for (const task of this.policy.take(updates)) {
      expect(this.running.map(({ globalImageId }) => globalImageId)).not.toContain(task.globalImageId)
      this.running.push(task)
    }
  }

  /** Ends one running task, with what it does. */
  end(task: MapTask, done: boolean): void {
    this.running = this.running.filter((other) => other !== task)
    const { action, globalImageId, instanceId, mappedAt } = task
    const daemon = this.daemons.get(instanceId)
    const works = done && (daemon !== undefined || action === 'update' || action === 'remove')
    if (works && action === 'update') this.map.set(globalImageId, { instanceId, mappedAt })
    if (works && action === 'remove') this.map.delete(globalImageId)
    if (works && action === 'release') daemon!.delete(globalImageId)
    if (works && action === 'acquire') {
      expect(this.map.get(globalImageId)?.instanceId).toBe(instanceId)
      daemon!.add(globalImageId)
      expect(this.holders(globalImageId)).toEqual([instanceId])
    }
    this.policy.finish(globalImageId, works)
  }

  /** Everything that is to be done is done. */
  settle(): void {
    for (let round = 0; round < 100; round++) {
      this.begin()
      if (this.running.length === 0) return
      for (const task of [...this.running]) this.end(task, true)
    }
    throw new Error('the policy never comes to rest')
  }

  add(...images: string[]): void {
    for (const image of images) {
      this.listed.add(image)
      this.policy.addImage(image)
    }
  }

  remove(image: string): void {
    this.listed.delete(image)
    this.policy.removeImage(image)
  }

  join(id: string): void {
    this.daemons.set(id, new Set())
    this.policy.addInstances([id])
  }

  leave(id: string): void {
    this.daemons.delete(id)
    this.policy.removeInstances([id])
  }

  /** Another leader takes over: all it knows is the map and who is there. */
  change(): void {
    this.policy = this.newPolicy()
    this.running = []
    this.policy.load(this.map, new Set(this.daemons.keys()))
    this.policy.addInstances([...this.daemons.keys()])
    for (const image of this.listed) this.policy.addImage(image)
    for (const image of this.policy.imageIds) if (!this.listed.has(image)) this.policy.removeImage(image)
  }

  loads(): number[] {
    return [...this.daemons.values()].map(({ size }) => size).sort()
  }

  expectAtRest(): void {
    expect(this.policy.idle).toBe(true)
    for (const image of this.listed) {
      expect(this.holders(image)).toHaveLength(1)
      expect(this.map.get(image)?.instanceId).toBe(this.holders(image)[0])
    }
    expect([...this.map.keys()].sort()).toEqual([...this.listed].sort())
    for (const images of this.daemons.values()) for (const image of images) expect(this.listed.has(image)).toBe(true)
  }
}

describe('the image map’s policy', () => {
  it('gives a lone daemon everything: the map is written, then the images are acquired', () => {
    const world = new World()
    world.add('a', 'b')
    const tasks = (action: string) => ['a', 'b'].map((globalImageId) => ({ globalImageId, action, instanceId: SELF, mappedAt: world.now }))
    expect(world.policy.alone).toBe(true)
    expect(world.policy.take()).toEqual(tasks('update'))
    expect(world.policy.take()).toEqual([])
    for (const id of ['a', 'b']) world.policy.finish(id, true)
    expect(world.policy.take()).toEqual(tasks('acquire'))
    for (const id of ['a', 'b']) world.policy.finish(id, true)
    expect(world.policy.take()).toEqual([])
    expect(world.policy.idle).toBe(true)
  })

  it('spreads images over daemons that come, and gives those of one that goes to the others', () => {
    const world = new World()
    world.add('a', 'b', 'c', 'd', 'e', 'f', 'g')
    world.settle()
    expect(world.loads()).toEqual([7])
    world.join('2')
    world.settle()
    expect(world.loads()).toEqual([3, 4])
    world.join('3')
    world.settle()
    expect(world.loads()).toEqual([2, 2, 3])
    world.leave('2')
    world.settle()
    expect(world.loads()).toEqual([3, 4])
    world.expectAtRest()
  })

  it('moves nothing that would not bring the daemons nearer to each other', () => {
    const world = new World()
    world.add('a')
    world.settle()
    world.join('2')
    expect(world.policy.take()).toEqual([])
    world.add('b')
    world.settle()
    expect(world.loads()).toEqual([1, 1])
  })

  it('leaves an image where it is until the migration throttle allows another move', () => {
    const world = new World()
    world.throttle = 300
    world.add('a', 'b', 'c', 'd')
    world.settle()
    world.now += 299_999
    world.join('2')
    world.settle()
    expect(world.loads()).toEqual([0, 4])
    expect(world.policy.nextBalance).toBe(1_000_000 + 300_000)
    world.now += 1
    world.policy.balance()
    world.settle()
    expect(world.loads()).toEqual([2, 2])
    expect(world.policy.nextBalance).toBeUndefined()
  })

  it('a dead daemon’s images move whatever the throttle says', () => {
    const world = new World()
    world.throttle = 300
    world.join('2')
    world.add('a', 'b')
    world.settle()
    world.leave('2')
    world.settle()
    expect(world.loads()).toEqual([2])
  })

  it('a new leader tells living daemons again of what they have, and moves the rest at once', () => {
    const world = new World()
    const map = new Map([
      ['a', { instanceId: '2', mappedAt: 5 }],
      ['b', { instanceId: 'gone', mappedAt: 5 }],
    ])
    world.policy.load(map, new Set([SELF, '2']))
    expect(world.policy.take()).toEqual([
      { globalImageId: 'a', action: 'acquire', instanceId: '2', mappedAt: 5 },
      { globalImageId: 'b', action: 'release', instanceId: 'gone', mappedAt: 5 },
    ])
    world.policy.finish('b', false)
    expect(world.policy.take()).toEqual([{ globalImageId: 'b', action: 'update', instanceId: SELF, mappedAt: world.now }])
  })

  it('gives new images to nobody who was only named by the map', () => {
    const world = new World()
    world.policy.load(new Map([['a', { instanceId: '2', mappedAt: 5 }]]), new Set([SELF, '2']))
    for (const id of ['b', 'c', 'd']) world.policy.addImage(id)
    expect(world.policy.take().filter(({ action }) => action === 'update').map(({ instanceId }) => instanceId)).toEqual([SELF, SELF, SELF])
  })

  it('tries again what failed, and gives up on who is gone', () => {
    const world = new World()
    world.join('2')
    world.add('a', 'b')
    world.settle()
    const image = [...world.daemons.get('2')!][0]!
    world.remove(image)
    world.begin()
    world.end(world.running[0]!, false)
    expect(world.policy.take()).toMatchObject([{ globalImageId: image, action: 'release', instanceId: '2' }])
    world.leave('2')
    world.policy.finish(image, false)
    expect(world.policy.take()).toMatchObject([{ globalImageId: image, action: 'remove' }])
  })

  it('writes no map as long as it may not', () => {
    const world = new World()
    world.add('a')
    expect(world.policy.take(false)).toEqual([])
    expect(world.policy.take(true)).toHaveLength(1)
  })

  it('an image that is gone and comes back before it was let go is replayed', () => {
    const world = new World()
    world.add('a')
    world.settle()
    world.remove('a')
    world.begin()
    world.add('a')
    for (const task of [...world.running]) world.end(task, true)
    world.settle()
    world.expectAtRest()
  })

  it('an image that is gone and comes back while the daemon that was to have it dies goes to another', () => {
    const world = new World()
    world.add('a')
    world.join('4')
    world.add('b')
    world.remove('b')
    world.begin()
    world.leave('4')
    world.add('b')
    world.settle()
    world.expectAtRest()
    expect(world.loads()).toEqual([2])
  })

  const images = fc.constantFrom('a', 'b', 'c', 'd', 'e')
  const others = fc.constantFrom('2', '3', '4')
  const steps = fc.array(
    fc.oneof(
      fc.record({ type: fc.constant('add' as const), image: images }),
      fc.record({ type: fc.constant('remove' as const), image: images }),
      fc.record({ type: fc.constantFrom('join' as const, 'leave' as const), id: others }),
      fc.record({ type: fc.constant('begin' as const), updates: fc.boolean() }),
      fc.record({ type: fc.constant('end' as const), index: fc.nat(10), done: fc.boolean() }),
      fc.record({ type: fc.constantFrom('change' as const, 'balance' as const) }),
    ),
    { maxLength: 60 },
  )

  it('never has an image at two daemons, and comes to rest with each image at one, evenly, whatever happens in whatever order', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const world = new World()
        let joined = 0
        const ids = new Map<string, string>()
        for (const step of all) {
          if (step.type === 'add') world.add(step.image)
          else if (step.type === 'remove') world.remove(step.image)
          else if (step.type === 'join') {
            if (ids.has(step.id)) continue
            ids.set(step.id, `${step.id}.${++joined}`) // no instance id comes twice
            world.join(ids.get(step.id)!)
          } else if (step.type === 'leave') {
            if (!ids.has(step.id)) continue
            world.leave(ids.get(step.id)!)
            ids.delete(step.id)
          } else if (step.type === 'begin') world.begin(step.updates)
          else if (step.type === 'end') {
            const task = world.running[step.index]
            if (task) world.end(task, step.done)
          } else if (step.type === 'change') world.change()
          else world.policy.balance()
        }
        while (world.running.length > 0) world.end(world.running[0]!, true)
        world.settle()
        world.policy.balance()
        world.settle()
        world.expectAtRest()
        const loads = world.loads()
        expect(loads.at(-1)! - loads[0]!).toBeLessThanOrEqual(1)
      }),
      { numRuns: 3000 },
    )
  })
})
