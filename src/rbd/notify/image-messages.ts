import { SnapshotNamespace } from '../../cls/rbd/types.ts'
import { decode, encode, type Codec } from '../../encoding/codec.ts'
import type { Decoder } from '../../encoding/decoder.ts'
import type { Encoder } from '../../encoding/encoder.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { AsyncRequestIdCodec, ClientIdCodec, noClient, noRequest, type AsyncRequestId, type ClientId } from './client-id.ts'

/**
 * What the clients of an image tell each other through its header object: librbd's watch_notify messages
 * (librbd/WatchNotifyTypes.cc), written in version 7 as every release since 16.2 does.
 */
export type ImageMessage =
  | { type: 'acquiredLock'; clientId: ClientId }
  | { type: 'releasedLock'; clientId: ClientId }
  | { type: 'requestLock'; clientId: ClientId; force: boolean }
  | { type: 'headerUpdate' }
  | { type: 'asyncProgress'; requestId: AsyncRequestId; offset: bigint; total: bigint }
  /** `result`: 0 or a negative errno */
  | { type: 'asyncComplete'; requestId: AsyncRequestId; result: number }
  | OperationMessage
  | { type: 'quiesce'; requestId: AsyncRequestId }
  | { type: 'unquiesce'; requestId: AsyncRequestId }
  | { type: 'unknown'; op: number }

/** A request to the lock owner to do something with the image. */
export type OperationMessage =
  | { type: 'flatten'; requestId: AsyncRequestId }
  | { type: 'resize'; requestId: AsyncRequestId; size: number; allowShrink: boolean }
  | { type: 'snapCreate'; requestId: AsyncRequestId; namespace: SnapshotNamespace; name: string; flags: bigint }
  | { type: 'snapRemove'; requestId: AsyncRequestId; namespace: SnapshotNamespace; name: string }
  | { type: 'rebuildObjectMap'; requestId: AsyncRequestId }
  | { type: 'snapRename'; requestId: AsyncRequestId; snapId: bigint; name: string }
  | { type: 'snapProtect'; requestId: AsyncRequestId; namespace: SnapshotNamespace; name: string }
  | { type: 'snapUnprotect'; requestId: AsyncRequestId; namespace: SnapshotNamespace; name: string }
  | { type: 'rename'; requestId: AsyncRequestId; imageName: string }
  | { type: 'updateFeatures'; requestId: AsyncRequestId; features: bigint; enabled: boolean }
  | { type: 'migrate'; requestId: AsyncRequestId }
  | { type: 'sparsify'; requestId: AsyncRequestId; sparseSize: number }
  /** `value` undefined removes the key */
  | { type: 'metadataUpdate'; requestId: AsyncRequestId; key: string; value: string | undefined }

type MessageType = Exclude<ImageMessage['type'], 'unknown'>
type Body<T extends MessageType> = Omit<Extract<ImageMessage, { type: T }>, 'type'>

interface BodyCodec<B> {
  op: number
  encode(encoder: Encoder, body: B): void
  /** @param version of the message, 1 to 7 */
  decode(decoder: Decoder, version: number): B
}

const messageVersion = 7
const userNamespace: SnapshotNamespace = { type: 'user' }

function requestOnly(op: number): BodyCodec<{ requestId: AsyncRequestId }> {
  return {
    op,
    encode: (encoder, body) => AsyncRequestIdCodec.encode(encoder, body.requestId),
    decode: (decoder) => ({ requestId: AsyncRequestIdCodec.decode(decoder) }),
  }
}

function clientOnly(op: number): BodyCodec<{ clientId: ClientId }> {
  return {
    op,
    encode: (encoder, body) => void ClientIdCodec.encode(encoder, body.clientId),
    decode: (decoder, version) => ({ clientId: version >= 2 ? ClientIdCodec.decode(decoder) : noClient }),
  }
}

function requestSince7(decoder: Decoder, version: number): AsyncRequestId {
  return version >= 7 ? AsyncRequestIdCodec.decode(decoder) : noRequest
}

interface SnapBody {
  requestId: AsyncRequestId
  namespace: SnapshotNamespace
  name: string
}

function encodeSnap(encoder: Encoder, body: SnapBody): void {
  encoder.string(body.name)
  SnapshotNamespace.encode(encoder, body.namespace)
  AsyncRequestIdCodec.encode(encoder, body.requestId)
}

function decodeSnap(decoder: Decoder, version: number): SnapBody {
  const name = decoder.string()
  const namespace = version >= 6 ? SnapshotNamespace.decode(decoder) : userNamespace
  return { name, namespace, requestId: requestSince7(decoder, version) }
}

function snap(op: number): BodyCodec<SnapBody> {
  return { op, encode: encodeSnap, decode: decodeSnap }
}

const bodies: { [T in MessageType]: BodyCodec<Body<T>> } = {
  acquiredLock: clientOnly(0),
  releasedLock: clientOnly(1),
  requestLock: {
    op: 2,
    encode: (encoder, body) => void ClientIdCodec.encode(encoder, body.clientId).bool(body.force),
    decode: (decoder, version) => ({
      clientId: version >= 2 ? ClientIdCodec.decode(decoder) : noClient,
      force: version >= 3 && decoder.bool(),
    }),
  },
  headerUpdate: { op: 3, encode() {}, decode: () => ({}) },
  asyncProgress: {
    op: 4,
    encode(encoder, body) {
      AsyncRequestIdCodec.encode(encoder, body.requestId)
      encoder.u64(body.offset).u64(body.total)
    },
    decode: (decoder) => ({ requestId: AsyncRequestIdCodec.decode(decoder), offset: decoder.u64(), total: decoder.u64() }),
  },
  asyncComplete: {
    op: 5,
    encode(encoder, body) {
      AsyncRequestIdCodec.encode(encoder, body.requestId)
      encoder.s32(body.result)
    },
    decode: (decoder) => ({ requestId: AsyncRequestIdCodec.decode(decoder), result: decoder.s32() }),
  },
  flatten: requestOnly(6),
  resize: {
    op: 7,
    encode(encoder, body) {
      encoder.size(body.size)
      AsyncRequestIdCodec.encode(encoder, body.requestId)
      encoder.bool(body.allowShrink)
    },
    decode: (decoder, version) => ({
      size: decoder.size(),
      requestId: AsyncRequestIdCodec.decode(decoder),
      allowShrink: version < 4 || decoder.bool(),
    }),
  },
  snapCreate: {
    op: 8,
    encode(encoder, body) {
      encodeSnap(encoder, body)
      encoder.u64(body.flags)
    },
    decode(decoder, version) {
      const body = decodeSnap(decoder, version)
      if (version === 5) body.namespace = SnapshotNamespace.decode(decoder)
      return { ...body, flags: version >= 7 ? decoder.u64() : 0n }
    },
  },
  snapRemove: snap(9),
  rebuildObjectMap: requestOnly(10),
  snapRename: {
    op: 11,
    encode(encoder, body) {
      encoder.u64(body.snapId)
      encodeSnap(encoder, { ...body, namespace: userNamespace })
    },
    decode(decoder, version) {
      const snapId = decoder.u64()
      const { name, requestId } = decodeSnap(decoder, version)
      return { snapId, name, requestId }
    },
  },
  snapProtect: snap(12),
  snapUnprotect: snap(13),
  rename: {
    op: 14,
    encode(encoder, body) {
      encoder.string(body.imageName)
      AsyncRequestIdCodec.encode(encoder, body.requestId)
    },
    decode: (decoder, version) => ({ imageName: decoder.string(), requestId: requestSince7(decoder, version) }),
  },
  updateFeatures: {
    op: 15,
    encode(encoder, body) {
      encoder.u64(body.features).bool(body.enabled)
      AsyncRequestIdCodec.encode(encoder, body.requestId)
    },
    decode: (decoder, version) => ({
      features: decoder.u64(),
      enabled: decoder.bool(),
      requestId: requestSince7(decoder, version),
    }),
  },
  migrate: requestOnly(16),
  sparsify: {
    op: 17,
    encode(encoder, body) {
      AsyncRequestIdCodec.encode(encoder, body.requestId)
      encoder.size(body.sparseSize)
    },
    decode: (decoder) => ({ requestId: AsyncRequestIdCodec.decode(decoder), sparseSize: decoder.size() }),
  },
  quiesce: requestOnly(18),
  unquiesce: requestOnly(19),
  metadataUpdate: {
    op: 20,
    encode(encoder, body) {
      encoder.string(body.key).bool(body.value !== undefined)
      if (body.value !== undefined) encoder.string(body.value)
      AsyncRequestIdCodec.encode(encoder, body.requestId)
    },
    decode: (decoder, version) => ({
      key: decoder.string(),
      value: decoder.bool() ? decoder.string() : undefined,
      requestId: requestSince7(decoder, version),
    }),
  },
}

const typesByOp = new Map(Object.entries(bodies).map(([type, body]) => [body.op, type as MessageType]))

const ImageMessageCodec: Codec<ImageMessage> = {
  encode(encoder, message) {
    if (message.type === 'unknown') throw new Error(`an unknown message (${message.op}) can't be sent`)
    const body = bodies[message.type] as BodyCodec<unknown>
    encoder.versioned(messageVersion, 1, () => body.encode(encoder.u32(body.op), message))
  },
  decode: (decoder) =>
    decoder.versioned(messageVersion, (version) => {
      const op = decoder.u32()
      const type = typesByOp.get(op)
      if (!type) return { type: 'unknown', op }
      return { type, ...bodies[type].decode(decoder, version) } as ImageMessage
    }),
}

export function encodeImageMessage(message: ImageMessage): Buffer {
  return encode(ImageMessageCodec, message)
}

/** Throws MalformedInput. An empty payload is the header update of very old clients. */
export function decodeImageMessage(payload: Buffer): ImageMessage {
  return payload.length === 0 ? { type: 'headerUpdate' } : decode(ImageMessageCodec, payload, 'image notification')
}

/** The lock owner's answer to a request: 0 or a negative errno. */
export function encodeResponse(result: number): Buffer {
  return encode(ResponseCodec, result)
}

export function decodeResponse(payload: Buffer): number {
  if (payload.length === 0) throw new MalformedInput('answer to an image notification', 'empty')
  return decode(ResponseCodec, payload, 'answer to an image notification')
}

const ResponseCodec: Codec<number> = {
  encode: (encoder, result) => void encoder.versioned(1, 1, () => encoder.s32(result)),
  decode: (decoder) => decoder.versioned(1, () => decoder.s32()),
}
