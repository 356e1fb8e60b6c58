/** What a site hands to another so that it can become its peer (librbd/api/Mirror.cc, peer_bootstrap_create). The key is a secret. */
export interface BootstrapToken {
  fsid: string
  /** without `client.` */
  clientId: string
  key: string
  monHost: string
}

export function formatToken({ fsid, clientId, key, monHost }: BootstrapToken): string {
  const json = `{"fsid":${JSON.stringify(fsid)},"client_id":${JSON.stringify(clientId)},"key":${JSON.stringify(key)},"mon_host":${JSON.stringify(monHost)}}`
  return Buffer.from(json).toString('base64')
}

export type ParsedToken = { type: 'token'; token: BootstrapToken } | { type: 'malformed'; reason: string }

/** Blanks and line ends around and within the text do not matter. */
export function parseToken(text: string): ParsedToken {
  const base64 = text.replace(/\s+/g, '')
  if (base64 === '' || base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) return { type: 'malformed', reason: 'failed to decode base64' }
  const token = fromJson(Buffer.from(base64, 'base64').toString())
  return token ? { type: 'token', token } : { type: 'malformed', reason: 'invalid bootstrap token JSON received' }
}

function fromJson(text: string): BootstrapToken | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined // no JSON
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { fsid, client_id: clientId, key, mon_host: monHost } = value as Record<string, unknown>
  if (typeof fsid !== 'string' || typeof clientId !== 'string' || typeof key !== 'string' || typeof monHost !== 'string') return undefined
  return { fsid, clientId, key, monHost }
}
