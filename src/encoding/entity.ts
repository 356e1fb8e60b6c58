import { s64, u8, type Codec, type Infer } from './codec.ts'
import { MalformedInput } from './malformed-input.ts'
import { fields } from './struct.ts'

/** A messenger address (entity_addr_t of msg/msg_types.h). */
export interface EntityAddr {
  /** 0 none, 1 legacy (v1), 2 msgr2, 3 any */
  type: number
  nonce: number
  /** a Linux sockaddr: family (little endian), port (big endian), address; may be empty */
  sockaddr: Buffer
}

const legacyMarker = 0
const marker = 1
const legacySockaddrLength = 128

export const EntityAddr: Codec<EntityAddr> = {
  encode(encoder, value) {
    encoder.u8(marker).versioned(1, 1, () => encoder.u32(value.type).u32(value.nonce).bytes(value.sockaddr))
  },
  decode(decoder) {
    const kind = decoder.u8()
    if (kind === marker) return decoder.versioned(1, () => ({ type: decoder.u32(), nonce: decoder.u32(), sockaddr: decoder.bytes() }))
    if (kind !== legacyMarker) return decoder.fail(`${kind} starts no address`)
    decoder.raw(3) // the rest of a 32-bit type that was always 0
    const nonce = decoder.u32()
    const sockaddr = Buffer.from(decoder.raw(legacySockaddrLength))
    sockaddr.subarray(0, 2).swap16() // the legacy form has its family in network order
    return { type: 1, nonce, sockaddr }
  },
}

/** `addr:port/nonce`, as `ceph` prints an address without its type. */
export function formatEntityAddr({ nonce, sockaddr }: EntityAddr): string {
  const family = sockaddr.length >= 2 ? sockaddr.readUInt16LE(0) : 0
  const port = sockaddr.length >= 4 ? sockaddr.readUInt16BE(2) : 0
  if (family === 2 && sockaddr.length >= 8) return `${[...sockaddr.subarray(4, 8)].join('.')}:${port}/${nonce}`
  if (family === 10 && sockaddr.length >= 24) return `[${formatIpv6(sockaddr.subarray(8, 24))}]:${port}/${nonce}`
  return `:/${nonce}`
}

const IPV4 = 2
const IPV6 = 10

/** Of `addr:port/nonce`, as formatEntityAddr writes it; the type is 0. @throws MalformedInput */
export function parseEntityAddr(text: string): EntityAddr {
  const match = /^(?:\[([0-9a-f:.]+)\]|([0-9.]*)):(\d*)\/(\d+)$/i.exec(text)
  if (!match) throw new MalformedInput('address', text)
  const [, ipv6, ipv4 = '', port = '', nonce = ''] = match
  const sockaddr = Buffer.alloc(ipv6 !== undefined ? 28 : ipv4 !== '' ? 16 : 0)
  if (sockaddr.length > 0) {
    sockaddr.writeUInt16LE(ipv6 === undefined ? IPV4 : IPV6, 0)
    sockaddr.writeUInt16BE(Number(port), 2)
    if (ipv6 === undefined) sockaddr.set(ipv4.split('.').map(Number), 4)
    else sockaddr.set(parseIpv6(ipv6), 8)
  }
  return { type: 0, nonce: Number(nonce), sockaddr }
}

function parseIpv6(text: string): Buffer {
  const address = Buffer.alloc(16)
  const [head = '', tail = ''] = text.split('::')
  const before = head.split(':').filter((group) => group !== '')
  const after = tail.split(':').filter((group) => group !== '')
  before.forEach((group, index) => address.writeUInt16BE(parseInt(group, 16), index * 2))
  after.forEach((group, index) => address.writeUInt16BE(parseInt(group, 16), 16 - (after.length - index) * 2))
  return address
}

/** RFC 5952: the longest run of zero groups is left out. */
function formatIpv6(address: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(index * 2).toString(16))
  const zeroRuns = groups.join(':').match(/\b0(:0)+\b/g) ?? []
  const longest = zeroRuns.reduce((best, run) => (run.length > best.length ? run : best), '')
  if (longest === '') return groups.join(':')
  const at = groups.join(':').indexOf(longest)
  const text = groups.join(':')
  return `${text.slice(0, at).replace(/:$/, '')}::${text.slice(at + longest.length).replace(/^:/, '')}`
}

/** An entity's kind and number (entity_name_t); for a client, `num` is the global id of its connection. */
export const EntityName = fields({
  /** 1 mon, 2 mds, 4 osd, 8 client, 16 mgr */
  type: u8,
  num: s64,
})
export type EntityName = Infer<typeof EntityName>
export const ENTITY_TYPE_CLIENT = 8

/** One instance of an entity (entity_inst_t). */
export const EntityInst = fields({ name: EntityName, addr: EntityAddr })
export type EntityInst = Infer<typeof EntityInst>

const entityTypes: Record<number, string> = { 1: 'mon', 2: 'mds', 4: 'osd', 8: 'client', 16: 'mgr' }

/** `client.4123` */
export function formatEntityName({ type, num }: EntityName): string {
  return `${entityTypes[type] ?? 'unknown'}.${num < 0n ? '?' : num}`
}
