import { describe, expect, test } from 'vitest'
import { vectors } from '../../test/support/vectors.ts'
import { crc32c } from '../encoding/crc32c.ts'
import { ENTRY_OVERHEAD, encodeEntry, parseEntry } from './entry.ts'

test('crc32c', () => {
  expect((crc32c(0xffffffff, Buffer.from('123456789')) ^ 0xffffffff) >>> 0).toBe(0xe3069283)
  const data = Buffer.from(Array.from({ length: 1000 }, (_, index) => (index * 7) & 0xff))
  for (const split of [0, 1, 7, 8, 9, 500, 1000]) expect(crc32c(crc32c(0, data, 0, split), data, split)).toBe(crc32c(0, data))
})

describe.each(vectors('journal::Entry'))('vector $name', ({ bytes }) => {
  test('is read and written alike', () => {
    const parsed = parseEntry(bytes, 0, 0)
    if (parsed.type !== 'entry') throw new Error(`parsed as ${parsed.type}`)
    expect(parsed.length).toBe(bytes.length)
    expect(encodeEntry(parsed.entry)).toEqual(bytes)
  })

  test('is partial while a byte is missing', () => {
    for (let length = 1; length < bytes.length; length++) expect(parseEntry(bytes.subarray(0, length), 0, 0).type).toBe('partial')
  })

  test('is corrupt with any bit changed', () => {
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes)
      damaged[at]! ^= 0x40
      // a longer length makes it look unfinished
      expect(['corrupt', 'partial']).toContain(parseEntry(damaged, 0, 0).type)
    }
  })
})

test('an entry with a payload', () => {
  const entry = { tagTid: 7n, entryTid: 2n ** 40n, data: Buffer.from('payload') }
  const bytes = encodeEntry(entry)
  expect(bytes.length).toBe(ENTRY_OVERHEAD + 7)
  expect(parseEntry(Buffer.concat([Buffer.from('xx'), bytes, bytes]), 2, 0)).toEqual({ type: 'entry', entry, length: bytes.length })
})

test('padding ends at a multiple of eight bytes of the object', () => {
  const next = encodeEntry({ tagTid: 1n, entryTid: 1n, data: Buffer.alloc(0) })
  expect(parseEntry(Buffer.concat([Buffer.alloc(13), next]), 0, 3)).toEqual({ type: 'padding', length: 13 })
  expect(parseEntry(Buffer.concat([Buffer.alloc(13), next]), 0, 4)).toMatchObject({ type: 'corrupt' })
  expect(parseEntry(Buffer.alloc(5), 0, 0)).toEqual({ type: 'padding', length: 5 })
})
