import type { Decoder } from '../../encoding/decoder.ts'
import type { Encoder } from '../../encoding/encoder.ts'

/** One watch of one client: global id of the client and cookie of its watch (librbd watcher::ClientId). */
export interface ClientId {
  gid: bigint
  handle: bigint
}

/** Stands for "nobody" in messages. */
export const noClient: ClientId = { gid: 0n, handle: 0n }

export function sameClient(a: ClientId, b: ClientId): boolean {
  return a.gid === b.gid && a.handle === b.handle
}

export function isClient(client: ClientId): boolean {
  return !sameClient(client, noClient)
}

export const ClientIdCodec = {
  encode: (encoder: Encoder, value: ClientId) => encoder.u64(value.gid).u64(value.handle),
  decode: (decoder: Decoder): ClientId => ({ gid: decoder.u64(), handle: decoder.u64() }),
}

/** Names one asynchronous request across the watchers of an image. */
export interface AsyncRequestId {
  clientId: ClientId
  requestId: bigint
}

export const noRequest: AsyncRequestId = { clientId: noClient, requestId: 0n }

/** A key for maps. */
export function requestKey(id: AsyncRequestId): string {
  return `${id.clientId.gid}.${id.clientId.handle}.${id.requestId}`
}

export const AsyncRequestIdCodec = {
  encode(encoder: Encoder, value: AsyncRequestId): void {
    ClientIdCodec.encode(encoder, value.clientId)
    encoder.u64(value.requestId)
  },
  decode: (decoder: Decoder): AsyncRequestId => ({ clientId: ClientIdCodec.decode(decoder), requestId: decoder.u64() }),
}
