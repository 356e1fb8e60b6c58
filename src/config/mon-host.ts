import { ConfigError } from './config-error.ts'

/** What `mon_host` names: monitors of a real cluster, or a cluster of our own in a folder or in Redis. */
export type MonHost =
  | { driver: 'ceph'; addresses: MonAddress[] }
  | { driver: 'folder'; path: string }
  | { driver: 'redis'; url: string }

export interface MonAddress {
  /** messenger protocol; undefined when it is not said, which means both */
  protocol: 'v1' | 'v2' | 'any' | undefined
  host: string
  /** undefined: the protocol's own */
  port: number | undefined
}

/**
 * Reads `[v2:10.0.0.1:3300,v1:10.0.0.1:6789],10.0.0.2 mon3.example.org`, `file:///folder` or `redis://host:port/db`.
 * @throws ConfigError
 */
export function parseMonHost(value: string, where?: string): MonHost {
  const text = value.trim()
  const scheme = /^([a-z]+):\/\//i.exec(text)?.[1]?.toLowerCase()
  if (scheme !== undefined) return parseUrl(scheme, text, where)

  const addresses: MonAddress[] = []
  for (const part of text.replace(/\[((?:v1|v2|any):(?:[^[\]]|\[[^\]]*\])*)\]/gi, (_, inner: string) => ` ${inner} `).split(/[\s,;]+/)) {
    if (part !== '') addresses.push(parseAddress(part, where))
  }
  if (addresses.length === 0) throw new ConfigError('mon_host names no monitor', where)
  return { driver: 'ceph', addresses }
}

function parseUrl(scheme: string, text: string, where: string | undefined): MonHost {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    // Not with the parser's error: that has all of the text, a password in it included.
    throw new ConfigError(`mon_host is no good address: "${text.replace(/\/\/.*@/, '//[redacted]@')}"`, where)
  }
  if (scheme === 'redis' || scheme === 'rediss') return { driver: 'redis', url: text }
  if (scheme === 'file' && url.host === '' && url.pathname !== '/') return { driver: 'folder', path: decodeURIComponent(url.pathname) }
  if (scheme === 'file') throw new ConfigError(`mon_host must name an absolute folder as in file:///some/folder: "${text}"`, where)
  throw new ConfigError(`mon_host has an unknown scheme ${scheme}: expected monitor addresses, redis:// or file://`, where)
}

function parseAddress(part: string, where: string | undefined): MonAddress {
  const match = /^(?:(v1|v2|any):)?(?:\[([0-9a-f:.]+(?:%\w+)?)\]|([^:[\]/]+)|([0-9a-f]*:[0-9a-f:.]*:[0-9a-f.]*))(?::(\d+))?(?:\/\d+)?$/i.exec(part)
  const port = match?.[5] === undefined ? undefined : Number(match[5])
  if (!match || (port !== undefined && port > 65535)) throw new ConfigError(`mon_host has a bad address: "${part}"`, where)
  return { protocol: match[1]?.toLowerCase() as MonAddress['protocol'], host: (match[2] ?? match[3] ?? match[4])!, port }
}
