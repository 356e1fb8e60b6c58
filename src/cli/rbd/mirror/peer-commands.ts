import { readFileSync } from 'node:fs'
import { systemRandom } from '../../../base/random.ts'
import type { MirrorPeerDirection } from '../../../cls/rbd/mirror-types.ts'
import type { Cluster } from '../../../rados/cluster.ts'
import { Errno } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { getPeerAttributes, setPeerAttributes, type PeerAttributes } from '../../../rbd/mirror/peer-attributes.ts'
import { addPeer, listPeers, removePeer, setPeerClient, setPeerDirection, setPeerSiteName } from '../../../rbd/mirror/peers.ts'
import type { Command } from '../frame/command.ts'
import { poolSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, attemptSilently, CommandFailure, invalid } from '../frame/failure.ts'
import type { OptionSpec } from '../frame/option-spec.ts'
import { takePool } from '../frame/specs.ts'
import { bootstrapCreate, bootstrapImport } from './bootstrap-commands.ts'
import { requirePoolMirroring } from './require-mirroring.ts'
import { siteNameOption } from './site-name-option.ts'

const directions: Readonly<Record<string, MirrorPeerDirection>> = { 'rx-only': 'rx', 'tx-only': 'tx', 'rx-tx': 'rx-tx' }

const directionOption: OptionSpec = {
  name: 'direction',
  description: 'mirroring direction (rx-only, rx-tx)\n[default: rx-tx]',
  parse: (text) => (text === 'tx-only' ? undefined : directions[text]),
}

async function add(context: CommandContext): Promise<void> {
  const { args } = context
  const name = takePool(context, { validate: true, namespaces: false })
  const { siteName, clientName, attributes } = remoteCluster(context)
  const io = await context.openPool(name)
  await requirePoolMirroring(io)
  const cluster = await context.cluster()
  await refuseSecondFetched(io, undefined)
  const direction = args.value<MirrorPeerDirection>('direction') ?? 'rx-tx'
  const peer = { direction, siteName, clientName, newUuid: () => systemRandom.uuid() }
  const uuid = await attemptSilently('error adding mirror peer', () => addPeer(io, cluster, peer), { [Errno.EEXIST]: 'mirror peer already exists' })
  if (attributes.size > 0) await storeAttributes(cluster, io, uuid, attributes)
  context.line(uuid)
}

/** The other site as options, or as one argument `[client.ID@]NAME`. */
function remoteCluster(context: CommandContext): { siteName: string; clientName: string; attributes: Map<string, string> } {
  const { args } = context
  let clientName = args.text('remote-client-name') ?? context.configuration.options.entity
  let siteName = args.text('remote-cluster') ?? ''
  const attributes = new Map<string, string>()
  const monHost = args.text('remote-mon-host')
  if (monHost !== undefined) attributes.set('mon_host', monHost)
  const keyFile = args.text('remote-key-file')
  if (keyFile !== undefined) attributes.set('key', readKey(keyFile))
  const spec = args.take()
  if (spec !== '') {
    const match = /^(?:(client\.[^@]+)@)?([^/@]+)$/.exec(spec)
    if (!match) throw invalid(`invalid spec '${spec}'`)
    clientName = match[1] ?? clientName
    siteName = match[2]!
  }
  if (siteName === '') throw invalid('remote cluster was not specified')
  return { siteName, clientName, attributes }
}

function readKey(path: string): string {
  try {
    return readFileSync(path, 'utf8').split('\n')[0]!
  } catch (error) {
    throw new CommandFailure(Errno.EINVAL, `failed to open ${path}`, { cause: error })
  }
}

/** Daemons fetch a pool from one peer only. */
async function refuseSecondFetched(io: IoCtx, besides: string | undefined): Promise<void> {
  const peers = await attemptSilently('failed to list mirror peers', () => listPeers(io))
  if (peers.some(({ uuid, direction }) => uuid !== besides && direction !== 'tx')) throw invalid('multiple RX peers are not currently supported')
}

async function storeAttributes(cluster: Cluster, io: IoCtx, uuid: string, attributes: PeerAttributes): Promise<void> {
  await attempt(
    'failed to update mirroring peer config',
    async () => setPeerAttributes(cluster, io, uuid, attributes, (await listPeers(io)).map((peer) => peer.uuid)),
    { [Errno.EPERM]: 'permission denied attempting to set peer config-key secrets in the monitor' },
  )
}

function takeUuid(context: CommandContext): string {
  const uuid = context.args.take()
  if (uuid === '') throw invalid('must specify peer uuid')
  if (!/^[A-F0-9]{8}-[A-F0-9]{4}-[A-F0-9]{4}-[A-F0-9]{4}-[A-F0-9]{12}$/i.test(uuid)) throw invalid(`invalid uuid '${uuid}'`)
  return uuid
}

async function remove(context: CommandContext): Promise<void> {
  const name = takePool(context, { validate: true, namespaces: false })
  const uuid = takeUuid(context)
  const io = await context.openPool(name)
  await requirePoolMirroring(io)
  const options = await context.imageOptions('write')
  await attemptSilently('error removing mirror peer', () => removePeer(io, uuid, options))
}

const settableKeys = ['client', 'cluster', 'direction', 'key-file', 'mon-host', 'site-name']

async function set(context: CommandContext): Promise<void> {
  const { args } = context
  const name = takePool(context, { validate: true, namespaces: false })
  const uuid = takeUuid(context)
  const key = args.take()
  if (!settableKeys.includes(key)) throw invalid(`must specify ${settableKeys.map((settable) => `'${settable}'`).join(', ')} key.`)
  let value = args.take()
  if (value === '' && (key === 'client' || key === 'cluster')) context.complain(`must specify new ${key} value.`)
  if (key === 'key-file') value = readKey(value)
  const io = await context.openPool(name)
  await requirePoolMirroring(io)
  const absent = { [Errno.ENOENT]: `mirror peer ${uuid} does not exist` }
  const cluster = await context.cluster()
  if (key === 'client') await attemptSilently(undefined, () => setPeerClient(io, uuid, value), absent)
  else if (key === 'cluster' || key === 'site-name') await attemptSilently(undefined, () => setPeerSiteName(io, cluster, uuid, value), absent)
  else if (key === 'direction') {
    const direction = directions[value]
    if (!direction) throw invalid('invalid direction')
    if (direction !== 'tx') await refuseSecondFetched(io, uuid)
    await attemptSilently(undefined, () => setPeerDirection(io, uuid, direction), absent)
  } else await setAttribute(context, cluster, io, uuid, key === 'key-file' ? 'key' : 'mon_host', value)
}

async function setAttribute(context: CommandContext, cluster: Cluster, io: IoCtx, uuid: string, key: string, value: string): Promise<void> {
  const before = await attempt('error reading mirroring peer config', () => getPeerAttributes(cluster, io, uuid), {
    [Errno.EPERM]: 'permission denied attempting to access peer config-key secrets from the monitor',
    [Errno.EINVAL]: 'corrupt mirroring peer config',
  })
  const attributes = new Map(before)
  if (value === '' && before) attributes.delete(key)
  else attributes.set(key, value)
  try {
    await storeAttributes(cluster, io, uuid, attributes)
  } catch (error) {
    if (!(error instanceof CommandFailure) || error.status !== Errno.ENOENT) throw error
    context.complain(error.message)
    throw new CommandFailure(Errno.ENOENT, `mirror peer ${uuid} does not exist`)
  }
}

const uuidArgument = { name: 'uuid', description: 'peer uuid' }
const tokenPathOption: OptionSpec = { name: 'token-path', description: "bootstrap token file (or '-' for stdin)" }

export const mirrorPeerCommands: readonly Command[] = [
  {
    path: ['mirror', 'pool', 'peer', 'bootstrap', 'create'],
    description: 'Create a peer bootstrap token to import in a remote cluster',
    arguments: together(poolSpec(false), [siteNameOption]),
    execute: bootstrapCreate,
  },
  {
    path: ['mirror', 'pool', 'peer', 'bootstrap', 'import'],
    description: 'Import a peer bootstrap token created from a remote cluster',
    arguments: together(poolSpec(false), [siteNameOption], { positional: [tokenPathOption], options: [tokenPathOption, directionOption] }),
    execute: bootstrapImport,
  },
  {
    path: ['mirror', 'pool', 'peer', 'add'],
    description: 'Add a mirroring peer to a pool.',
    arguments: together(poolSpec(false), {
      positional: [{ name: 'remote-cluster-spec', description: 'remote cluster spec\n(example: [<client name>@]<cluster name>)' }],
      options: [
        { name: 'remote-client-name', description: 'remote client name' },
        { name: 'remote-cluster', description: 'remote cluster name' },
        { name: 'remote-mon-host', description: 'remote mon host(s)' },
        { name: 'remote-key-file', description: 'path to file containing remote key' },
        directionOption,
      ],
    }),
    execute: add,
  },
  {
    path: ['mirror', 'pool', 'peer', 'remove'],
    description: 'Remove a mirroring peer from a pool.',
    arguments: together(poolSpec(false), { positional: [uuidArgument] }),
    execute: remove,
  },
  {
    path: ['mirror', 'pool', 'peer', 'set'],
    description: 'Update mirroring peer settings.',
    arguments: together(poolSpec(false), {
      positional: [
        uuidArgument,
        { name: 'key', description: 'peer parameter\n(direction, site-name, client, mon-host, key-file)' },
        { name: 'value', description: 'new value for specified key\n(rx-only, tx-only, or rx-tx for direction)' },
      ],
    }),
    execute: set,
  },
]
