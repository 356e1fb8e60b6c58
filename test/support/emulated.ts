import type { Clock } from '../../src/base/clock.ts'
import type { Random } from '../../src/base/random.ts'
import { journalMethods } from '../../src/cls/journal/server.ts'
import { lockMethods } from '../../src/cls/lock/server.ts'
import { rbdMethods } from '../../src/cls/rbd/server.ts'
import { EmulatorDriver } from '../../src/drivers/emulator/driver.ts'
import { ClassRegistry, type ServerMethod } from '../../src/objclass/registry.ts'
import type { ContractFixture } from '../contract/rados.suite.ts'

/** What `option` answers without configuration. */
const DEFAULTS: Readonly<Record<string, string>> = { rbd_default_order: '22', rbd_default_features: '61' }

/** A driver for one emulated cluster, without configuration files: `key` is client.admin's. */
export function emulatorFor(
  monHost: string,
  options: { key?: () => string | undefined; clock?: Clock; random?: Random; methods?: Iterable<ServerMethod> } = {},
): EmulatorDriver {
  const { key, clock, random, methods = [...rbdMethods, ...lockMethods, ...journalMethods] } = options
  return new EmulatorDriver({
    classes: new ClassRegistry(methods),
    settings: () => ({
      monHost,
      key: key?.(),
      option: (name) => (Object.hasOwn(DEFAULTS, name) ? { value: DEFAULTS[name]!, given: false } : undefined),
    }),
    ...(clock && { clock }),
    ...(random && { random }),
  })
}

/** A new cluster at `monHost` with one pool, for the contract suites. */
export async function emulatedFixture(monHost: string, close: () => Promise<void> = () => Promise.resolve()): Promise<ContractFixture> {
  const pool = 'contract'
  const keys: string[] = []
  const driver = emulatorFor(monHost, { key: () => keys[0] })
  keys.push((await driver.create({ monHost })).adminKey)
  const connect = () => driver.connect({ name: 'contract', entity: 'client.admin', options: {} })
  const keep = await connect()
  await keep.monCommand({ prefix: 'osd pool create', pool, pg_num: 4 })
  return {
    pool,
    connect,
    async close() {
      await keep.close()
      await close()
    },
  }
}

let memories = 0

export function memoryFixture(): Promise<ContractFixture> {
  return emulatedFixture(`memory:contract-${++memories}`)
}
