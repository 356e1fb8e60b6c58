import { expect, it } from 'vitest'
import { ImageHistory, ImageUser } from './clients.ts'
import { contentOf, difference, findImage } from './images.ts'
import { Operator } from './operators.ts'
import { Daemon } from './world/daemon.ts'
import { World } from './world/world.ts'

async function scenario(seed: number): Promise<World> {
  const world = new World(seed, process.env['SIMULATION_VERBOSE'] !== undefined)
  try {
    await world.start()
    const { a, b } = world.sites
    const [daemonA, daemonB] = [new Daemon(world, a), new Daemon(world, b)]
    daemonA.start()
    daemonB.start()
    const operator = new Operator(world, a)
    const id = await world.finish('create', () => operator.create('image', 65_536).done)
    await world.finish('enable', () => operator.enable('image', 'snapshot').done)
    const user = new ImageUser(world, a, 'image', new ImageHistory(), { pauseMs: 100, maxBlocks: 20 })
    for (let round = 0; round < 3; round++) {
      await world.run(3_000)
      await world.finish('snapshot', () => operator.snapshot('image').done)
    }
    await world.finish('stop writing', () => user.stop())
    await world.finish('snapshot', () => operator.snapshot('image').done)
    await world.run(20_000)
    const replica = (await findImage(b, 'image'))!
    const [original, copy] = [await a.look(id, (image) => contentOf(image)), await b.look(replica, (image) => contentOf(image))]
    expect(difference(original!, copy!)).toBeUndefined()
    expect(original!.some((byte) => byte !== 0)).toBe(true)
    await world.finish('stop', () => Promise.all([daemonA.stop(), daemonB.stop()]))
    expect(world.logged.map(({ message, fields }) => `${message} ${JSON.stringify(fields)}`)).toEqual([])
    return world
  } catch (error) {
    console.log(world.trail.slice(-80).join('\n'))
    console.log(world.logged.slice(-20).map(({ process, message, fields }) => [process.name, message, fields]))
    throw error
  } finally {
    world.end()
  }
}

it('does the same with the same seed, and something else with another', async () => {
  const started = performance.now()
  const [first, second, other] = [await scenario(1), await scenario(1), await scenario(2)]
  console.log(performance.now() - started, first.operations, first.changes, first.clock.monotonic())
  expect(second.trace).toBe(first.trace)
  expect(other.trace).not.toBe(first.trace)
})
