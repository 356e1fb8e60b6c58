import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { dirGetId } from '../../cls/rbd/client.ts'
import { mirrorImageGetImageId, mirrorUuidGet, mirrorImageGet } from '../../cls/rbd/mirror-client.ts'
import { ConfigError, UsageError } from '../../config/config-error.ts'
import type { Configuration } from '../../config/load-configuration.ts'
import { Connections } from '../../daemon/connect.ts'
import type { Cluster } from '../../rados/cluster.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { Image } from '../../rbd/image.ts'
import {
  createTestCopy,
  findUnfinishedCopy,
  listTestCopies,
  NoTestCopy,
  removeTestCopy,
  type TestCopy,
  type TestCopyOptions,
} from '../../rbd/mirror/test-copy.ts'
import { RBD_DIRECTORY, RBD_MIRRORING } from '../../rbd/names.ts'
import { connectPeer, found, parseImageSpec, takeImageSpec } from '../image-argument.ts'
import { takeOwnOptions } from '../own-options.ts'
import { configurationFrom, connectLocal, interruptSignal } from '../subcommand.ts'

const usage = `usage: rbd-mirror test-failover POOL/[NAMESPACE/]IMAGE [--name NAME] [--json] [--cluster NAME] [--id ID] [--conf FILE] …
       rbd-mirror test-failover POOL/[NAMESPACE/]IMAGE --list
       rbd-mirror test-failover POOL/[NAMESPACE/]IMAGE --cleanup [--name NAME]

Gives a copy of a replica at its last complete state, to try a failover with: an image of its own that shares what is not written to it, and that any
client may map and write to. The replica goes on following its primary. To be run where the replica is.
An image mirrored by snapshots is copied as of the mirror-snapshot that was synced last; one mirrored by its journal as of a snapshot that is made on
the primary for it, which therefore has to be in reach.

  --name NAME  of the copy (default: IMAGE-test-failover), beside the replica
  --list       the copies that there are of this image
  --cleanup    removes the copies of this image, or the one of that name, with all that was written to them
  --json       the result as JSON

exit status: 0 done, 1 failed, 2 misused
`

/** `rbd-mirror test-failover`. */
export async function testFailover(args: readonly string[]): Promise<number> {
  const own = takeOwnOptions(args, { list: 'flag', cleanup: 'flag', json: 'flag', name: 'value' })
  if (own.rest.includes('--help') || own.rest.includes('-h')) {
    process.stdout.write(usage)
    return 0
  }
  const { spec, rest } = takeImageSpec('test-failover', own.rest)
  const { flags } = own
  if (flags.has('list') && flags.has('cleanup')) throw new UsageError('--list and --cleanup exclude each other')
  const name = own.values.get('name')
  if (name !== undefined && (name === '' || /[/@]/.test(name))) throw new UsageError('--name is the name of an image, without / and @')
  const signal = interruptSignal()
  const configuration = configurationFrom(rest)
  const connections = new Connections(configuration)
  await using site = new Site(spec, connections, signal)
  try {
    await site.open(configuration)
    const done = flags.has('list') ? await site.list() : flags.has('cleanup') ? await site.cleanUp(name) : await site.create(name)
    process.stdout.write(flags.has('json') ? `${JSON.stringify(done.json, undefined, 2)}\n` : done.text)
    return 0
  } catch (error) {
    if (error instanceof NoTestCopy) throw new ConfigError(`${spec}: ${error.message}`, undefined, { cause: error })
    throw error
  }
}

interface Done {
  json: unknown
  text: string
}

/** The site of the replica, connected. */
class Site implements AsyncDisposable {
  private readonly closers: (() => Promise<void> | void)[] = []
  private readonly name: string
  private readonly folder: string
  private cluster!: Cluster
  private pool!: IoCtx
  private io!: IoCtx
  private imageId!: string

  constructor(
    private readonly spec: string,
    private readonly connections: Connections,
    private readonly signal: AbortSignal,
  ) {
    const { poolName, namespace, name } = parseImageSpec(spec)
    this.name = name
    this.folder = [poolName, ...(namespace === '' ? [] : [namespace])].join('/')
  }

  async open(configuration: Configuration): Promise<void> {
    const { spec } = this
    const { poolName, namespace, name } = parseImageSpec(spec)
    this.cluster = await connectLocal(this.connections, configuration, this.signal)
    const { cluster } = this
    this.closers.push(() => cluster.close())
    this.pool = await found(cluster.openPool(poolName), `no pool ${poolName} on cluster ${cluster.name}`)
    this.io = this.pool.duplicate({ namespace })
    this.imageId = await found(dirGetId.call(this.io, RBD_DIRECTORY, { name }), `no image ${spec} on cluster ${cluster.name}`)
  }

  async create(name = `${this.name}-test-failover`): Promise<Done> {
    const { io, imageId, spec } = this
    const { mode } = await found(mirrorImageGet.call(io, RBD_MIRRORING, { imageId }), `image ${spec} is not mirrored`)
    const replica = await this.openImage(this.cluster, io, imageId, {})
    const { copy, created } = await createTestCopy(replica, name, () => this.openPrimary(), this.optionsFor(this.cluster))
    const path = `${this.folder}/${copy.name}`
    const cleanup = `rbd-mirror test-failover ${spec} --cleanup${this.cluster.name === 'ceph' ? '' : ` --cluster ${this.cluster.name}`}`
    const what = created ? 'is a copy' : 'has been there already, as a copy'
    return {
      json: { image: spec, mode, created, ...this.toJson(copy) },
      text: `${path} ${what} of ${spec} as of ${copy.stateOf}: it may be mapped and written to\nto be removed with: ${cleanup}\n`,
    }
  }

  async list(): Promise<Done> {
    const copies = await listTestCopies(this.io, { imageId: this.imageId })
    const lines = copies.map((copy) => `${this.folder}/${copy.name} as of ${copy.stateOf}\n`)
    return { json: { image: this.spec, copies: copies.map((copy) => this.toJson(copy)) }, text: lines.length > 0 ? lines.join('') : `no copies of ${this.spec}\n` }
  }

  async cleanUp(name: string | undefined): Promise<Done> {
    const { io, imageId, spec } = this
    const copies: Pick<TestCopy, 'id' | 'name'>[] = (await listTestCopies(io, { imageId })).filter((copy) => name === undefined || copy.name === name)
    const wanted = name ?? `${this.name}-test-failover`
    const unfinished = await findUnfinishedCopy(io, imageId, wanted)
    if (unfinished !== undefined) copies.push({ id: unfinished, name: wanted })
    if (name !== undefined && copies.length === 0) throw new NoTestCopy(`there is no copy ${name} of it`)
    for (const copy of copies) {
      try {
        await removeTestCopy(io, copy, this.optionsFor(this.cluster))
      } catch (error) {
        if (!isErrno(error, Errno.EBUSY)) throw error
        throw new NoTestCopy(`the copy ${this.folder}/${copy.name} is in use: unmap or close it first`)
      }
    }
    const removed = copies.map((copy) => `${this.folder}/${copy.name}`)
    return { json: { image: spec, removed }, text: removed.length > 0 ? removed.map((path) => `removed ${path}\n`).join('') : `no copies of ${spec}\n` }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.closers.reverse()) await close()
  }

  private toJson({ name, stateOf, snapshotId }: TestCopy) {
    return { copy: `${this.folder}/${name}`, state_of: stateOf, snapshot_id: Number(snapshotId) }
  }

  private async openPrimary(): Promise<{ image: Image; localMirrorUuid: string }> {
    const { io, pool, spec } = this
    const remote = await connectPeer(this.connections, this.cluster, pool, this.signal)
    this.closers.push(() => remote.close())
    const remotePool = await found(remote.openPool(pool.poolName), `no pool ${pool.poolName} on cluster ${remote.name}`)
    const remoteIo = remotePool.duplicate({ namespace: io.namespace })
    const { globalImageId } = await mirrorImageGet.call(io, RBD_MIRRORING, { imageId: this.imageId })
    const id = await found(mirrorImageGetImageId.call(remoteIo, RBD_MIRRORING, { globalImageId }), `image ${spec} is not mirrored on cluster ${remote.name}`)
    const image = await this.openImage(remote, remoteIo, id, { journaled: true })
    return { image, localMirrorUuid: await mirrorUuidGet.call(io, RBD_MIRRORING, undefined) }
  }

  private async openImage(cluster: Cluster, io: IoCtx, id: string, more: { journaled?: boolean }): Promise<Image> {
    const image = await Image.open(io, { id }, { ...this.optionsFor(cluster), ...more, access: 'write' })
    this.closers.push(() => image.close())
    return image
  }

  private optionsFor(cluster: Cluster): TestCopyOptions {
    return { cluster, clock: systemClock, random: systemRandom, log: silentLog, signal: this.signal }
  }
}
