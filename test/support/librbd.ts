import koffi from 'koffi'
import type { CephCluster } from './ceph-cluster.ts'

/**
 * Ceph's own librbd as the tests' neutral eye and hand: reads and compares contents, writes patterns, and lists mirror-snapshots
 * without a process per look. (The `rbd` command cannot export a mirror-snapshot: it finds only user snapshots by name.)
 */

export type SnapshotState = 'primary' | 'primary (demoted)' | 'non-primary' | 'non-primary (demoted)'
const SNAPSHOT_STATES: readonly SnapshotState[] = ['primary', 'primary (demoted)', 'non-primary', 'non-primary (demoted)']
const MIRROR_NAMESPACE = 3
const MAX_SNAPSHOTS = 4096

export interface SnapshotEntry {
  readonly id: bigint
  readonly name: string
  readonly size: number
  /** Only for mirror-snapshots. */
  readonly mirror?: {
    readonly state: SnapshotState
    readonly complete: boolean
    readonly primaryMirrorUuid: string
    readonly primarySnapId: bigint
    readonly lastCopiedObject: bigint
    readonly peerCount: number
  }
}

type TypeSpec = string | ReturnType<typeof koffi.out> | ReturnType<typeof koffi.struct>

type Call = (...args: unknown[]) => Promise<number>

let library: ReturnType<typeof load> | undefined

function load() {
  const rados = koffi.load('librados.so.2')
  const rbd = koffi.load('librbd.so.1')
  const snapInfo = koffi.struct({ id: 'uint64_t', size: 'uint64_t', name: 'char *' })
  const mirrorSnap = koffi.struct({
    state: 'int',
    peerCount: 'size_t',
    peers: 'void *',
    complete: 'bool',
    primaryMirrorUuid: 'char *',
    primarySnapId: 'uint64_t',
    lastCopied: 'uint64_t',
  })
  const iterate = koffi.proto('int test_rbd_diff(uint64_t offset, size_t length, int exists, void *arg)')
  const func = (lib: typeof rados, name: string, args: unknown[]): Call => {
    const native = lib.func(name, 'int64_t', args as TypeSpec[])
    return (...values) =>
      new Promise((resolve, reject) => {
        native.async(...values, (error: unknown, result: number | bigint) => {
          // `int` results come back zero-extended in a 64-bit register: take the lower half where the function returns no ssize_t.
          if (error) reject(new Error(String((error as Error).message)))
          else resolve(Number(BigInt.asIntN(32, BigInt(result))))
        })
      })
  }
  const out = (type: TypeSpec) => koffi.out(koffi.pointer(type))
  const handle = 'void *'
  return {
    snapInfo,
    mirrorSnap,
    iterate,
    create: func(rados, 'rados_create2', [out(handle), 'str', 'str', 'uint64_t']),
    readConf: func(rados, 'rados_conf_read_file', [handle, 'str']),
    connect: func(rados, 'rados_connect', [handle]),
    shutdown: func(rados, 'rados_shutdown', [handle]),
    ioctxCreate: func(rados, 'rados_ioctx_create', [handle, 'str', out(handle)]),
    ioctxDestroy: func(rados, 'rados_ioctx_destroy', [handle]),
    setNamespace: func(rados, 'rados_ioctx_set_namespace', [handle, 'str']),
    openReadOnly: func(rbd, 'rbd_open_read_only', [handle, 'str', out(handle), 'str']),
    open: func(rbd, 'rbd_open', [handle, 'str', out(handle), 'str']),
    close: func(rbd, 'rbd_close', [handle]),
    getSize: func(rbd, 'rbd_get_size', [handle, out('uint64_t')]),
    read: func(rbd, 'rbd_read', [handle, 'uint64_t', 'size_t', 'void *']),
    write: func(rbd, 'rbd_write', [handle, 'uint64_t', 'size_t', 'void *']),
    discard: func(rbd, 'rbd_discard', [handle, 'uint64_t', 'uint64_t']),
    flush: func(rbd, 'rbd_flush', [handle]),
    resize: func(rbd, 'rbd_resize', [handle, 'uint64_t']),
    snapCreate: func(rbd, 'rbd_snap_create', [handle, 'str']),
    snapSetById: func(rbd, 'rbd_snap_set_by_id', [handle, 'uint64_t']),
    snapList: func(rbd, 'rbd_snap_list', [handle, 'void *', koffi.inout('int *')]),
    snapListEnd: func(rbd, 'rbd_snap_list_end', ['void *']),
    snapNamespace: func(rbd, 'rbd_snap_get_namespace_type', [handle, 'uint64_t', out('int')]),
    snapMirror: func(rbd, 'rbd_snap_get_mirror_namespace', [handle, 'uint64_t', 'void *', 'size_t']),
    snapMirrorCleanup: func(rbd, 'rbd_snap_mirror_namespace_cleanup', ['void *', 'size_t']),
    diff: func(rbd, 'rbd_diff_iterate2', [handle, 'str', 'uint64_t', 'uint64_t', 'uint8_t', 'uint8_t', koffi.pointer(iterate), handle]),
    mirrorEnable: func(rbd, 'rbd_mirror_image_enable2', [handle, 'int']),
    mirrorSnapshot: func(rbd, 'rbd_mirror_image_create_snapshot', [handle, out('uint64_t')]),
    mirrorPromote: func(rbd, 'rbd_mirror_image_promote', [handle, 'bool']),
    mirrorDemote: func(rbd, 'rbd_mirror_image_demote', [handle]),
  }
}

/** A failed call into librados or librbd; `errno` is positive. */
export class LibrbdError extends Error {
  constructor(
    readonly call: string,
    readonly errno: number,
  ) {
    super(`${call}: errno ${errno}`)
    this.name = 'LibrbdError'
  }
}

async function check(call: string, result: Promise<number>): Promise<number> {
  const code = await result
  if (code < 0) throw new LibrbdError(call, -code)
  return code
}

/** A connection of client.admin to one test cluster through librbd. */
export class LibrbdClient implements AsyncDisposable {
  private readonly ioctxs = new Map<string, unknown>()

  private constructor(private readonly cluster: unknown) {}

  static async connect(cluster: Pick<CephCluster, 'conf'>): Promise<LibrbdClient> {
    const lib = (library ??= load())
    const handle: unknown[] = [null]
    await check('rados_create2', lib.create(handle, 'ceph', 'client.admin', 0))
    await check('rados_conf_read_file', lib.readConf(handle[0], cluster.conf))
    await check('rados_connect', lib.connect(handle[0]))
    return new LibrbdClient(handle[0])
  }

  /** Opens `POOL/[NAMESPACE/]IMAGE`; writable images register a watch, read-only ones do not. */
  async open(spec: string, access: 'read-only' | 'write' = 'read-only'): Promise<LibrbdImage> {
    const parts = spec.split('/')
    const name = parts.pop() ?? ''
    const lib = library!
    const image: unknown[] = [null]
    const open = access === 'write' ? lib.open : lib.openReadOnly
    await check(`rbd_open ${spec}`, open(await this.ioctx(parts.join('/')), name, image, null))
    return new LibrbdImage(spec, image[0])
  }

  async with<T>(spec: string, access: 'read-only' | 'write', task: (image: LibrbdImage) => Promise<T>): Promise<T> {
    const image = await this.open(spec, access)
    try {
      return await task(image)
    } finally {
      await image.close()
    }
  }

  private async ioctx(pool: string): Promise<unknown> {
    const known = this.ioctxs.get(pool)
    if (known) return known
    const [name = '', namespace] = pool.split('/')
    const handle: unknown[] = [null]
    await check(`rados_ioctx_create ${name}`, library!.ioctxCreate(this.cluster, name, handle))
    if (namespace) await library!.setNamespace(handle[0], namespace)
    this.ioctxs.set(pool, handle[0])
    return handle[0]
  }

  async close(): Promise<void> {
    for (const ioctx of this.ioctxs.values()) await library!.ioctxDestroy(ioctx)
    this.ioctxs.clear()
    await library!.shutdown(this.cluster)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

export class LibrbdImage implements AsyncDisposable {
  constructor(
    readonly spec: string,
    private readonly image: unknown,
  ) {}

  async size(): Promise<number> {
    const size: unknown[] = [0]
    await check(`rbd_get_size ${this.spec}`, library!.getSize(this.image, size))
    return Number(size[0])
  }

  /** Reads go to this snapshot from here on; undefined: the head. */
  async setSnapshot(id: bigint | undefined): Promise<void> {
    await check(`rbd_snap_set_by_id ${this.spec} ${id}`, library!.snapSetById(this.image, id ?? 0xfffffffffffffffen))
  }

  async read(offset: number, buffer: Buffer): Promise<void> {
    const read = await check(`rbd_read ${this.spec}`, library!.read(this.image, offset, buffer.length, buffer))
    if (read !== buffer.length) throw new Error(`short read of ${this.spec} at ${offset}: ${read} of ${buffer.length} bytes`)
  }

  async write(offset: number, buffer: Buffer): Promise<void> {
    await check(`rbd_write ${this.spec}`, library!.write(this.image, offset, buffer.length, buffer))
  }

  async discard(offset: number, length: number): Promise<void> {
    await check(`rbd_discard ${this.spec}`, library!.discard(this.image, offset, length))
  }

  async flush(): Promise<void> {
    await check(`rbd_flush ${this.spec}`, library!.flush(this.image))
  }

  async resize(size: number): Promise<void> {
    await check(`rbd_resize ${this.spec}`, library!.resize(this.image, size))
  }

  async createSnapshot(name: string): Promise<void> {
    await check(`rbd_snap_create ${this.spec}@${name}`, library!.snapCreate(this.image, name))
  }

  /** All snapshots, mirror-snapshots included, oldest first. */
  async snapshots(): Promise<SnapshotEntry[]> {
    const lib = library!
    const entrySize = koffi.sizeof(lib.snapInfo)
    const buffer = Buffer.alloc(entrySize * MAX_SNAPSHOTS)
    const count = await check(`rbd_snap_list ${this.spec}`, lib.snapList(this.image, buffer, [MAX_SNAPSHOTS]))
    if (count === 0) return []
    const entries = koffi.decode(buffer, lib.snapInfo, count) as { id: bigint | number; size: bigint | number; name: string }[]
    await lib.snapListEnd(buffer)
    const snapshots: SnapshotEntry[] = []
    for (const { id, size, name } of entries) {
      const type: unknown[] = [0]
      const entry = { id: BigInt(id), name, size: Number(size) }
      // Between the listing and this look the snapshot may have gone.
      if ((await lib.snapNamespace(this.image, id, type)) < 0) continue
      if (type[0] !== MIRROR_NAMESPACE) snapshots.push(entry)
      else {
        const mirror = await this.mirrorNamespace(entry.id)
        if (mirror) snapshots.push({ ...entry, mirror })
      }
    }
    return snapshots
  }

  private async mirrorNamespace(id: bigint): Promise<SnapshotEntry['mirror']> {
    const lib = library!
    const size = koffi.sizeof(lib.mirrorSnap)
    const buffer = Buffer.alloc(size)
    if ((await lib.snapMirror(this.image, id, buffer, size)) < 0) return undefined
    const mirror = koffi.decode(buffer, lib.mirrorSnap) as {
      state: number
      complete: boolean
      primaryMirrorUuid: string | null
      primarySnapId: bigint | number
      lastCopied: bigint | number
      peerCount: bigint | number
    }
    await lib.snapMirrorCleanup(buffer, size)
    return {
      state: SNAPSHOT_STATES[mirror.state] ?? 'primary',
      complete: mirror.complete,
      primaryMirrorUuid: mirror.primaryMirrorUuid ?? '',
      primarySnapId: BigInt(mirror.primarySnapId),
      lastCopiedObject: BigInt(mirror.lastCopied),
      peerCount: Number(mirror.peerCount),
    }
  }

  /** Extents that hold data (whole objects), in the snapshot that is set or the head. */
  async allocated(): Promise<[offset: number, length: number][]> {
    const lib = library!
    const extents: [number, number][] = []
    const callback = koffi.register((offset: bigint | number, length: bigint | number, exists: number) => {
      if (exists) extents.push([Number(offset), Number(length)])
      return 0
    }, koffi.pointer(lib.iterate))
    try {
      await check(`rbd_diff_iterate2 ${this.spec}`, lib.diff(this.image, null, 0, await this.size(), 1, 1, callback, null))
    } finally {
      koffi.unregister(callback)
    }
    return extents
  }

  async enableMirroring(mode: 'journal' | 'snapshot'): Promise<void> {
    await check(`rbd_mirror_image_enable2 ${this.spec}`, library!.mirrorEnable(this.image, mode === 'journal' ? 0 : 1))
  }

  /** Makes a mirror-snapshot of a primary image; its id. */
  async mirrorSnapshot(): Promise<bigint> {
    const id: unknown[] = [0]
    await check(`rbd_mirror_image_create_snapshot ${this.spec}`, library!.mirrorSnapshot(this.image, id))
    return BigInt(id[0] as number)
  }

  async demote(): Promise<void> {
    await check(`rbd_mirror_image_demote ${this.spec}`, library!.mirrorDemote(this.image))
  }

  async promote(force = false): Promise<void> {
    await check(`rbd_mirror_image_promote ${this.spec}`, library!.mirrorPromote(this.image, force))
  }

  async close(): Promise<void> {
    await check(`rbd_close ${this.spec}`, library!.close(this.image))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
