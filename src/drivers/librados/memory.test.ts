import { describe, expect, test } from 'vitest'
import { addressOf, Arena, copyFrom, cString, dictionary, PointerTable, readNumber, returnArena, stringAt, takeArena } from './memory.ts'

describe('native memory', () => {
  test('copies what is at an address', () => {
    const source = Buffer.from('some bytes\0and more')
    const copy = copyFrom(addressOf(source), 4)
    source[0] = 0
    expect(copy.toString()).toBe('some')
    expect(copyFrom(0, 0)).toEqual(Buffer.alloc(0))
    expect(stringAt(addressOf(source) + 5)).toBe('bytes')
  })

  test('an address is that of a view, not of its buffer', () => {
    const whole = Buffer.from('0123456789')
    expect(addressOf(whole.subarray(3)) - addressOf(whole)).toBe(3)
  })

  test('cells of an arena are zeroed when it is used again', () => {
    const arena = takeArena(8)
    const cell = arena.take()
    arena.setU64(cell, 2 ** 40 + 7)
    expect(arena.number(cell)).toBe(2 ** 40 + 7)
    expect(arena.u64(cell)).toBe(2n ** 40n + 7n)
    expect(arena.u8(cell)).toBe(7)
    expect(arena.i32(cell)).toBe(7)
    expect(copyFrom(arena.at(cell), 8)).toEqual(arena.memory.subarray(cell, cell + 8))
    returnArena(arena)
    const again = takeArena(8)
    expect(again).toBe(arena)
    expect(again.number(again.take())).toBe(0)
  })

  test('an arena is as large as asked for', () => {
    expect(takeArena(1000).memory.length).toBe(8000)
    expect(new Arena(3).memory.length).toBe(24)
  })

  test('tables point at their items', () => {
    const items = ['first', '', 'ünï'].map((text) => Buffer.from(text))
    const table = new PointerTable(items)
    const read = items.map((_, index) => copyFrom(readNumber(table.pointers, index * 8), readNumber(table.lengths, index * 8)))
    expect(read).toEqual(items)
    table.release()
    expect(new PointerTable([]).pointers.length).toBeGreaterThan(0)
  })

  test('dictionaries', () => {
    expect(dictionary({ a: '1', empty: '' }).toString()).toBe('a\x001\0empty\0\0\0')
    expect(dictionary({}).toString()).toBe('\0')
    expect(dictionary({ a: 'x\0y' }).toString()).toBe('a\0xy\0\0')
  })

  test('C strings', () => {
    expect(cString(Buffer.from('abc\0def'))).toBe('abc')
    expect(cString(Buffer.from('abc'))).toBe('abc')
  })
})
