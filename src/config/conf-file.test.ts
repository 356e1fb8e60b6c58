import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ConfFile, sectionsFor } from './conf-file.ts'
import { ConfigError } from './config-error.ts'

function valueOf(line: string): string | undefined {
  return ConfFile.parse(`[global]\n${line}\n`, 'x.conf').find(['global'], 'a')?.value
}

describe('ConfFile', () => {
  // Values as `ceph-conf --lookup` of Ceph 16.2.15 shows them.
  it.each([
    ['a = x\\#y', 'x#y'],
    ['a = x#y', 'x'],
    ['a = x ;y', 'x'],
    ['a = x \\\\ y ', 'x \\ y'],
    ['a = "x  y" ; c', 'x  y'],
    ["a = 's q'", 's q'],
    ['a=', ''],
    ['a=x\\ny', 'xny'],
    ['a = x "y" z', 'x "y" z'],
    ['a = "x \\; y"', 'x ; y'],
    ['a = "b\\"c"', 'b"c'],
    ['a = one \\\n   two', 'one    two'],
    ['  a\t=\tb = c', 'b = c'],
    ['a = [v2:127.0.0.1:1,v1:127.0.0.1:2]', '[v2:127.0.0.1:1,v1:127.0.0.1:2]'],
    ['a = first\na = last', 'last'],
  ])('reads %j', (line, value) => {
    expect(valueOf(line)).toBe(value)
  })

  it('takes spaces, dashes and underscores in names for the same', () => {
    const file = ConfFile.parse('[global]\n rbd mirror-journal_poll  age = 1\n', 'x.conf')
    expect(file.find(['global'], 'rbd_mirror_journal_poll_age')).toEqual({ value: '1', line: 2 })
  })

  it('prefers the section of the entity, then its type, then global', () => {
    const file = ConfFile.parse('[client.a]\nx = 1\n[client]\nx = 2\ny = 2\n[global]\nx = 3\ny = 3\nz = 3\n', 'x.conf')
    const found = ['x', 'y', 'z', 'w'].map((name) => file.find(sectionsFor('client.a'), name)?.value)
    expect(found).toEqual(['1', '2', '3', undefined])
  })

  it('joins sections of the same name', () => {
    const file = ConfFile.parse('[global]\na = 1\n[client]\n[global]\nb = 2\n', 'x.conf')
    expect([...file.section('global')].map(([name, { value }]) => [name, value])).toEqual([
      ['a', '1'],
      ['b', '2'],
    ])
  })

  it('counts continued lines', () => {
    expect(ConfFile.parse('[global]\na = 1 \\\n2\nb = 3\n', 'x.conf').find(['global'], 'b')?.line).toBe(4)
  })

  it.each([
    ['[global\na = 1', 'x.conf:1: '],
    ['[global] junk\n', 'x.conf:1: '],
    ['a = 1\n[global]\n', 'x.conf:1: '],
    ['[global]\n\njust words\n', 'x.conf:3: '],
    ['[global]\n = 2\n', 'x.conf:2: '],
    ['[global]\na = "no end\n', 'x.conf:2: '],
    ['[global]\na = "x" y\n', 'x.conf:2: '],
  ])('says where %j is wrong', (text, where) => {
    expect(() => ConfFile.parse(text, 'x.conf')).toThrow(ConfigError)
    expect(() => ConfFile.parse(text, 'x.conf')).toThrow(where)
  })

  it('never fails with anything but a ConfigError', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('[', ']', 'a', '=', '"', "'", '\\', '\n', '#', ';', ' ', '$', '\r'), { maxLength: 40 }), (parts) => {
        try {
          ConfFile.parse(`[global]\n${parts.join('')}`, 'x.conf')
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError)
        }
      }),
    )
  })
})
