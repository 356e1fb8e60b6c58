import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { optionTable, type OptionDefinition } from '../config/option-table.ts'
import { parseValue } from '../config/option-type.ts'
import type { Options } from '../config/options.ts'
import type { Cluster } from '../rados/cluster.ts'
import { Errno, isErrno } from '../rados/errors.ts'

/** The monitors push changes to every connection; this is how often we look at what it has. Nothing goes over the network. */
const lookIntervalMs = 2_000

/** What a connection knows of them; the rest is of the process, and set before there is one. */
const central = Object.entries<OptionDefinition>(optionTable).filter(([name, { own }]) => !own && /^(rbd|rados|debug)_/.test(name))

/**
 * The values that the monitors' central config gives this client, as the connection sees them after Ceph's own matching of sections and
 * masks. Only options without a stronger source are taken: for the others the connection shows that one.
 */
export function centralValues(cluster: Pick<Cluster, 'option'>, options: Options): Map<string, string> {
  const values = new Map<string, string>()
  for (const [name, { type }] of central) {
    const source = options.source(name)
    if (source !== 'default' && source !== 'mon') continue
    const text = cluster.option(name)
    if (text === undefined) continue
    const seen = parseValue(type, text)
    const byDefault = parseValue(type, options.settings(name)[0]!.text)
    if (seen.ok && byDefault.ok && seen.value === byDefault.value) continue
    values.set(name, text)
  }
  return values
}

/**
 * Keeps the options in step with the central config, as the connection in use sees it. Returns the function that ends it.
 * @param connection asked each time: connections come and go, and one that is closed says nothing
 */
export function followCentralConfig(connection: () => Pick<Cluster, 'option'> | undefined, options: Options, clock: Clock, log: Log): () => void {
  let cancel: () => void
  const look = () => {
    cancel = clock.setTimer(lookIntervalMs, look)
    const cluster = connection()
    try {
      if (cluster) options.applyCentral(centralValues(cluster, options), (error) => log.warn({ error }, 'ignoring a value of the central config'))
    } catch (error) {
      if (!isErrno(error, Errno.ESHUTDOWN)) throw error
    }
  }
  look()
  return () => cancel()
}
