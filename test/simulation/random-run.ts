import type { MirrorImageMode } from '../../src/cls/rbd/mirror-types.ts'
import { Errno, isErrno, RadosError } from '../../src/rados/errors.ts'
import { listImages } from '../../src/rbd/directory.ts'
import { loadMirrorInfo } from '../../src/rbd/mirror/mirror-info.ts'
import { mirrorSnapshots } from '../../src/rbd/mirror/mirror-snapshot.ts'
import type { ImageUser } from './clients.ts'
import { getGlobalStatus } from '../../src/rbd/mirror/status.ts'
import { difference, findImage, mirrorEntry } from './images.ts'
import { NEMESES, Nemeses, type Nemesis } from './nemeses.ts'
import type { Command, Operator } from './operators.ts'
import { Scene } from './scene.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import type { Site } from './world/site.ts'
import { Violation } from './world/world.ts'

export interface RandomRun {
  seed: number
  verbose?: boolean
  /** nemeses that are left out although the seed has them */
  without?: ReadonlySet<string>
}

/** one of them is no multiple of the object size */
const SIZES = [65_536, 57_344, 43_008, 81_920]
const NAME = 'image'
/** Simulated time in which things go wrong. */
const TROUBLED_MS = 120_000
/** Of the seeds of snapshot mode, those with a schedule. */
const SCHEDULED = 0.3
/** Of all seeds, those whose image is a clone. */
const CLONED = 0.25
const PARENT = 'parent'

/** The life of an image: whatever clients, operators and faults do, in the end both sites have the same. */
class Life {
  private readonly random: SeededRandom
  private readonly besides: SeededRandom
  private primary: Site
  private user: ImageUser | undefined
  private name = NAME
  private readonly snapshots: string[] = []
  private snapshotCount = 0
  private imageCount = 0
  private size = SIZES[0]!
  readonly said: string[] = []

  constructor(
    private readonly scene: Scene,
    private readonly mode: MirrorImageMode,
    /** mirror-snapshots are also made every minute */
    private readonly scheduled: boolean,
    private readonly cloned: boolean,
  ) {
    this.random = new SeededRandom(scene.world.seed, 'life')
    this.besides = new SeededRandom(scene.world.seed, 'besides')
    this.primary = scene.world.sites.a
  }

  async live(): Promise<void> {
    const { scene, random } = this
    const { world } = scene
    scene.startDaemons()
    if (this.scheduled) await this.schedule(1)
    if (this.cloned) await this.mirrorClone()
    else await scene.mirrorNew(this.name, this.mode, this.size)
    this.startUser()
    const end = world.clock.monotonic() + TROUBLED_MS
    while (world.clock.monotonic() < end) {
      await world.run(random.between(500, 9_000))
      await this.act()
    }
  }

  /** After the troubles: one side is primary, the other follows it. */
  async settle(): Promise<void> {
    const { scene } = this
    await this.stopUser()
    if (this.scheduled) await this.schedule(undefined)
    const primary = this.primary
    const replica = scene.world.other(primary)
    if (!(await this.isPrimary(primary))) await this.insist('force-promote', () => this.operator(primary).promote(this.name, true), primary)
    if (await this.isPrimary(replica)) {
      const name = await this.nameAt(replica)
      await this.must('demote', this.operator(replica).demote(name))
      await this.must('resync', this.operator(replica).resync(name))
    } else if (this.forced) await this.attempt('resync', this.operator(replica).resync(await this.nameAt(replica)))
    await this.writeAgain(primary)
    await scene.converge(primary, this.name)
    // the next mirror-snapshot has those removed that the peer has let go
    if (this.mode === 'snapshot') {
      await scene.world.run(10_000)
      await scene.converge(primary, this.name)
    }
    if (this.cloned) await scene.converge(scene.world.sites.a, PARENT)
    await scene.until('the same images on both sites', async () => {
      const counts = await Promise.all([primary, replica].map(async (site) => (await listImages(site.io)).size))
      return counts.every((count) => count === (this.cloned ? 2 : 1))
    })
    await scene.checkLeftovers()
  }

  /** A daemon keeps the lock of an image promoted under it for as long as an operation of its own is under way. */
  private async writeAgain(site: Site): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        return await this.scene.write(site, this.name, 300)
      } catch (error) {
        if (!isErrno(error, Errno.EROFS) || tries === 6) throw error
        await this.scene.world.run(10_000)
      }
    }
  }

  /** The parent has data and a snapshot, and stays as it is; whether it is mirrored before its clone is made is chance. */
  private async mirrorClone(): Promise<void> {
    const { scene, mode, random } = this
    const { a } = scene.operators
    await scene.mirrorNew(PARENT, mode, this.size)
    await scene.write(this.primary, PARENT, 2_000)
    await scene.command('snap create', a.userSnapshot(PARENT, 'base'))
    await scene.write(this.primary, PARENT, 1_000)
    if (mode === 'snapshot') await scene.command('mirror-snapshot', a.snapshot(PARENT))
    await scene.world.run(random.between(0, 20_000))
    await scene.mirrorClone(PARENT, 'base', this.name, mode)
  }

  private async schedule(minutes: number | undefined): Promise<void> {
    const { a, b } = this.scene.operators
    for (const operator of [a, b]) await this.scene.command('schedule', operator.schedule(minutes))
  }

  private forced = false

  /** The replica may not have heard of a new name yet. */
  private async nameAt(site: Site): Promise<string> {
    return [...(await listImages(site.io)).keys()].find((name) => name !== PARENT) ?? this.name
  }

  private operator(site: Site): Operator {
    const { operators, world } = this.scene
    return site === world.sites.a ? operators.a : operators.b
  }

  private startUser(): void {
    this.user = this.scene.user(this.primary, this.name, { pauseMs: this.random.pick([5, 50, 400]), maxBlocks: 16, flushEvery: this.random.pick([0, 3, 20]) })
  }

  private async stopUser(): Promise<void> {
    const { user } = this
    this.user = undefined
    if (user) await this.scene.world.finish('stop the user', () => user.stop())
  }

  /** Of what `rbd` can do besides, what travels with the data or changes how it is copied. */
  private async actBesides(): Promise<void> {
    const { besides, primary, snapshots, name } = this
    if (!besides.chance(0.2)) return
    const operator = this.operator(primary)
    const draw = besides.next()
    if (draw < 0.2) return void (await this.attempt('image-meta', operator.setMetadata(name, `key-${besides.between(1, 3)}`, String(besides.between(1, 9)))))
    if (draw < 0.35) return void (await this.attempt('feature', operator.switchObjectMap(name, besides.chance(0.5))))
    if (snapshots.length === 0) return
    const at = besides.between(0, snapshots.length - 1)
    if (draw < 0.7) return void (await this.attempt('snap rollback', operator.rollBack(name, snapshots[at]!)))
    const to = `snap-${++this.snapshotCount}`
    if (await this.attempt('snap rename', operator.renameSnapshot(name, snapshots[at]!, to))) snapshots[at] = to
  }

  private async act(): Promise<void> {
    await this.actBesides()
    const { random, primary } = this
    const operator = this.operator(primary)
    const draw = random.next()
    if (draw < 0.4) {
      if (this.mode === 'journal') return draw < 0.1 ? this.removeSyncPoint() : undefined
      if (draw < 0.03) return this.removeMirrorSnapshot()
      return void (await this.attempt('mirror-snapshot', operator.snapshot(this.name)))
    }
    if (draw < 0.52) {
      const name = `snap-${++this.snapshotCount}`
      if (await this.attempt('snap create', operator.userSnapshot(this.name, name))) this.snapshots.push(name)
      return
    }
    if (draw < 0.62) {
      const name = this.snapshots.shift()
      if (name !== undefined) await this.attempt('snap rm', operator.removeUserSnapshot(this.name, name))
      return
    }
    if (draw < 0.7) {
      this.size = random.pick(SIZES)
      return void (await this.attempt('resize', operator.resize(this.name, this.size)))
    }
    if (draw < 0.76) return this.failOver()
    if (draw < 0.8) return this.disaster()
    if (draw < 0.84) return void (await this.attempt('resync', this.operator(this.scene.world.other(primary)).resync(await this.nameAt(this.scene.world.other(primary)))))
    if (draw < 0.88) return this.killUser()
    if (draw < 0.92) return this.killOperator()
    if (draw < 0.94) return this.startAnew()
    if (draw < 0.97) return this.rename()
    return this.cloned ? void (await this.attempt('flatten', this.operator(primary).flatten(this.name))) : this.replace()
  }

  /** As `rbd snap purge` does in the middle of a first copy. */
  private async removeSyncPoint(): Promise<void> {
    const id = await findImage(this.primary, this.name)
    if (id === undefined) return
    const snapshots = await this.primary.look(id, ({ header }) => Promise.resolve(header.snapshots))
    const point = snapshots.find(({ namespace, name }) => namespace.type === 'user' && name.startsWith('.rbd-mirror.'))
    if (point) await this.attempt(`snap rm ${point.name}`, this.operator(this.primary).removeSnapshotById(this.name, point.id))
  }

  /** As an operator does who wants the space back: whichever it is, as long as there is another. */
  private async removeMirrorSnapshot(): Promise<void> {
    const id = await findImage(this.primary, this.name)
    if (id === undefined) return
    const snapshots = await this.primary.look(id, ({ header }) => Promise.resolve(mirrorSnapshots(header.snapshots)))
    const removable = snapshots.filter(({ namespace }) => namespace.state === 'primary' && namespace.complete)
    if (removable.length < 2) return
    const snapshot = this.random.pick(removable)
    this.scene.replicas.isRemoved(id, snapshot.id)
    await this.attempt(`snap rm ${snapshot.id}`, this.operator(this.primary).removeSnapshotById(this.name, snapshot.id))
  }

  private async killUser(): Promise<void> {
    this.user?.kill()
    this.user = undefined
    await this.scene.world.run(this.random.between(0, 5_000))
    this.startUser()
  }

  /** Mirroring is given up, and begun again: the replica goes, and a new one is made. */
  private async startAnew(): Promise<void> {
    const { primary, name } = this
    if (this.forced || !(await this.isFollowed()) || !(await this.attempt('disable', this.operator(primary).disable(name)))) return
    await this.scene.world.run(this.random.between(0, 20_000))
    await this.insist('enable', () => this.operator(primary).enable(name, this.mode), primary)
  }

  private async rename(): Promise<void> {
    const to = `${NAME}-${++this.imageCount}`
    if (await this.attempt('rename', this.operator(this.primary).rename(this.name, to))) this.goBy(to)
  }

  private goBy(name: string): void {
    const { histories } = this.scene
    histories.set(name, histories.get(this.name)!)
    this.name = name
  }

  /** The image is removed, and another one made at once, or soon, under the same name. */
  private async replace(): Promise<void> {
    const { scene, primary, name, random } = this
    if (this.forced || !(await this.isFollowed())) return
    await this.stopUser()
    const operator = this.operator(primary)
    // `rbd snap purge`, `rbd rm`: the peer may have made a snapshot to sync to in between
    let removed = false
    for (let tries = 0; !removed; tries++) {
      if (tries === 20) throw new Violation(`the image can't be removed: ${this.said.at(-1)}`)
      if (tries > 0) await scene.world.run(10_000)
      for (const snapshot of await this.userSnapshots(primary, name)) await this.attempt('snap rm', operator.removeUserSnapshot(name, snapshot))
      removed = await this.attempt('remove', operator.remove(name))
    }
    this.snapshots.length = 0
    if (random.chance(0.5)) await scene.world.run(random.between(0, 20_000))
    await scene.mirrorNew(name, this.mode, this.size, operator)
    this.startUser()
  }

  private async userSnapshots(site: Site, name: string): Promise<string[]> {
    const id = await findImage(site, name)
    if (id === undefined) return []
    return site.look(id, ({ header }) => Promise.resolve(header.snapshots.filter(({ namespace }) => namespace.type === 'user').map((snapshot) => snapshot.name)))
  }

  /** The other site's daemon deletes an image only once it knows whose replica it is: before, it is the operator's to delete. */
  private async isFollowed(): Promise<boolean> {
    const other = this.scene.world.other(this.primary)
    const id = await findImage(other, await this.nameAt(other))
    if (id === undefined) return true
    const { promotion } = await loadMirrorInfo(other.io, id).catch(() => ({ promotion: { state: 'unknown' } }))
    return promotion.state === 'non-primary'
  }

  /** In the middle of a command that may be given again. */
  private async killOperator(): Promise<void> {
    const { world } = this.scene
    const operator = this.operator(this.primary)
    const command: Command<unknown> = this.mode === 'snapshot' ? operator.snapshot(this.name) : operator.userSnapshot(this.name, `snap-${++this.snapshotCount}`)
    await world.run(this.random.between(0, 60))
    command.process.kill()
  }

  /** Orderly: demoted here, and promoted there as soon as that has everything. */
  private async failOver(): Promise<void> {
    const { scene, primary } = this
    const { world } = scene
    const other = world.other(primary)
    if ((await findImage(other, this.name)) === undefined || this.forced) return
    await this.stopUser()
    if (await this.attempt('demote', this.operator(primary).demote(this.name))) {
      const end = world.clock.monotonic() + 150_000
      while (world.clock.monotonic() < end) {
        await world.run(2_000)
        if (!(await this.hasFollowedDemotion(other))) continue
        if (await this.attempt('promote', this.operator(other).promote(this.name))) this.primary = other
        break
      }
    }
    // from where it was demoted an image can always go on
    if (!(await this.isPrimary(this.primary))) await this.insist('promote again', () => this.operator(this.primary).promote(this.name, true), this.primary)
    this.startUser()
  }

  /** What an operator has to wait for: a site that was primary before may be promoted although it has nothing of what the other has written since. */
  private async hasFollowedDemotion(site: Site): Promise<boolean> {
    const { scene } = this
    const id = await findImage(site, this.name)
    const entry = id === undefined ? undefined : await mirrorEntry(site, id)
    if (!entry) return false
    const { local } = await getGlobalStatus(site.io, entry.globalImageId, [])
    if (local?.description !== 'remote image demoted') return false
    return (await scene.divergence(scene.world.other(site), this.name)) === undefined
  }

  /** The other site takes over without asking; what was not replicated is lost. */
  private async disaster(): Promise<void> {
    const { scene, primary, mode } = this
    const other = scene.world.other(primary)
    const name = await this.nameAt(other)
    const id = await findImage(other, name)
    if (id === undefined || this.forced || !(await this.isReplica(id))) return
    // one that was begun has to be brought to its end: the image follows nobody from then on
    if (!(await this.attempt('force-promote', this.operator(other).promote(name, true)))) {
      const { promotion } = await loadMirrorInfo(other.io, id)
      if (promotion.state === 'primary' || promotion.primaryMirrorUuid !== '') return
      await this.insist('force-promote', () => this.operator(other).promote(name, true), other)
    }
    this.forced = true
    const complete = scene.replicas.lastComplete(other, id)
    if (mode === 'snapshot' && complete) {
      const differs = difference(complete.content, await scene.content(other, id))
      if (differs !== undefined) throw new Violation(`a forced promotion gave something else than the last complete state, ${differs}`)
    }
    await this.stopUser()
    this.primary = other
    this.goBy(name)
    this.startUser()
  }

  /** One that was the replica of what was given up in the meantime is no good to take over. */
  private async isReplica(id: string): Promise<boolean> {
    const { primary } = this
    const original = await findImage(primary, await this.nameAt(primary))
    const [entry, ownEntry] = [original === undefined ? undefined : await mirrorEntry(primary, original), await mirrorEntry(this.scene.world.other(primary), id)]
    return entry !== undefined && entry.globalImageId === ownEntry?.globalImageId
  }

  private async isPrimary(site: Site): Promise<boolean> {
    const id = await findImage(site, await this.nameAt(site))
    if (id === undefined) return false
    const { promotion } = await loadMirrorInfo(site.io, id).catch(() => ({ promotion: { state: 'unknown' } }))
    return promotion.state === 'primary'
  }

  /** Whether it was done. What a cluster or a rule refuses is no surprise here. */
  private async attempt<T>(what: string, command: Command<T>): Promise<boolean> {
    try {
      await this.scene.command(what, command)
      this.said.push(`${this.now()} ${what}`)
      return true
    } catch (error) {
      if (!(error instanceof RadosError)) throw error
      this.said.push(`${this.now()} ${what}: ${error.message}`)
      return false
    }
  }

  private async must<T>(what: string, command: Command<T>): Promise<void> {
    if (!(await this.attempt(what, command))) throw new Violation(`${what} failed when nothing went wrong any more: ${this.said.at(-1)}`)
  }

  /** Until it is done (a promotion: until that site is primary), or the time is over. */
  private async insist(what: string, command: () => Command, promoted?: Site): Promise<void> {
    for (let tries = 0; tries < 20; tries++) {
      if (await this.attempt(what, command())) return
      if (promoted && (await this.isPrimary(promoted))) return
      await this.scene.world.run(10_000)
    }
    throw new Violation(`${what} fails again and again: ${this.said.at(-1)}`)
  }

  private now(): string {
    return `${(this.scene.world.clock.monotonic() / 1000).toFixed(1)} s`
  }
}

export interface Played {
  scene: Scene
  nemeses: readonly Nemesis[]
}

/** Plays a seed. Rejects with what is wrong. */
export async function playSeed({ seed, verbose = false, without = new Set() }: RandomRun): Promise<Played> {
  const choice = new SeededRandom(seed, 'run')
  const mode = choice.pick(['snapshot', 'journal'] as const)
  const cloned = new SeededRandom(seed, 'clone').chance(CLONED)
  const scheduled = mode === 'snapshot' && choice.chance(SCHEDULED)
  let chosen: readonly Nemesis[] = []
  let life: Life | undefined
  try {
    const scene = await Scene.play(
      seed,
      async (stage) => {
        const nemeses = new Nemeses(stage.world, [stage.daemons.a, stage.daemons.b], without)
        chosen = [...nemeses.chosen]
        life = new Life(stage, mode, scheduled, cloned)
        await life.live()
        nemeses.stop()
        await life.settle()
        await stage.stopDaemons()
      },
      { verbose },
    )
    return { scene, nemeses: chosen }
  } catch (error) {
    const told = error as Error
    throw new Violation(`seed ${seed} (${mode}; ${chosen.join(', ') || 'no nemesis'}): ${told.message}${verbose ? `\n${life?.said.join('\n')}\n${told.stack}` : ''}`)
  }
}

/** Those of a failing seed's nemeses that it takes to fail. */
export async function necessaryNemeses(seed: number, left: ReadonlySet<string>): Promise<readonly string[]> {
  const without = new Set(left)
  const needed: string[] = []
  for (const one of NEMESES) {
    if (without.has(one)) continue
    without.add(one)
    const passes = await playSeed({ seed, without }).then(
      () => true,
      () => false,
    )
    if (!passes) continue
    without.delete(one)
    needed.push(one)
  }
  return needed
}
