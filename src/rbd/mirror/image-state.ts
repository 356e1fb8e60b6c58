import { ProtectionStatus, SnapshotNamespace } from '../../cls/rbd/types.ts'
import { bytes, decode, encode, map, string, u32, u64, type Infer } from '../../encoding/codec.ts'
import { Decoder } from '../../encoding/decoder.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { struct } from '../../encoding/struct.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx, OperationOptions, SnapId } from '../../rados/io-ctx.ts'
import { ReadOperation, WriteOperation } from '../../rados/operation.ts'

/*
 * The image state that goes with a mirror-snapshot: what an image was called, which features, user snapshots and metadata it had.
 * It lies beside the header in objects `rbd_mirror_snapshot.<image id>.<snap id>.<index>`; the first begins with their number
 * (librbd/mirror/snapshot/{Types,WriteImageStateRequest,GetImageStateRequest,RemoveImageStateRequest}.cc).
 */

const SnapState = struct({ version: 1, compat: 1 }, { namespace: SnapshotNamespace, name: string, protection: ProtectionStatus })

export const ImageState = struct(
  { version: 1, compat: 1 },
  {
    name: string,
    /** without the implicit ones */
    features: u64,
    /** 0xffffffffffffffff for no limit */
    snapLimit: u64,
    /** user snapshots by snapshot id */
    snapshots: map(u64, SnapState),
    metadata: map(string, bytes),
  },
)
export type ImageState = Infer<typeof ImageState>

const ImageStateHeader = struct({ version: 1, compat: 1 }, { objectCount: u32 })

/** bytes per object: 2^rbd_default_order, of which readers need to know nothing */
const objectSize = 4 * 1024 * 1024
/** More objects than this can't be an image state (rbd's metadata and snapshots of one image stay far below a gigabyte). */
const maxObjects = 256

export function imageStateObjectName(imageId: string, snapId: SnapId, index: number): string {
  return `rbd_mirror_snapshot.${imageId}.${snapId}.${index}`
}

/** The contents of the objects, in order. */
export function encodeImageState(state: ImageState, chunkSize = objectSize): Buffer[] {
  const body = encode(ImageState, state)
  const headerLength = encode(ImageStateHeader, { objectCount: 0 }).length
  const objectCount = 1 + Math.floor((headerLength + body.length) / chunkSize)
  const all = Buffer.concat([encode(ImageStateHeader, { objectCount }), body])
  return Array.from({ length: objectCount }, (_, index) => all.subarray(index * chunkSize, (index + 1) * chunkSize))
}

function decodeObjectCount(first: Buffer, what: string): { objectCount: number; body: Buffer } {
  const decoder = new Decoder(first, what)
  const { objectCount } = ImageStateHeader.decode(decoder)
  if (objectCount < 1 || objectCount > maxObjects) throw new MalformedInput(what, `${objectCount} objects announced`)
  return { objectCount, body: decoder.rest() }
}

/** Image states rarely have more than a few kilobytes: one read is enough for those. */
const firstRead = 64 * 1024

async function readWhole(io: IoCtx, oid: string): Promise<Buffer> {
  const operation = new ReadOperation()
  const stat = operation.stat()
  const data = operation.read(0, firstRead)
  const results = await io.read(oid, operation)
  const begin = results.get(data)
  const { size } = results.get(stat)
  return size <= begin.length ? begin : Buffer.concat([begin, await io.readData(oid, begin.length, size - begin.length)])
}

/** Rejects with RadosError (ENOENT: the snapshot has no image state), or MalformedInput. */
export async function readImageState(io: IoCtx, imageId: string, snapId: SnapId): Promise<ImageState> {
  const what = `image state of snapshot ${snapId} of image ${imageId}`
  const { objectCount, body } = decodeObjectCount(await readWhole(io, imageStateObjectName(imageId, snapId, 0)), what)
  const others = Array.from({ length: objectCount - 1 }, (_, index) => readWhole(io, imageStateObjectName(imageId, snapId, index + 1)))
  return decode(ImageState, Buffer.concat([body, ...(await Promise.all(others))]), what)
}

/** Writing it again is harmless. The object that announces the others comes last. */
export async function writeImageState(io: IoCtx, imageId: string, snapId: SnapId, state: ImageState, options?: OperationOptions): Promise<void> {
  const [first, ...others] = encodeImageState(state)
  await Promise.all(
    others.map((data, index) => io.write(imageStateObjectName(imageId, snapId, index + 1), new WriteOperation().writeFull(data), options)),
  )
  await io.write(imageStateObjectName(imageId, snapId, 0), new WriteOperation().writeFull(first!), options)
}

/** Removing what is not there is no error. The object that announces the others goes last. */
export async function removeImageState(io: IoCtx, imageId: string, snapId: SnapId): Promise<void> {
  let objectCount: number
  try {
    const first = await readWhole(io, imageStateObjectName(imageId, snapId, 0))
    objectCount = announcedObjects(first, imageId, snapId)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return
    throw error
  }
  for (let index = objectCount - 1; index >= 0; index--) {
    await io.remove(imageStateObjectName(imageId, snapId, index)).catch((error: unknown) => {
      if (!isErrno(error, Errno.ENOENT)) throw error
    })
  }
}

/** A state that can't be read is removed all the same: then only its first object is known. */
function announcedObjects(first: Buffer, imageId: string, snapId: SnapId): number {
  try {
    return decodeObjectCount(first, `image state of snapshot ${snapId} of image ${imageId}`).objectCount
  } catch (error) {
    if (error instanceof MalformedInput) return 1
    throw error
  }
}
