/** Types of options as Ceph's common/options.h knows them. */
export type OptionType = 'bool' | 'int' | 'uint' | 'float' | 'size' | 'secs' | 'millisecs' | 'str' | 'uuid' | 'addr'

export type ValueOf<T extends OptionType> = T extends 'bool' ? boolean : T extends 'str' | 'uuid' | 'addr' ? string : number

export type Parsed = { ok: true; value: string | number | boolean } | { ok: false; problem: string }

const si: Record<string, number> = { '': 1, K: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 }
const iec: Record<string, number> = { '': 1, B: 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40, P: 2 ** 50, E: 2 ** 60 }

const durationSeconds: Record<string, number> = {
  s: 1, sec: 1, second: 1, seconds: 1,
  m: 60, min: 60, minute: 60, minutes: 60,
  h: 3600, hr: 3600, hour: 3600, hours: 3600,
  d: 86400, day: 86400, days: 86400,
  w: 604800, week: 604800, weeks: 604800,
  mo: 2592000, month: 2592000, months: 2592000,
  y: 31536000, yr: 31536000, year: 31536000, years: 31536000,
} // prettier-ignore

const good = (value: string | number | boolean): Parsed => ({ ok: true, value })
const bad = (problem: string): Parsed => ({ ok: false, problem })

function integer(digits: string, factor: number): Parsed {
  const value = Number(digits) * factor
  return Number.isSafeInteger(value) ? good(value) : bad('is out of range')
}

/** Reads a value as Ceph's Option::parse_value does: K/M/G are powers of 1000 for numbers and of 1024 for sizes; `2h30m` for durations. */
export function parseValue(type: OptionType, text: string): Parsed {
  switch (type) {
    case 'bool':
      if (/^true$/i.test(text)) return good(true)
      if (/^false$/i.test(text)) return good(false)
      return /^[+-]?\d+$/.test(text) ? good(Number(text) !== 0) : bad('is neither true nor false')
    case 'int':
    case 'uint': {
      const match = /^\s*([+-]?\d+)\s*([KMGTPE]?)$/.exec(text)
      if (!match) return bad('is not a whole number (K, M, G … may follow)')
      const parsed = integer(match[1]!, si[match[2]!]!)
      return parsed.ok && type === 'uint' && (parsed.value as number) < 0 ? bad('must not be negative') : parsed
    }
    case 'size': {
      const match = /^\s*(\d+)\s*(?:([KMGTPE])[iB]?|B)?$/.exec(text)
      return match ? integer(match[1]!, iec[match[2] ?? '']!) : bad('is not a size in bytes (K, M, G … may follow)')
    }
    case 'float': {
      const value = Number(text)
      return text.trim() === '' || !Number.isFinite(value) || /^\s*0[xob]/i.test(text) ? bad('is not a number') : good(value)
    }
    case 'secs':
      return duration(text)
    case 'millisecs':
      return /^\d+$/.test(text) ? integer(text, 1) : bad('is not a whole number of milliseconds')
    case 'uuid':
      return /^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$/i.test(text) ? good(text) : bad('is not a UUID')
    case 'str':
    case 'addr':
      return good(text)
  }
}

function duration(text: string): Parsed {
  const problem = 'is not a duration such as 30, 30s, 5m or 2h30m'
  if (/^\s*\d+\s*$/.test(text)) return integer(text.trim(), 1)
  if (!/^\s*(\d+\s*[a-z]+\s*)+$/i.test(text)) return bad(problem)
  let seconds = 0
  for (const [, digits, unit] of text.matchAll(/(\d+)\s*([a-z]+)/gi)) {
    const factor = durationSeconds[unit!.toLowerCase()]
    if (factor === undefined) return bad(problem)
    seconds += Number(digits) * factor
  }
  return Number.isSafeInteger(seconds) ? good(seconds) : bad('is out of range')
}

/** A value as Ceph prints it (`--show-config-value`, `config show`): floats with six places. */
export function formatValue(type: OptionType, value: string | number | boolean): string {
  return type === 'float' ? (value as number).toFixed(6) : String(value)
}
