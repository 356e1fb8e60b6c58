import { ConfigError } from '../config/config-error.ts'
import { findKey } from '../config/keyring.ts'
import { parseMonHost } from '../config/mon-host.ts'
import { Options } from '../config/options.ts'
import { readConfFile } from '../config/search-path.ts'
import type { EmulatorDriver, EmulatorSettings } from '../drivers/emulator/driver.ts'
import type { ClusterDriver, ConnectOptions } from '../rados/cluster.ts'

/** What librados knows of options that are not in our own table, with Ceph's defaults: what an image is made and locked with. */
const LIBRARY_DEFAULTS: Readonly<Record<string, string>> = {
  rbd_default_pool: 'rbd',
  rbd_default_format: '2',
  rbd_default_order: '22',
  rbd_default_features: '61',
  rbd_default_stripe_unit: '0',
  rbd_default_stripe_count: '0',
  rbd_default_data_pool: '',
  rbd_journal_order: '24',
  rbd_journal_splay_width: '4',
  rbd_journal_pool: '',
  rbd_blocklist_on_break_lock: 'true',
  rbd_blocklist_expire_seconds: '0',
}

/** The driver for what `mon_host` names. @throws ConfigError when it names nothing */
export async function driverFor(monHost: string): Promise<ClusterDriver> {
  if (parseMonHost(monHost).driver !== 'ceph') return emulator()
  const { libradosDriver } = await import('../drivers/librados/driver.ts')
  return libradosDriver
}

let emulatorDriver: Promise<EmulatorDriver> | undefined

/** The one driver of this process for clusters in folders and in Redis; it also creates such clusters. */
export function emulator(): Promise<EmulatorDriver> {
  return (emulatorDriver ??= loadEmulator())
}

async function loadEmulator(): Promise<EmulatorDriver> {
  const [{ EmulatorDriver }, { ClassRegistry }, { rbdMethods }, { lockMethods }, { journalMethods }] = await Promise.all([
    import('../drivers/emulator/driver.ts'),
    import('../objclass/registry.ts'),
    import('../cls/rbd/server.ts'),
    import('../cls/lock/server.ts'),
    import('../cls/journal/server.ts'),
  ])
  return new EmulatorDriver({ classes: new ClassRegistry([...rbdMethods, ...lockMethods, ...journalMethods]), settings: settingsOf })
}

/** What librados would make of these options: the configuration file, and what wins over it. @throws ConfigError */
function settingsOf({ name, entity, confFile, options }: ConnectOptions): EmulatorSettings {
  const own = new Options(name, entity)
  if (confFile !== undefined) own.applyFile(readConfFile(confFile))
  for (const [option, text] of Object.entries(options)) own.set(option, text, 'override')
  const monHost = own.get('mon_host')
  if (monHost === '') throw new ConfigError('mon_host is not set: where is the cluster?', confFile)
  return {
    monHost: monHost.trim(),
    key: findKey(own)?.key,
    option(option) {
      const value = own.text(option) ?? LIBRARY_DEFAULTS[option]
      return value === undefined ? undefined : { value, given: own.source(option) !== undefined && own.source(option) !== 'default' }
    },
  }
}
