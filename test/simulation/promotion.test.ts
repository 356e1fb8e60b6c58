import { describe, expect, it } from 'vitest'
import { FEATURE_LAYERING } from '../../src/rbd/features.ts'
import { mirrorUuidGet } from '../../src/cls/rbd/mirror-client.ts'
import { ImageJournal } from '../../src/rbd/journal/image-journal.ts'
import { saveImageMeta } from '../../src/rbd/mirror/image-meta.ts'
import { journalOptionsOf } from '../../src/rbd/mirror/journal-switch.ts'
import { loadMirrorInfo } from '../../src/rbd/mirror/mirror-info.ts'
import { journalHeaderName } from '../../src/journal/names.ts'
import { headerName, RBD_MIRRORING } from '../../src/rbd/names.ts'
import { difference, findImage } from './images.ts'
import type { Command, Operator } from './operators.ts'
import { Scene } from './scene.ts'
import type { Process } from './world/process.ts'

it('a daemon that hears nothing of a forced promotion never overrules it, and lets the new owner write', async () => {
  await Scene.play(21, async (scene) => {
    const { world, operators } = scene
    const { a, b } = world.sites
    scene.startDaemons()
    await scene.mirrorNew('image', 'journal', 65_536)
    await scene.write(a, 'image', 1_000)
    await scene.converge(a, 'image')
    world.troubles = ({ process }, { kind }) => (kind === 'notification' && process.role === 'daemon' ? [{ type: 'drop' }] : [])
    await scene.command('force-promote', operators.b.promote('image', true))
    // a new user of the old primary begins a new tag there
    await scene.write(a, 'image', 1_000)
    await world.run(60_000)
    const { promotion } = await loadMirrorInfo(b.io, (await findImage(b, 'image'))!)
    expect(promotion.state).toBe('primary')
    await scene.write(b, 'image', 1_000)
  })
})

describe('a forced promotion in snapshot mode is done within seconds', () => {
  /** The replica's daemon hears nothing for as long as `deaf` says so of who has changed the header, and how often it was not heard. */
  async function promoteBefore(scene: Scene, deaf: (changes: readonly Process['role'][], missed: number) => boolean): Promise<void> {
    const { world, operators } = scene
    const { b } = world.sites
    const header = headerName((await findImage(b, 'image'))!)
    const changes: Process['role'][] = []
    let missed = 0
    world.appliedListeners.push((site, { oid }, { process }) => {
      if (site === b && oid === header) changes.push(process.role)
    })
    world.troubles = ({ process }, { kind, oid }) => {
      const drops = kind === 'notification' && oid === header && process.role === 'daemon' && deaf(changes, missed)

      if (drops) missed++
      return drops ? [{ type: 'drop' }] : []
    }
    const startedAt = world.clock.monotonic()
    await scene.command('force-promote', operators.b.promote('image', true))
    expect(missed).toBeGreaterThan(0)
    // each word that is not heard costs its sender five seconds
    expect(world.clock.monotonic() - startedAt).toBeLessThan(20_000)
    world.troubles = () => []
    await scene.stopDaemons()
  }

  async function replicated(scene: Scene, features?: bigint): Promise<void> {
    scene.startDaemons()
    await scene.mirrorNew('image', 'snapshot', 65_536, scene.operators.a, features)
    await scene.converge(scene.world.sites.a, 'image')
  }

  it('though the daemon that notes it for the operator never hears its own word of it', async () => {
    await Scene.play(41, async (scene) => {
      await replicated(scene)
      await promoteBefore(scene, (changes) => changes.includes('daemon'))
    })
  })

  it('though the first words of it get lost, where nobody has a lock', async () => {
    await Scene.play(42, async (scene) => {
      await replicated(scene, FEATURE_LAYERING)
      await promoteBefore(scene, (changes, missed) => changes.length > 1 && missed < 2)
    })
  })
})

/** As stock `rbd` does not take it back. */
function leaveRequest(operator: Operator, mode: 'snapshot' | 'journal'): Command {
  return operator.onImage('request', 'image', async (image) => {
    if (mode === 'snapshot') return saveImageMeta(image.io, image.id, await mirrorUuidGet.call(image.io, RBD_MIRRORING, undefined), { resyncRequested: true })
    const journal = await ImageJournal.open(journalOptionsOf(image))
    await journal.requestResync()
    await journal.close()
  })
}

it.each([
  ['snapshot', 'promotion'],
  ['snapshot', 'daemon'],
  ['journal', 'promotion'],
  ['journal', 'daemon'],
] as const)('in %s mode, the %s takes back a resync that was asked for before a promotion: what is written since is not given up', async (mode, by) => {
  await Scene.play(22, async (scene) => {
    const { world, operators } = scene
    const { a, b } = world.sites
    scene.startDaemons()
    await scene.mirrorNew('image', mode, 65_536)
    await scene.write(a, 'image', 1_000)
    await scene.converge(a, 'image')
    await scene.command('demote', operators.a.demote('image'))
    // nobody brings the other site what is written here
    await world.finish('stop', () => scene.daemons.a.stop())
    // nothing to do it from
    await scene.command('resync', operators.b.resync('image'))
    await world.run(5_000)
    await scene.command('force-promote', operators.b.promote('image', true))
    if (by === 'daemon') {
      await scene.command('request', leaveRequest(operators.b, mode))
      await world.run(40_000)
    }
    await scene.write(b, 'image', 1_000)
    const id = (await findImage(b, 'image'))!
    const written = await scene.content(b, id)
    await scene.command('demote', operators.b.demote('image'))
    await scene.command('force-promote', operators.a.promote('image', true))
    await scene.write(a, 'image', 1_000)
    if (mode === 'snapshot') await scene.command('mirror-snapshot', operators.a.snapshot('image'))
    await world.run(120_000)
    expect(difference(written, await scene.content(b, id))).toBeUndefined()
    await world.finish('stop', () => scene.daemons.b.stop())
  })
})

it.each([
  ['snapshot', 'looks at the other site'],
  ['snapshot', 'takes back an earlier one'],
  ['journal', 'looks at the other site'],
  ['journal', 'takes back an earlier one'],
] as const)('in %s mode, a resync that is asked for after a demotion is done, though the daemon still %s when both come', async (mode, does) => {
  await Scene.play(23, async (scene) => {
    const { world, operators, daemons } = scene
    const { a, b } = world.sites
    scene.startDaemons()
    await scene.mirrorNew('image', mode, 65_536)
    await scene.write(a, 'image', 1_000)
    await scene.converge(a, 'image')
    await scene.command('force-promote', operators.b.promote('image', true))
    await scene.write(a, 'image', 1_000)
    await scene.write(b, 'image', 1_000)
    const [site, kind] = does === 'looks at the other site' ? ([b, 'read'] as const) : ([a, 'write'] as const)
    const id = (await findImage(site, 'image'))!
    const oid = mode === 'snapshot' ? headerName(id) : journalHeaderName(id)
    if (site === a) await scene.command('request', leaveRequest(operators.a, mode))
    let held = false
    world.troubles = ({ process, site: where }, operation) => {
      if (held || process !== daemons.a.process || where !== site || operation.kind !== kind || operation.oid !== oid) return []
      held = true
      return [{ type: 'lateMs', ms: 20_000 }]
    }
    await scene.until('the daemon is there', () => Promise.resolve(held))
    await scene.command('demote', operators.a.demote('image'))
    await scene.command('resync', operators.a.resync('image'))
    await scene.converge(b, 'image')
    await scene.stopDaemons()
  })
})
