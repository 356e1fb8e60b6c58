import { describe, expect, it } from 'vitest'
import type { MirrorImageMode } from '../../src/cls/rbd/mirror-types.ts'
import { FEATURE_NON_PRIMARY, hasFeature } from '../../src/rbd/features.ts'
import { loadMirrorInfo } from '../../src/rbd/mirror/mirror-info.ts'
import { forEachOperation, stride } from './crashes.ts'
import { findImage, mirrorEntry } from './images.ts'
import type { Command } from './operators.ts'
import { Scene } from './scene.ts'
import type { Site } from './world/site.ts'

const SEED = 23
const MODES: readonly MirrorImageMode[] = ['snapshot', 'journal']
const SIZE = 65_536
const STRIDE = 9
/** Whoever died holds locks until its watches end, after half a minute, and may not have told daemons what it did: they look for themselves, in time. */
const TRIES = 12
const PAUSE_MS = 30_000

/** Dies at its operation number `at`. Resolves with how many it has begun when it has ended, one way or the other. */
async function crash(scene: Scene, command: Command<unknown>, at: number): Promise<number> {
  const { world } = scene
  let operations = 0
  let ended = false
  const count = ({ process }: { process: unknown }) => {
    if (process === command.process && operations++ === at) command.process.kill()
  }
  world.operationListeners.push(count)
  command.done.finally(() => (ended = true)).catch(() => undefined)
  await world.run(60_000, () => ended || !command.process.alive)
  world.operationListeners.splice(world.operationListeners.indexOf(count), 1)
  return operations
}

/** Given again, as operators do, until it has been done. */
async function again(scene: Scene, what: string, command: () => Command<unknown>, isDone: () => Promise<boolean>): Promise<void> {
  let last: unknown
  for (let tries = 0; tries < TRIES; tries++) {
    if (await isDone()) return
    await scene.command(what, command()).catch((error: unknown) => (last = error))
    if (await isDone()) return
    await scene.world.run(PAUSE_MS)
  }
  throw new Error(`${what} is not done, however often it is given: ${String(last)}`)
}

async function promotion(site: Site): Promise<string> {
  const id = await findImage(site, 'image')
  if (id === undefined) return 'none'
  return (await loadMirrorInfo(site.io, id)).promotion.state
}

/** May be written to. */
async function isPrimary(site: Site): Promise<boolean> {
  if ((await promotion(site)) !== 'primary') return false
  return site.look((await findImage(site, 'image'))!, ({ header }) => Promise.resolve(!hasFeature(header.features, FEATURE_NON_PRIMARY)))
}

async function userSnapshots(site: Site): Promise<string[]> {
  return site.look((await findImage(site, 'image'))!, ({ header }) =>
    Promise.resolve(header.snapshots.filter(({ namespace }) => namespace.type === 'user').map(({ name }) => name)),
  )
}

async function replicate(scene: Scene, mode: MirrorImageMode): Promise<void> {
  scene.startDaemons()
  await scene.mirrorNew('image', mode, SIZE)
  await scene.write(scene.world.sites.a, 'image', 500)
  await scene.converge(scene.world.sites.a, 'image')
}

async function end(scene: Scene, primary: Site): Promise<void> {
  await scene.write(primary, 'image', 300)
  await scene.converge(primary, 'image')
  await scene.checkLeftovers()
}

type Play = (scene: Scene, crashing: (command: Command<unknown>) => Promise<void>, mode: MirrorImageMode) => Promise<void>

/** Until it is done, or refused as it was done before. */
async function demote(scene: Scene): Promise<void> {
  const { a } = scene.operators
  const told = async () => (await promotion(a.site)) === 'orphan' && !(await scene.command('demote', a.demote('image')).then(() => true, () => false))
  await again(scene, 'demote', () => a.demote('image'), told)
}

/** Not before it has followed the demotion is it promoted without force. */
async function promote(scene: Scene): Promise<void> {
  const { b } = scene.operators
  await again(scene, 'promote', () => b.promote('image'), () => isPrimary(b.site))
}

const PLAYS: Readonly<Record<string, Play>> = {
  'a demotion': async (scene, crashing) => {
    const { a, b } = scene.operators
    await crashing(a.demote('image'))
    await demote(scene)
    await promote(scene)
    await end(scene, b.site)
  },
  'a promotion': async (scene, crashing) => {
    const { b } = scene.operators
    await demote(scene)
    await scene.world.run(10_000)
    await crashing(b.promote('image'))
    await promote(scene)
    await end(scene, b.site)
  },
  'a forced promotion': async (scene, crashing) => {
    const { a, b } = scene.operators
    await crashing(b.promote('image', true))
    await again(scene, 'force-promote', () => b.promote('image', true), () => isPrimary(b.site))
    // who died has not told the daemon that has the image: it looks for itself, in time
    await scene.world.run(60_000)
    await scene.write(b.site, 'image', 300)
    await demote(scene)
    await scene.command('resync', a.resync('image'))
    await end(scene, b.site)
  },
  'a mirror-snapshot or a snapshot': async (scene, crashing, mode) => {
    const { a } = scene.operators
    await crashing(mode === 'snapshot' ? a.snapshot('image') : a.userSnapshot('image', 'one'))
    if (mode === 'journal') await again(scene, 'snap create', () => a.userSnapshot('image', 'one'), async () => (await userSnapshots(a.site)).includes('one'))
    await end(scene, a.site)
  },
  'the removal of a snapshot': async (scene, crashing) => {
    const { a } = scene.operators
    await scene.command('snap create', a.userSnapshot('image', 'one'))
    await scene.write(a.site, 'image', 300)
    await crashing(a.removeUserSnapshot('image', 'one'))
    await again(scene, 'snap rm', () => a.removeUserSnapshot('image', 'one'), async () => (await userSnapshots(a.site)).length === 0)
    // one that was moved to the trash goes when somebody asks for it once more, by its id
    await purgeTrash(scene, a.site)
    await end(scene, a.site)
  },
  'a resize': async (scene, crashing) => {
    const { a } = scene.operators
    const size = async () => a.site.look((await findImage(a.site, 'image'))!, ({ header }) => Promise.resolve(header.size))
    await crashing(a.resize('image', 40_960))
    await again(scene, 'resize', () => a.resize('image', 40_960), async () => (await size()) === 40_960)
    await end(scene, a.site)
  },
  'disabling': async (scene, crashing) => {
    const { a, b } = scene.operators
    await crashing(a.disable('image'))
    const entry = async () => mirrorEntry(a.site, (await findImage(a.site, 'image'))!)
    await scene.world.run(PAUSE_MS)
    await scene.command('disable', a.disable('image'))
    expect(await entry()).toBeUndefined()
    await scene.until('the replica is gone', async () => (await findImage(b.site, 'image')) === undefined)
    // the lock of who died is its next user's to break
    await scene.write(a.site, 'image', 300)
    await scene.checkLeftovers()
  },
}

async function purgeTrash(scene: Scene, site: Site): Promise<void> {
  const trashed = await site.look((await findImage(site, 'image'))!, ({ header }) =>
    Promise.resolve(header.snapshots.filter(({ namespace }) => namespace.type === 'trash').map(({ id }) => id)),
  )
  for (const id of trashed) await scene.command('snap rm', scene.operators.a.removeSnapshotById('image', id))
}

describe.each(MODES)('a command that dies at any of its operations, and is given again, mode %s', (mode) => {
  it.each(Object.entries(PLAYS))('%s', async (_, play) => {
    let operations = 0
    await Scene.play(SEED, async (scene) => {
      await replicate(scene, mode)
      await play(scene, async (command) => void (operations = await crash(scene, command, Infinity)), mode)
    })
    expect(operations).toBeGreaterThan(5)
    await forEachOperation(SEED, { to: operations, stride: stride(STRIDE) }, async (scene, at) => {
      await replicate(scene, mode)
      await play(scene, async (command) => void (await crash(scene, command, at)), mode)
    })
  }, 120_000)

  it('enabling', async () => {
    const begin = async (scene: Scene) => {
      scene.startDaemons()
      await scene.command('create', scene.operators.a.create('image', SIZE))
      return scene.operators.a.enable('image', mode)
    }
    let operations = 0
    await Scene.play(SEED, async (scene) => void (operations = await crash(scene, await begin(scene), Infinity)))
    await forEachOperation(SEED, { to: operations, stride: stride(STRIDE) }, async (scene, at) => {
      const { a } = scene.operators
      await crash(scene, await begin(scene), at)
      const state = async () => (await mirrorEntry(a.site, (await findImage(a.site, 'image'))!))?.state
      await again(scene, 'enable', () => a.enable('image', mode), async () => (await state()) === 'enabled')
      scene.newHistory('image')
      await end(scene, a.site)
    })
  }, 120_000)
})
