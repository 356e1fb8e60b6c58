import { setTimeout as sleep } from 'node:timers/promises'
import { waitForState } from '../support/mirroring.ts'
import { other, PATIENCE_MS, type Site, type Victim, type World } from './world.ts'

const MIB = 2 ** 20

export interface Action {
  name: string
  /** how often, against the others */
  weight: number
  /** Ends with everything that it broke whole again. Rejects with what must not be. */
  run(world: World, victim: Victim): Promise<void>
}

function pickSite({ dice, tell }: World): Site {
  const site = dice.pick(['a', 'b'] as const)
  tell(`  … on ${site}`)
  return site
}

export const actions: readonly Action[] = [
  {
    name: 'write',
    weight: 8,
    run: (world, victim) =>
      world.onPrimary(victim, async (image) => {
        const { dice } = world
        const size = await image.size()
        for (let count = 1 + dice.below(20); count > 0; count--) {
          const length = 512 * (1 + dice.below(400))
          const offset = 512 * dice.below((size - length) / 512)
          if (dice.chance(0.15)) await image.discard(offset, length)
          else await image.write(offset, dice.bytes(length))
        }
        await image.flush()
      }),
  },
  {
    name: 'resize',
    weight: 1,
    run: (world, victim) => world.onPrimary(victim, (image) => image.resize((8 + 4 * world.dice.below(4)) * MIB)),
  },
  {
    name: 'snapshot',
    weight: 2,
    async run({ pair, dice }, { primary, spec, userSnapshots }) {
      if (userSnapshots.length > 2) {
        await pair[primary].rbd('snap', 'rm', '--no-progress', `${spec}@${userSnapshots.shift()!}`)
        return
      }
      const name = `user-${dice.below(1e9)}`
      await pair[primary].rbd('snap', 'create', '--no-progress', `${spec}@${name}`)
      userSnapshots.push(name)
    },
  },
  {
    name: 'mirror-snapshot',
    weight: 4,
    async run(world, victim) {
      if (victim.mode === 'snapshot') await world.mirrorSnapshot(victim)
    },
  },
  { name: 'check', weight: 3, run: (world, victim) => world.check(victim) },
  {
    name: 'fail over',
    weight: 2,
    async run(world, victim) {
      const { pair } = world
      const { spec, primary } = victim
      await pair[primary].rbd('mirror', 'image', 'demote', spec)
      const expected = await world.digestOf(primary, spec)
      await world.promote(other(primary), victim)
      if ((await world.digestOf(other(primary), spec)) !== expected) throw new Error(`${spec} lost something in an orderly failover`)
      victim.primary = other(primary)
      if (victim.mode === 'snapshot') await world.noteState(victim)
      await world.waitUntilFollowed(victim)
    },
  },
  {
    name: 'fail over by force',
    weight: 1,
    async run(world, victim) {
      const { pair } = world
      const { spec, primary, mode } = victim
      const site = other(primary)
      await waitForState(pair[site], spec, 'up+replaying', /^/, PATIENCE_MS)
      await pair[site].rbd('mirror', 'image', 'promote', '--force', spec)
      const digest = await world.digestOf(site, spec)
      if (mode === 'snapshot' && !victim.states.has(digest)) throw new Error(`${spec} was promoted by force to a state that no mirror-snapshot had`)
      victim.primary = site
      // those that the new primary never had
      victim.userSnapshots = (await world.client(site).with(spec, 'read-only', (image) => image.snapshots())).filter(({ name }) => name.startsWith('user-')).map(({ name }) => name)
      await pair[primary].rbd('mirror', 'image', 'demote', spec)
      await pair[primary].rbd('mirror', 'image', 'resync', spec)
      await world.check(victim)
    },
  },
  {
    name: 'kill a daemon',
    weight: 3,
    async run(world) {
      const where = pickSite(world)
      await world.daemons[where]!.kill()
      await sleep(world.dice.below(2000))
      await world.startDaemon(where)
    },
  },
  {
    name: 'freeze an OSD',
    weight: 1,
    run: (world) => freeze(world, 'osd.0'),
  },
  {
    name: 'kill an OSD',
    weight: 1,
    async run(world) {
      const cluster = world.pair[pickSite(world)]
      // a store in memory ends with its OSD
      if (cluster.objectStore === 'memstore') return
      await cluster.killDaemon('osd.0')
      await sleep(world.dice.below(1000))
      await cluster.startDaemon('osd.0')
    },
  },
  {
    name: 'freeze a monitor',
    weight: 1,
    run: (world) => freeze(world, 'mon.x'),
  },
]

async function freeze(world: World, daemon: 'osd.0' | 'mon.x'): Promise<void> {
  const cluster = world.pair[pickSite(world)]
  await cluster.pauseDaemon(daemon)
  await sleep(world.dice.below(3000))
  cluster.resumeDaemon(daemon)
}

/** Faults last while something else is done. */
export const faults: ReadonlySet<string> = new Set(['kill a daemon', 'freeze an OSD', 'kill an OSD', 'freeze a monitor'])

export function pickAction(world: World, wanted: (action: Action) => boolean): Action {
  const possible = actions.filter(wanted)
  let at = world.dice.next() * possible.reduce((sum, { weight }) => sum + weight, 0)
  return possible.find(({ weight }) => (at -= weight) < 0) ?? possible[0]!
}
