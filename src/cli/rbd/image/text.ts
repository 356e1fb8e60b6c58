/* How Ceph prints sizes and times, and reads sizes. */

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']

/** e.g. `10 MiB`, `1.5 GiB`: at most seven characters unless it divides evenly (include/types.h, byte_u_t). */
export function byteText(bytes: number): string {
  let index = 0
  let whole = Math.floor(bytes)
  for (; whole >= 1024 && index < units.length - 1; index++) whole = Math.floor(whole / 1024)
  const divisor = 1024 ** index
  if (index === 0 || bytes % divisor === 0) return `${whole} ${units[index]}`
  for (let precision = 2; ; precision--) {
    const text = `${(bytes / divisor).toFixed(precision)} ${units[index]}`
    if (text.length <= 7 || precision === 0) return text
  }
}

const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** As C's ctime, in local time. */
export function timeText(seconds: number): string {
  const date = new Date(seconds * 1000)
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':')
  return `${days[date.getDay()]} ${months[date.getMonth()]} ${String(date.getDate()).padStart(2)} ${clock} ${date.getFullYear()}`
}

const powers = 'BKMGTPE'

/** Bytes of e.g. `4096`, `4K`, `4Ki`; undefined for anything else (common/strtol.cc, strict_iecstrtoll). */
export function parseBytes(text: string): number | undefined {
  const match = /^\+?(\d+)(?:(B)|([KMGTPE])i?)?$/.exec(text)
  if (!match) return undefined
  const value = Number(match[1]) * 1024 ** powers.indexOf(match[2] ?? match[3] ?? 'B')
  return value < 2 ** 63 ? value : undefined
}

/** As {@link parseBytes}, but a number without unit is of mebibytes. */
export function parseImageSize(text: string): number | undefined {
  const bytes = parseBytes(text)
  return bytes !== undefined && /\d$/.test(text) ? bytes * 2 ** 20 : bytes
}

export function parseUnsigned(text: string): bigint | undefined {
  if (!/^[-+]?\d+$/.test(text)) return undefined
  return BigInt.asUintN(64, BigInt(text.replace(/^\+/, '')))
}

export function parseCount(text: string): number | undefined {
  const value = parseUnsigned(text)
  return value === undefined ? undefined : Number(value)
}

/** A single-precision number as C++ reads it (boost::lexical_cast<float>). */
export function parseFloatingPoint(text: string): number | undefined {
  if (/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text)) return Math.fround(Number(text))
  const word = /^([-+]?)(inf|infinity|nan)$/i.exec(text)
  if (!word) return undefined
  return word[2]!.toLowerCase() === 'nan' ? Number.NaN : word[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
}

/** As C++ streams print a double: six significant digits. */
export function doubleText(value: number): string {
  if (value === 0) return '0'
  const exponent = Math.floor(Math.log10(Math.abs(value)))
  if (exponent < -4 || exponent >= 6) return value.toExponential(5).replace(/\.?0+e/, 'e').replace(/e([+-])(\d)$/, 'e$10$2')
  const text = value.toPrecision(6)
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}
