import { xxhash32, xxhash64 } from '../../base/xxhash.ts'
import { crc32c } from '../../encoding/crc32c.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { ChecksumType } from '../../rados/operation.ts'

const MASK = 0xffffffffffffffffn

function sumOf(type: ChecksumType, data: Buffer, seed: bigint): bigint {
  switch (type) {
    case 'xxhash64':
      return xxhash64(data, seed & MASK)
    case 'xxhash32':
      return BigInt(xxhash32(data, Number(seed & 0xffffffffn)))
    case 'crc32c':
      return BigInt(crc32c(Number(seed & 0xffffffffn), data))
  }
}

/** What `do_checksum` of PrimaryLogPG.cc looks at before it reads: how many bytes, 0 for none. @throws EINVAL */
export function checkedLength(size: number, offset: number, length: number, chunkSize: number): number {
  const invalid = () => new RadosError(Errno.EINVAL, { op: 'checksum' })
  if (chunkSize > 0 && (length === 0 || length % chunkSize !== 0)) throw invalid()
  if (offset === 0 && length === 0) return size
  if (offset >= size) return 0
  const within = Math.min(length, size - offset)
  if (chunkSize > 0 && within % chunkSize !== 0) throw invalid()
  return within
}

/** One sum for each chunk of `data`, each starting from `seed`; `chunkSize` 0 means one for all of it. */
export function checksums(type: ChecksumType, seed: bigint, data: Buffer, chunkSize: number): bigint[] {
  const size = chunkSize === 0 ? data.length : chunkSize
  if (size === 0) return []
  return Array.from({ length: Math.floor(data.length / size) }, (_, index) => sumOf(type, data.subarray(index * size, (index + 1) * size), seed))
}
