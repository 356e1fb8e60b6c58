import type { MirrorImageMode } from '../../src/cls/rbd/mirror-types.ts'
import type { MirrorOptions } from '../../src/mirror/options.ts'
import { Errno, isErrno } from '../../src/rados/errors.ts'
import { FEATURE_NON_PRIMARY, FEATURES_IMPLICIT_ENABLE } from '../../src/rbd/features.ts'
import { isNonPrimary, mirrorSnapshots } from '../../src/rbd/mirror/mirror-snapshot.ts'
import type { SnapId } from '../../src/rados/io-ctx.ts'
import { isUsersKey, listMetadata } from '../../src/rbd/operations/metadata.ts'
import { BLOCK, ImageHistory, ImageUser } from './clients.ts'
import { contentOf, difference, findImage, findMirrored, mirrorEntry } from './images.ts'
import { DataGuard } from './invariants/guards.ts'
import { leftovers } from './invariants/leftovers.ts'
import { isMistake } from './invariants/logs.ts'
import { ReplicaInvariants } from './invariants/replicas.ts'
import { Operator, type Command } from './operators.ts'
import { Daemon } from './world/daemon.ts'
import type { Site } from './world/site.ts'
import { Violation, World } from './world/world.ts'

export interface SceneOptions {
  verbose?: boolean
  daemonOptions?: Partial<MirrorOptions>
}

const PAUSE_MS = 60
/** How long everything may take to come to rest when nothing goes wrong any more, in simulated time. */
const CONVERGENCE_MS = 600_000
const LOOK_EVERY_MS = 1_000
/** How long a daemon may take to stop: it waits for what its own cluster has not answered yet, which may be late. */
const STOP_MS = 60_000

/** The usual cast: two sites, a daemon and an operator at each, the invariants watching. */
export class Scene {
  readonly world: World
  readonly daemons: { a: Daemon; b: Daemon }
  readonly operators: { a: Operator; b: Operator }
  readonly replicas: ReplicaInvariants
  readonly histories = new Map<string, ImageHistory>()

  constructor(seed: number, { verbose = false, daemonOptions = {} }: SceneOptions = {}) {
    const world = (this.world = new World(seed, verbose))
    const { a, b } = world.sites
    this.daemons = { a: new Daemon(world, a, daemonOptions), b: new Daemon(world, b, daemonOptions) }
    this.operators = { a: new Operator(world, a), b: new Operator(world, b) }
    new DataGuard(world)
    this.replicas = new ReplicaInvariants(world)
  }

  /** Runs a simulation; a failure comes with the end of what has happened, if that was noted. */
  static async play(seed: number, play: (scene: Scene) => Promise<void>, options: SceneOptions = {}): Promise<Scene> {
    const scene = new Scene(seed, options)
    const { world } = scene
    try {
      await world.start()
      await play(scene)
      scene.checkLog()
      return scene
    } catch (error) {
      if (options.verbose) console.log(world.trail.slice(-Number(process.env['SIMULATION_TRAIL'] ?? 400)).join('\n'))
      throw error
    } finally {
      world.end()
    }
  }

  /** Has a command done. Rejects as it does. */
  async command<T>(what: string, command: Command<T>): Promise<T> {
    return this.world.finish(what, () => command.done)
  }

  startDaemons(): void {
    this.daemons.a.start()
    this.daemons.b.start()
  }

  async stopDaemons(): Promise<void> {
    await this.world.finish('stop the daemons', () => Promise.all([this.daemons.a.stop(), this.daemons.b.stop()]), STOP_MS)
  }

  newHistory(name: string): void {
    this.histories.set(name, new ImageHistory())
  }

  /** A mirrored image, at site A if nothing else is said. Resolves with its id. */
  async mirrorNew(name: string, mode: MirrorImageMode, size: number, operator = this.operators.a, features?: bigint): Promise<string> {
    this.newHistory(name)
    const id = await this.command('create', operator.create(name, size, features))
    await this.command('enable', operator.enable(name, mode))
    return id
  }

  /** The same of a clone, made at site A from a snapshot of an image that is mirrored already. */
  async mirrorClone(parent: string, snapshot: string, name: string, mode: MirrorImageMode): Promise<string> {
    const { a } = this.operators
    this.newHistory(name)
    const id = await this.command('clone', a.clone(parent, snapshot, name))
    await this.command('enable', a.enable(name, mode))
    return id
  }

  user(site: Site, name: string, pace: { pauseMs?: number; maxBlocks?: number; flushEvery?: number } = {}): ImageUser {
    return new ImageUser(this.world, site, name, this.histories.get(name)!, { pauseMs: PAUSE_MS, maxBlocks: 12, ...pace })
  }

  /** Lets somebody write for a while. */
  async write(site: Site, name: string, ms: number, pace: Parameters<Scene['user']>[2] = {}): Promise<void> {
    const user = this.user(site, name, pace)
    await this.world.run(ms)
    await this.world.finish('stop writing', () => user.stop())
    if (user.error !== undefined) throw user.error as Error
  }

  /** Of a journaled image, as the writer's history has it: what is cut off is discarded some time between begin and end. */
  async resize(operator: Operator, name: string, from: number, to: number): Promise<void> {
    const change = this.histories.get(name)!.begin('discard', to / BLOCK, Math.max(from, to) / BLOCK)
    await this.command('resize', operator.resize(name, to))
    change.state = 'done'
  }

  /** Time passes until the question is answered with yes. */
  async until(what: string, question: () => Promise<boolean>, limitMs = CONVERGENCE_MS): Promise<void> {
    const { world } = this
    const deadline = world.clock.monotonic() + limitMs
    while (!(await question())) {
      if (world.clock.monotonic() > deadline) throw new Violation(`${what}: not after ${limitMs / 1000} s`)
      await world.run(LOOK_EVERY_MS)
    }
  }

  async content(site: Site, imageId: string): Promise<Buffer> {
    return site.look(imageId, async (image) => (await contentOf(image))!)
  }

  /** What differs between an image on both sides; undefined if nothing does. */
  async divergence(primary: Site, name: string): Promise<string | undefined> {
    try {
      return await this.compare(primary, name)
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return error.message // something is being made, or removed
      throw error
    }
  }

  private async compare(primary: Site, name: string): Promise<string | undefined> {
    const other = this.world.other(primary)
    const id = await findImage(primary, name)
    if (id === undefined) return `${name} is not on ${primary.name}`
    const entry = await mirrorEntry(primary, id)
    if (!entry) return `${name} is not mirrored`
    const replicaId = await findMirrored(other, entry.globalImageId)
    if (replicaId === undefined) return `${name} has no replica`
    if ((await findImage(other, name)) !== replicaId) return `the replica of ${name} has another name`
    const [original, copy] = [await this.content(primary, id), await this.content(other, replicaId)]
    const differs = difference(original, copy)
    if (differs !== undefined) return `the replica of ${name} differs ${differs}`
    const [wanted, has] = [await this.settings(primary, id), await this.settings(other, replicaId)]
    if (wanted !== has) return `${name} has ${wanted}, its replica ${has}`
    const [ours, theirs] = [await this.userSnapshots(primary, id), await this.userSnapshots(other, replicaId)]
    const names = (snapshots: ReadonlyMap<string, Buffer>) => [...snapshots.keys()].sort().join() || 'none'
    if (names(ours) !== names(theirs)) return `${name} has the snapshots ${names(ours)}, its replica ${names(theirs)}`
    for (const [snapshot, content] of ours) {
      const found = difference(content, theirs.get(snapshot)!)
      if (found !== undefined) return `the replica of ${name}@${snapshot} differs ${found}`
    }
    return undefined
  }

  private settings(site: Site, imageId: string): Promise<string> {
    return site.look(imageId, async ({ io, header }) => {
      const metadata = [...(await listMetadata(io, imageId))].filter(([key]) => isUsersKey(key)).map(([key, value]) => `${key}=${value.toString()}`)
      return `features ${header.features & ~FEATURES_IMPLICIT_ENABLE & ~FEATURE_NON_PRIMARY}, metadata ${metadata.sort().join() || 'none'}`
    })
  }

  /** Contents by name. */
  userSnapshots(site: Site, imageId: string): Promise<Map<string, Buffer>> {
    return site.look(imageId, async (image) => {
      const found = new Map<string, Buffer>()
      for (const { id, namespace, name } of image.header.snapshots) {
        if (namespace.type === 'user') found.set(name, (await contentOf(image, id))!)
      }
      return found
    })
  }

  /** The other site has all of an image that nobody writes to any more. */
  async converge(primary: Site, name: string): Promise<void> {
    const id = (await findImage(primary, name))!
    const entry = (await mirrorEntry(primary, id))!
    const operator = primary === this.world.sites.a ? this.operators.a : this.operators.b
    const target = entry.mode === 'snapshot' ? await this.command('mirror-snapshot', operator.snapshot(name)) : undefined
    let last: string | undefined
    const same = async () =>
      (last = (await this.divergence(primary, name)) ?? (await this.underWay(this.world.other(primary), entry.globalImageId, target))) === undefined
    await this.until('convergence', same).catch((error: unknown) => {
      throw error instanceof Violation ? new Violation(`${error.message}: ${last}`) : error
    })
  }

  /** A replica may have its primary's contents before anything is copied, e.g. a new clone. */
  private async underWay(site: Site, globalImageId: string, target: SnapId | undefined): Promise<string | undefined> {
    const id = (await findMirrored(site, globalImageId))!
    const state = (await mirrorEntry(site, id))?.state
    if (state !== 'enabled') return `the replica is ${state}`
    if (target === undefined) return undefined
    const snapshots = await site.look(id, async ({ header }) => mirrorSnapshots(header.snapshots))
    const synced = snapshots.some(({ namespace }) => namespace.complete && isNonPrimary(namespace) && namespace.primarySnapId >= target)
    return synced ? undefined : `snapshot ${target} is not synced`
  }

  /** All is at rest: nothing may be left behind. */
  async checkLeftovers(): Promise<void> {
    let found: string[] = []
    const none = async () => (found = await leftovers(this.world)).length === 0
    await this.until('nothing left over', none, 180_000).catch((error: unknown) => {
      throw error instanceof Violation ? new Violation(`${error.message}: ${found.join('; ')}`) : error
    })
  }

  private checkLog(): void {
    for (const logged of this.world.logged) {
      if (isMistake(logged)) {
        const { err, error } = logged.fields as { err?: Error; error?: unknown }
        throw new Violation(`${logged.process.name} at ${(logged.at / 1000).toFixed(3)} s: ${logged.message}: ${err?.stack ?? JSON.stringify(error)}`)
      }
    }
  }
}
