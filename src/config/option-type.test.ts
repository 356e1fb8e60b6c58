import { describe, expect, it } from 'vitest'
import { formatValue, parseValue, type OptionType } from './option-type.ts'

function parsed(type: OptionType, text: string): unknown {
  const result = parseValue(type, text)
  return result.ok ? result.value : 'refused'
}

// As the stock daemon of Ceph 16.2.15 takes them (--show-config-value).
describe('parseValue', () => {
  it.each<[OptionType, string, unknown]>([
    ['uint', '5', 5],
    ['uint', '1K', 1000],
    ['uint', '1M', 1_000_000],
    ['uint', '1Ki', 'refused'],
    ['uint', '1KB', 'refused'],
    ['uint', '1k', 'refused'],
    ['uint', '0x10', 'refused'],
    ['uint', '-1', 'refused'],
    ['uint', '1.5', 'refused'],
    ['uint', '', 'refused'],
    ['uint', '99999999999999999999', 'refused'],
    ['int', '-3', -3],
    ['size', '5', 5],
    ['size', '1K', 1024],
    ['size', '1Ki', 1024],
    ['size', '1KB', 1024],
    ['size', '4G', 4 * 2 ** 30],
    ['size', '1KiB', 'refused'],
    ['size', '4_G', 'refused'],
    ['size', '1.5G', 'refused'],
    ['size', '-1', 'refused'],
    ['float', '5', 5],
    ['float', '1.5', 1.5],
    ['float', '.5', 0.5],
    ['float', 'abc', 'refused'],
    ['float', '5s', 'refused'],
    ['float', '', 'refused'],
    ['float', 'Infinity', 'refused'],
    ['bool', 'true', true],
    ['bool', 'False', false],
    ['bool', '1', true],
    ['bool', '0', false],
    ['bool', 'yes', 'refused'],
    ['bool', '', 'refused'],
    ['secs', '5', 5],
    ['secs', '5s', 5],
    ['secs', '1m', 60],
    ['secs', '1 hour', 3600],
    ['secs', '2h30m', 9000],
    ['secs', 'abc', 'refused'],
    ['secs', '5 parsecs', 'refused'],
    ['uuid', '7409a7cd-6c59-44d8-9012-43e1c1555abc', '7409a7cd-6c59-44d8-9012-43e1c1555abc'],
    ['uuid', 'x', 'refused'],
    ['str', ' any thing ', ' any thing '],
  ])('%s %j', (type, text, value) => {
    expect(parsed(type, text)).toBe(value)
  })
})

describe('formatValue', () => {
  it.each<[OptionType, string | number | boolean, string]>([
    ['float', 5, '5.000000'],
    ['float', 0.15, '0.150000'],
    ['uint', 9, '9'],
    ['size', 2147483648, '2147483648'],
    ['bool', true, 'true'],
    ['str', '', ''],
  ])('%s %j', (type, value, text) => {
    expect(formatValue(type, value)).toBe(text)
  })
})
