import type { CommandResult } from '../../rados/cluster.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { EmulatedCluster } from './cluster.ts'
import { CommandFailure, type Answer, type Command, type CommandContext } from './command.ts'
import { poolCommands } from './pool-commands.ts'
import { listServices } from './services.ts'
import { findUser, keyringText, listUsers, newSecret, userKey, type UserRecord } from './users.ts'

/*
 * The commands of monitors and managers that mirroring, `rbd` and an operator's first steps use. Words and shapes of the answers are Ceph's.
 */

const CONFIG_KEY = 'config-key/'

const commands: Readonly<Record<string, Command>> = {
  ...poolCommands,
  fsid: ({ cluster, json }) => ({ output: json ? { fsid: cluster.fsid } : cluster.fsid }),
  status: clusterStatus,
  health: ({ json }) => ({ output: json ? { status: 'HEALTH_OK', checks: {}, mutes: [] } : 'HEALTH_OK' }),

  'config-key get': async (context) => {
    const key = context.text('key')
    const value = await context.cluster.host.engine.tableGet(CONFIG_KEY + key)
    if (value === undefined) throw new CommandFailure(Errno.ENOENT, `error obtaining '${key}': (2) No such file or directory`)
    return { output: value }
  },
  'config-key exists': async (context) => {
    const key = context.text('key')
    const found = (await context.cluster.host.engine.tableGet(CONFIG_KEY + key)) !== undefined
    if (!found) throw new CommandFailure(Errno.ENOENT, `key '${key}' doesn't exist`)
    return { status: `key '${key}' exists` }
  },
  'config-key set': async (context) => setConfigKey(context),
  'config-key put': async (context) => setConfigKey(context),
  'config-key rm': async (context) => removeConfigKey(context),
  'config-key del': async (context) => removeConfigKey(context),
  'config-key ls': async ({ cluster }) => ({ output: [...(await cluster.host.engine.tableList(CONFIG_KEY)).keys()].map((key) => key.slice(CONFIG_KEY.length)) }),
  'config-key dump': async (context) => {
    const prefix = CONFIG_KEY + (context.optional('key') ?? '')
    const found = await context.cluster.host.engine.tableList(prefix)
    return { output: Object.fromEntries([...found].map(([key, value]) => [key.slice(CONFIG_KEY.length), value])) }
  },

  'config set': (context) => changeConfig(context, context.text('value')),
  'config rm': (context) => changeConfig(context, undefined),
  'config get': (context) => {
    const { config } = context.cluster.host.map.current
    const who = context.text('who')
    const values: Record<string, string> = {}
    for (const section of ['global', who.split('.')[0]!, who]) Object.assign(values, config[section])
    const key = context.optional('key')
    if (key === undefined) return { output: Object.entries(values).map(([name, value]) => ({ section: who, name, value })) }
    const value = values[key] ?? context.cluster.option(key)
    if (value === undefined) throw new CommandFailure(Errno.ENOENT, `unrecognized key '${key}'`)
    return { output: context.json ? { [key]: value } : value }
  },
  'config dump': ({ cluster }) => ({
    output: Object.entries(cluster.host.map.current.config).flatMap(([section, values]) =>
      Object.entries(values).map(([name, value]) => ({ section, name, value, level: 'advanced', can_update_at_runtime: true, mask: '' })),
    ),
  }),

  'auth get': async (context) => {
    const entity = context.text('entity')
    const user = await existingUser(context, entity)
    return { output: context.json ? [{ entity, ...user }] : keyringText(entity, user), status: `exported keyring for ${entity}` }
  },
  'auth get-key': printKey,
  'auth print-key': printKey,
  'auth print_key': printKey,
  'auth ls': async ({ cluster }) => ({ output: { auth_dump: [...(await listUsers(cluster.host.engine))].map(([entity, user]) => ({ entity, ...user })) } }),
  'auth add': async (context) => {
    const entity = context.text('entity')
    if (await findUser(context.cluster.host.engine, entity)) throw new CommandFailure(Errno.EEXIST, `entity ${entity} exists`)
    await createUser(context, entity)
    return { status: `added key for ${entity}` }
  },
  'auth get-or-create': async (context) => {
    const entity = context.text('entity')
    const user = (await findUser(context.cluster.host.engine, entity)) ?? (await createUser(context, entity))
    return { output: context.json ? [{ entity, ...user }] : keyringText(entity, { ...user, caps: {} }) }
  },
  'auth get-or-create-key': async (context) => {
    const entity = context.text('entity')
    const { key } = (await findUser(context.cluster.host.engine, entity)) ?? (await createUser(context, entity))
    return { output: context.json ? { key } : key }
  },
  'auth caps': async (context) => {
    const entity = context.text('entity')
    const user = { ...(await existingUser(context, entity)), caps: capsOf(context) }
    await context.cluster.host.engine.tableCommit({ expect: [], put: [[userKey(entity), JSON.stringify(user)]] })
    return { status: `updated caps for ${entity}` }
  },
  'auth rm': async (context) => {
    await context.cluster.host.engine.tableCommit({ expect: [], put: [[userKey(context.text('entity')), undefined]] })
    return { status: 'updated' }
  },

  'service dump': async ({ cluster }) => {
    const services = [...(await listServices(cluster.host))].map(([service, daemons]) => [
      service,
      {
        daemons: {
          summary: '',
          ...Object.fromEntries(
            daemons.map(({ daemon, gid, address, started, metadata }) => [
              daemon,
              { start_epoch: 1, start_stamp: stamp(started), gid, addr: address, metadata, task_status: {} },
            ]),
          ),
        },
      },
    ])
    return { output: { epoch: cluster.host.map.current.epoch, modified: stamp(cluster.host.clock.now()), services: Object.fromEntries(services) as object } }
  },
  'service status': async ({ cluster }) => {
    const services = [...(await listServices(cluster.host))].map(([service, daemons]) => [
      service,
      Object.fromEntries(
        daemons.map(({ daemon, status, statusTime }) => [daemon, { status_stamp: stamp(statusTime), last_beacon: stamp(statusTime), status }]),
      ),
    ])
    return { output: Object.fromEntries(services) as object }
  },
}

export async function runCommand(cluster: EmulatedCluster, args: Readonly<Record<string, unknown>>, input: Buffer): Promise<CommandResult> {
  const prefix = String(args['prefix'])
  const command = Object.hasOwn(commands, prefix) ? commands[prefix] : undefined
  const optional = (name: string) => {
    const value = args[name]
    return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
  }
  const context: CommandContext = {
    cluster,
    input,
    args,
    json: optional('format')?.startsWith('json') === true,
    optional,
    text(name) {
      const value = optional(name)
      if (value === undefined) throw new CommandFailure(Errno.EINVAL, `missing required parameter ${name}`)
      return value
    },
  }
  try {
    if (!command) throw new CommandFailure(Errno.EINVAL, 'command not known')
    await cluster.host.map.refresh()
    const { output = '', status = '' } = await command(context)
    return { code: 0, output: Buffer.from(typeof output === 'string' ? output : JSON.stringify(output)), status }
  } catch (error) {
    if (error instanceof CommandFailure) return { code: error.code, output: Buffer.alloc(0), status: error.message }
    if (error instanceof RadosError && error.errno === Errno.ENOENT) return { code: Errno.ENOENT, output: Buffer.alloc(0), status: error.message }
    throw error
  }
}

async function clusterStatus({ cluster, json }: CommandContext): Promise<Answer> {
  const { pools, epoch } = cluster.host.map.current
  const services = await listServices(cluster.host)
  if (json) return { output: { fsid: cluster.fsid, health: { status: 'HEALTH_OK' }, osdmap: { epoch, num_osds: 1, num_up_osds: 1 }, pgmap: { num_pools: pools.length } } }
  const daemons = [...services].map(([service, all]) => `    ${service}: ${all.length} ${all.length === 1 ? 'daemon' : 'daemons'} active`)
  const lines = ['  cluster:', `    id:     ${cluster.fsid}`, '    health: HEALTH_OK', '', '  services:', ...daemons, '', '  data:', `    pools:   ${pools.length} pools`, '']
  return { output: lines.join('\n') }
}

async function setConfigKey(context: CommandContext): Promise<Answer> {
  const key = context.text('key')
  const value = context.input.length > 0 ? context.input.toString() : (context.optional('val') ?? '')
  await context.cluster.host.engine.tableCommit({ expect: [], put: [[CONFIG_KEY + key, value]] })
  return { status: `set ${key}` }
}

async function removeConfigKey(context: CommandContext): Promise<Answer> {
  const key = context.text('key')
  const before = await context.cluster.host.engine.tableGet(CONFIG_KEY + key)
  if (before === undefined) return { status: `no such key '${key}'` }
  await context.cluster.host.engine.tableCommit({ expect: [], put: [[CONFIG_KEY + key, undefined]] })
  return { status: 'key deleted' }
}

async function changeConfig(context: CommandContext, value: string | undefined): Promise<Answer> {
  const who = context.text('who')
  const name = context.text('name').replaceAll(' ', '_')
  await context.cluster.changeMap('change the configuration', (map) =>
    map.update((before) => {
      const section = { ...before.config[who] }
      if (value === undefined) delete section[name]
      else section[name] = value
      return { map: { ...before, config: { ...before.config, [who]: section } }, result: undefined }
    }),
  )
  return {}
}

async function existingUser({ cluster }: CommandContext, entity: string): Promise<UserRecord> {
  const user = await findUser(cluster.host.engine, entity)
  if (!user) throw new CommandFailure(Errno.ENOENT, `failed to find ${entity} in keyring`)
  return user
}

async function printKey(context: CommandContext): Promise<Answer> {
  const { key } = await existingUser(context, context.text('entity'))
  return { output: context.json ? { key } : key }
}

async function createUser(context: CommandContext, entity: string): Promise<UserRecord> {
  const { engine, clock, random } = context.cluster.host
  const user: UserRecord = { key: newSecret(random, clock.now()), caps: capsOf(context) }
  if (await engine.tableCommit({ expect: [[userKey(entity), undefined]], put: [[userKey(entity), JSON.stringify(user)]] })) return user
  return existingUser(context, entity)
}

/** `caps` is a flat list: service, capability, service, capability. */
function capsOf({ args }: CommandContext): Record<string, string> {
  const list = Array.isArray(args['caps']) ? (args['caps'] as unknown[]).map(String) : []
  if (list.length % 2 !== 0) throw new CommandFailure(Errno.EINVAL, 'bad capabilities: a capability for each service is wanted')
  return Object.fromEntries(Array.from({ length: list.length / 2 }, (_, index) => [list[index * 2]!, list[index * 2 + 1]!]))
}

function stamp(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000+0000')
}
