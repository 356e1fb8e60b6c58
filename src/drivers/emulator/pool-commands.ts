import { Errno } from '../../rados/errors.ts'
import { shardsOf, type PoolRecord } from './cluster-map.ts'
import { CommandFailure, type Answer, type Command, type CommandContext } from './command.ts'

const DEFAULT_PG_NUM = 8
/** Shards of a pool: more bring nothing but longer listings. */
const MAX_PG_NUM = 256
const DEFAULT_BLOCKLIST_SECONDS = 3600

/** What changes or shows the cluster's map. */
export const poolCommands: Readonly<Record<string, Command>> = {
  'osd lspools': ({ cluster, json }) => {
    const { pools } = cluster.host.map.current
    return { output: json ? pools.map(({ id, name }) => ({ poolnum: id, poolname: name })) : pools.map(({ id, name }) => `${id} ${name}\n`).join('') }
  },
  'osd pool ls': ({ cluster, json }) => {
    const names = cluster.host.map.current.pools.map(({ name }) => name)
    return { output: json ? names : names.map((name) => `${name}\n`).join('') }
  },
  'osd pool create': createPool,
  'osd pool delete': removePool,
  'osd pool rm': removePool,
  'osd pool rename': async (context) => {
    const [from, to] = [context.text('srcpool'), context.text('destpool')]
    await context.cluster.changeMap('rename a pool', (map) =>
      map.update((before) => {
        if (before.pools.some(({ name }) => name === to)) throw new CommandFailure(Errno.EEXIST, `pool '${to}' already exists`)
        const pool = named(before.pools, from)
        return { map: { ...before, pools: before.pools.map((one) => (one === pool ? { ...one, name: to } : one)) }, result: undefined }
      }),
    )
    return { status: `pool '${from}' renamed to '${to}'` }
  },
  'osd pool application enable': async (context) => {
    const application = context.text('app')
    await changePool(context, (pool) => ({ ...pool, applications: { ...pool.applications, [application]: pool.applications[application] ?? {} } }))
    return { status: `enabled application '${application}' on pool '${context.text('pool')}'` }
  },
  'osd pool application get': (context) => {
    const name = context.optional('pool')
    const { pools } = context.cluster.host.map.current
    return { output: name === undefined ? Object.fromEntries(pools.map((pool) => [pool.name, pool.applications])) : named(pools, name).applications }
  },
  'osd pool get': (context) => {
    const pool = named(context.cluster.host.map.current.pools, context.text('pool'))
    const values: Record<string, number> = { size: 1, min_size: 1, pg_num: pool.pgNum, pgp_num: pool.pgNum }
    const name = context.text('var')
    if (!Object.hasOwn(values, name)) throw new CommandFailure(Errno.EINVAL, `invalid variable: '${name}'`)
    return { output: context.json ? { pool: pool.name, pool_id: pool.id, [name]: values[name] } : `${name}: ${values[name]}` }
  },
  'osd dump': ({ cluster }) => {
    const { epoch, pools, blocklist } = cluster.host.map.current
    return {
      output: {
        epoch,
        fsid: cluster.fsid,
        pools: pools.map((pool) => ({ pool: pool.id, pool_name: pool.name, pg_num: pool.pgNum, snap_seq: pool.snapSeq, application_metadata: pool.applications })),
        blocklist: Object.fromEntries(Object.entries(blocklist).map(([address, until]) => [address, new Date(until).toISOString()])),
      },
    }
  },
  'osd blocklist': blocklist,
  'osd blacklist': blocklist,
  'osd blocklist ls': (context) => listBlocklist(context),
}

function named(pools: readonly PoolRecord[], name: string): PoolRecord {
  const pool = pools.find((one) => one.name === name)
  if (!pool) throw new CommandFailure(Errno.ENOENT, `unrecognized pool '${name}'`)
  return pool
}

async function changePool(context: CommandContext, change: (pool: PoolRecord) => PoolRecord): Promise<void> {
  const name = context.text('pool')
  await context.cluster.changeMap('change a pool', (map) =>
    map.update((before) => {
      const pool = named(before.pools, name)
      return { map: { ...before, pools: before.pools.map((one) => (one === pool ? change(pool) : one)) }, result: undefined }
    }),
  )
}

async function createPool(context: CommandContext): Promise<Answer> {
  const name = context.text('pool')
  const pgNum = Number(context.optional('pg_num') ?? DEFAULT_PG_NUM)
  if (name === '' || !Number.isInteger(pgNum) || pgNum < 1) throw new CommandFailure(Errno.EINVAL, 'invalid pool name or pg_num')
  const { cluster } = context
  const status = await cluster.changeMap('create a pool', async (map) => {
    const now = cluster.host.clock.now()
    const { created, fences } = await map.update<{ created: PoolRecord | undefined; fences: [string, number][] }>((before) => {
      const fences = Object.entries(before.blocklist).filter(([, until]) => until > now)
      if (before.pools.some((pool) => pool.name === name)) return { map: undefined, result: { created: undefined, fences } }
      const id = before.lastPool + 1
      const pool: PoolRecord = { id, name, pgNum: Math.min(pgNum, MAX_PG_NUM), snapSeq: 0, removing: [], applications: {} }
      return { map: { ...before, lastPool: id, pools: [...before.pools, pool] }, result: { created: pool, fences } }
    })
    if (!created) return `pool '${name}' already exists`
    for (const [address, until] of fences) await cluster.host.engine.fence(address, until, shardsOf(created))
    return `pool '${name}' created`
  })
  return { status }
}

async function removePool(context: CommandContext): Promise<Answer> {
  const name = context.text('pool')
  if (context.optional('pool2') !== name || context.args['yes_i_really_really_mean_it'] !== true) {
    throw new CommandFailure(
      Errno.EPERM,
      `WARNING: this will *PERMANENTLY DESTROY* all data stored in pool ${name}.  If you are *ABSOLUTELY CERTAIN* that is what you want, pass the pool name *twice*, followed by --yes-i-really-really-mean-it.`,
    )
  }
  const { cluster } = context
  await cluster.changeMap('remove a pool', async (map) => {
    const removed = await map.update((before) => {
      const pool = before.pools.find((one) => one.name === name)
      return pool ? { map: { ...before, pools: before.pools.filter((one) => one !== pool) }, result: pool } : { map: undefined, result: undefined }
    })
    if (removed) await cluster.host.engine.dropShards(shardsOf(removed))
  })
  return { status: `pool '${name}' removed` }
}

async function blocklist(context: CommandContext): Promise<Answer> {
  const { cluster } = context
  const operation = context.optional('blocklistop') ?? context.optional('blacklistop')
  const address = context.text('addr')
  if (operation === 'add') {
    const seconds = Number(context.optional('expire') ?? DEFAULT_BLOCKLIST_SECONDS)
    await cluster.blocklistAdd(address, seconds)
    return { status: `blocklisting ${address} for ${seconds} sec` }
  }
  if (operation !== 'rm') throw new CommandFailure(Errno.EINVAL, 'blocklistop is add or rm')
  const found = await cluster.changeMap('remove from blocklist', async (map) => {
    const result = await map.update((before) => {
      const { [address]: until, ...rest } = before.blocklist
      return until === undefined ? { map: undefined, result: undefined } : { map: { ...before, blocklist: rest }, result: before.pools }
    })
    if (result) await cluster.host.engine.unfence(address, result.flatMap(shardsOf))
    return result !== undefined
  })
  return { status: found ? `un-blocklisting ${address}` : `${address} isn't blocklisted` }
}

function listBlocklist({ cluster, json }: CommandContext): Answer {
  const now = cluster.host.clock.now()
  const entries = Object.entries(cluster.host.map.current.blocklist).filter(([, until]) => until > now)
  const shown = entries.map(([addr, until]) => ({ addr, until: new Date(until).toISOString() }))
  return { output: json ? shown : shown.map(({ addr, until }) => `${addr} ${until}\n`).join(''), status: `listed ${entries.length} entries` }
}
