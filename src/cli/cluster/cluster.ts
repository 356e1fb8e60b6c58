import { ConfigError, UsageError } from '../../config/config-error.ts'
import type { Configuration } from '../../config/load-configuration.ts'
import { parseMonHost } from '../../config/mon-host.ts'
import { Connections } from '../../daemon/connect.ts'
import type { Cluster } from '../../rados/cluster.ts'
import { errnoText } from '../../rados/errno-text.ts'
import { RadosError } from '../../rados/errors.ts'
import { takeOwnOptions, type Taken } from '../own-options.ts'
import { configurationFrom, connectLocal } from '../subcommand.ts'
import { createCluster, keyringPath, writeKeyring } from './create-cluster.ts'

const usage = `usage: rbd-mirror cluster create NAME [--mon-host URL] [--conf-dir DIR] [--data-dir DIR]
       rbd-mirror cluster pool create|rm POOL [--cluster NAME]
       rbd-mirror cluster pool ls [--cluster NAME]
       rbd-mirror cluster user create ENTITY [--mon CAPS] [--osd CAPS] [--data-dir DIR] [--cluster NAME]
       rbd-mirror cluster status [--cluster NAME]

Emulated clusters, which keep everything in a folder or in Redis: what "ceph" is for real ones.

  create         makes a cluster and NAME.conf, with the keyring of client.admin
    --mon-host   file:///FOLDER (default: DATA-DIR/NAME) or redis://HOST:PORT/DB
    --conf-dir   where NAME.conf goes (default: the current directory, where --cluster NAME finds it)
    --data-dir   where keyrings, sockets, logs and folders of clusters go (default: ./clusters)
  pool           makes, removes or lists pools; "rbd pool init" comes after create
  user create    makes a user such as client.rbd-mirror.b, and its keyring
  --cluster, --id, --conf, --keyring …   as for all programs of Ceph

exit status: 0, 1 it failed, 2 misused
`

const exitFailure = 1

/** `rbd-mirror cluster`. Rejects with ConfigError or UsageError. */
export async function cluster(args: readonly string[]): Promise<number> {
  const own = takeOwnOptions(args, { 'mon-host': 'value', 'conf-dir': 'value', 'data-dir': 'value', mon: 'value', osd: 'value', help: 'flag' })
  const words = own.rest.filter((_, index) => !isOption(own.rest, index))
  if (own.flags.has('help') || words.length === 0) {
    process.stdout.write(usage)
    return own.flags.has('help') ? 0 : 2
  }
  const [noun, verb, name, ...more] = words
  const command = [noun, ...(noun === 'create' || noun === 'status' ? [] : [verb])].join(' ')
  const act = commands[command]
  if (!act) throw new UsageError(`rbd-mirror cluster has no command "${command}"`)
  const operands = noun === 'create' || noun === 'status' ? words.slice(1) : [name, ...more].filter((word) => word !== undefined)
  if (operands.length !== act.operands) throw new UsageError(`rbd-mirror cluster ${command} takes ${act.operands === 0 ? 'no name' : 'one name'}`)
  try {
    await act.run(operands[0] ?? '', own, own.rest.filter((_, index) => isOption(own.rest, index)))
    return 0
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    const cause = error.cause instanceof Error ? `: ${error.cause.message}` : ''
    process.stderr.write(`${error.message}: ${errnoText(error.errno)}${cause}\n`)
    return exitFailure
  }
}

interface ClusterCommand {
  operands: 0 | 1
  run(name: string, own: Taken, rest: readonly string[]): Promise<void>
}

const commands: Readonly<Record<string, ClusterCommand>> = {
  create: {
    operands: 1,
    async run(name, { values }) {
      const plan = { name, monHost: values.get('mon-host'), confFolder: values.get('conf-dir') ?? '.', dataFolder: dataFolderOf(values) }
      const { conf, keyring } = await createCluster(plan)
      process.stdout.write(`created cluster ${name}: ${conf}, ${keyring}\n`)
    },
  },
  'pool create': { operands: 1, run: (pool, _, rest) => withCluster(rest, (connected) => command(connected, { prefix: 'osd pool create', pool })) },
  'pool rm': {
    operands: 1,
    run: (pool, _, rest) =>
      withCluster(rest, (connected) => command(connected, { prefix: 'osd pool rm', pool, pool2: pool, yes_i_really_really_mean_it: true })),
  },
  'pool ls': {
    operands: 0,
    run: (_, __, rest) =>
      withCluster(rest, async (connected) => {
        for (const { name } of await connected.listPools()) process.stdout.write(`${name}\n`)
      }),
  },
  'user create': {
    operands: 1,
    run: (entity, { values }, rest) =>
      withCluster(rest, async (connected, { options }) => {
        if (!/^[a-z]+\.\S+$/.test(entity)) throw new UsageError(`a user has a name such as client.rbd-mirror.b, not "${entity}"`)
        const caps = ['mon', values.get('mon') ?? 'profile rbd-mirror', 'osd', values.get('osd') ?? 'profile rbd']
        const path = keyringPath(dataFolderOf(values), options.cluster, entity)
        const keyring = await answerOf(connected, { prefix: 'auth get-or-create', entity, caps })
        writeKeyring(path, keyring)
        process.stdout.write(`created user ${entity}: ${path}\n`)
      }),
  },
  status: {
    operands: 0,
    run: (_, __, rest) => withCluster(rest, async (connected) => void process.stdout.write(`${await answerOf(connected, { prefix: 'status' })}\n`)),
  },
}

const dataFolderOf = (values: ReadonlyMap<string, string>): string => values.get('data-dir') ?? 'clusters'

/** Ceph's own options, with the value behind them. */
function isOption(words: readonly string[], index: number): boolean {
  const word = words[index]!
  if (word.startsWith('-')) return true
  const before = words[index - 1]
  return before !== undefined && /^(--?[A-Za-z][\w-]*)$/.test(before) && !before.includes('=')
}

async function withCluster(rest: readonly string[], act: (cluster: Cluster, configuration: Configuration) => Promise<void>): Promise<void> {
  const configuration = configurationFrom(rest)
  const monHost = configuration.options.get('mon_host')
  if (monHost !== '' && parseMonHost(monHost).driver === 'ceph') {
    throw new ConfigError(`cluster ${configuration.options.cluster} is one of Ceph: use "ceph" for it`, configuration.confFile)
  }
  const connected = await connectLocal(new Connections(configuration), configuration, new AbortController().signal)
  try {
    await act(connected, configuration)
  } finally {
    await connected.close()
  }
}

async function command(connected: Cluster, words: Record<string, unknown>): Promise<void> {
  const { code, status } = await connected.monCommand(words)
  if (code !== 0) throw new RadosError(code, { op: String(words['prefix']), cluster: connected.name, cause: new Error(status) })
  if (status !== '') process.stdout.write(`${status}\n`)
}

async function answerOf(connected: Cluster, words: Record<string, unknown>): Promise<string> {
  const { code, output, status } = await connected.monCommand(words)
  if (code !== 0) throw new RadosError(code, { op: String(words['prefix']), cluster: connected.name, cause: new Error(status) })
  return output.toString()
}
