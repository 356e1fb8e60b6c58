import type { Random } from '../../base/random.ts'
import { Encoder } from '../../encoding/encoder.ts'
import type { Engine } from './engine.ts'

const PREFIX = 'auth/'

/** A user of an emulated cluster. What a user may do is kept and shown, and not enforced: the store's own access rules are. */
export interface UserRecord {
  /** base64, as in a keyring */
  readonly key: string
  readonly caps: Readonly<Record<string, string>>
}

export const userKey = (entity: string) => `${PREFIX}${entity}`

/** A new secret in CryptoKey's form: type AES, time of creation, sixteen bytes. */
export function newSecret(random: Random, nowMs: number): string {
  return new Encoder()
    .u16(1)
    .u32(Math.floor(nowMs / 1000))
    .u32(0)
    .u16(16)
    .raw(random.bytes(16))
    .finish()
    .toString('base64')
}

export async function findUser(engine: Engine, entity: string): Promise<UserRecord | undefined> {
  const text = await engine.tableGet(userKey(entity))
  return text === undefined ? undefined : (JSON.parse(text) as UserRecord)
}

export async function listUsers(engine: Engine): Promise<Map<string, UserRecord>> {
  return new Map([...(await engine.tableList(PREFIX))].map(([key, text]) => [key.slice(PREFIX.length), JSON.parse(text) as UserRecord]))
}

/** As a keyring file has it. */
export function keyringText(entity: string, { key, caps }: UserRecord): string {
  return [`[${entity}]`, `\tkey = ${key}`, ...Object.entries(caps).map(([service, cap]) => `\tcaps ${service} = "${cap}"`), ''].join('\n')
}
