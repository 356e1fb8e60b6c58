import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { MirrorPeerDirection } from '../../cls/rbd/mirror-types.ts'
import type { Cluster } from '../../rados/cluster.ts'
import { errnoText } from '../../rados/errno-text.ts'
import { Errno, isErrno, RadosError } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import type { ImageOptions } from '../image.ts'
import { CONFIG_KEY_PEER_CLIENT_ID } from '../names.ts'
import { formatToken, parseToken, type BootstrapToken } from './bootstrap-token.ts'
import { getMirrorMode } from './get-mirror-mode.ts'
import { setPeerAttributes } from './peer-attributes.ts'
import { addPeer, listPeers, setPeerSiteName } from './peers.ts'
import { setMirrorMode } from './pool-mode.ts'
import { explained, Refusal } from './refusal.ts'
import { getSiteName } from './site-name.ts'

/* Making two sites each other's peers with a token (librbd/api/Mirror.cc, peer_bootstrap_*). */

const standardClientId = 'rbd-mirror-peer'
const api = 'librbd::api::Mirror: '

/** The user as whom peers fetch from here, made at the first use. EEXIST: it is there with other capabilities. */
async function ensurePeerUser(cluster: Cluster): Promise<{ clientId: string; key: string }> {
  let clientId = await cluster.configKeyGet(CONFIG_KEY_PEER_CLIENT_ID)
  if (!clientId) {
    clientId = standardClientId
    await cluster.configKeySet(CONFIG_KEY_PEER_CLIENT_ID, clientId)
  }
  const caps = ['mon', 'profile rbd-mirror-peer', 'osd', 'profile rbd']
  const answer = await cluster.monCommand({ prefix: 'auth get-or-create', entity: `client.${clientId}`, caps, format: 'json' })
  if (answer.code !== 0) {
    const errno = answer.code === Errno.EINVAL ? Errno.EEXIST : answer.code
    const quiet = errno === Errno.EEXIST || errno === Errno.EACCES
    throw new Refusal(errno, quiet ? [] : [`${api}create_bootstrap_user: failed to create or update RBD mirroring bootstrap user: ${errnoText(errno)}`])
  }
  const key = keyOf(answer.output.toString())
  if (key === undefined) throw new Refusal(Errno.EBADMSG, [`${api}create_bootstrap_user: invalid auth keyring JSON received`])
  return { clientId, key }
}

function keyOf(json: string): string | undefined {
  try {
    const [first] = JSON.parse(json) as { key?: unknown }[]
    return typeof first?.key === 'string' ? first.key : undefined
  } catch {
    return undefined // no such JSON
  }
}

/** The token for this cluster, with the monitors that it is reached at. The pool has to be mirrored. Rejects with RadosError. */
export async function createToken(cluster: Cluster, monHost: string): Promise<string> {
  return formatToken({ fsid: cluster.fsid, ...(await ensurePeerUser(cluster)), monHost })
}

export interface ImportToken {
  io: IoCtx
  cluster: Cluster
  /** of this cluster, for the peer */
  monHost: string
  /** `rx`: this site only fetches; `rx-tx`: it becomes the other one's peer too */
  direction: Exclude<MirrorPeerDirection, 'tx'>
  token: string
  /** connects to the site that made the token */
  connect: (token: BootstrapToken) => Promise<Cluster>
  imageOptions: Omit<ImageOptions, 'access'>
  random: Random
  log: Log
}

/**
 * Makes the site that a token is from a peer of this pool, which takes over its mirror mode if it has none. ENOSYS when the other pool is
 * not mirrored, ENOENT when there is none. Rejects with RadosError.
 */
export async function importToken(options: ImportToken): Promise<void> {
  const { io, cluster, direction, connect } = options
  const refuse = (why: string) => new Refusal(Errno.EINVAL, [`${api}peer_bootstrap_import: ${why}`], { io })
  const parsed = parseToken(options.token)
  if (parsed.type === 'malformed') throw refuse(parsed.reason)
  const { token } = parsed
  const siteName = await getSiteName(cluster)
  const remote = await explained((errno) => `${api}peer_bootstrap_import: failed to connect to peer cluster: ${errnoText(errno)}`, () => connect(token))
  try {
    if (remote.fsid === cluster.fsid) throw refuse('cannot import token for local cluster')
    if (remote.fsid !== token.fsid) throw refuse('unexpected remote cluster fsid')
    const remoteSiteName = await getSiteName(remote)
    if (siteName === remoteSiteName) throw refuse('cannot import token for duplicate site name')
    const remoteIo = await remote.openPool(io.poolName)
    try {
      const mode = await getMirrorMode(remoteIo)
      if (mode === 'disabled') throw new RadosError(Errno.ENOSYS, { op: 'import a bootstrap token', cluster: remote.name, pool: io.poolName })
      if ((await getMirrorMode(io)) === 'disabled') await setMirrorMode(io, mode, options.imageOptions)
      if (direction === 'rx-tx') {
        const local: Site = { siteName, monHost: options.monHost, fsid: cluster.fsid, ...(await ensurePeerUser(cluster)) }
        await addSite(remoteIo, remote, 'rx-tx', local, options, ['local', 'remote'])
      }
      await addSite(io, cluster, direction, { ...token, siteName: remoteSiteName }, options, ['remote', 'local'])
    } finally {
      remoteIo.close()
    }
  } finally {
    await remote.close()
  }
}

type Site = BootstrapToken & { siteName: string }

/** Registers a site with a cluster, or brings what is known of it up to date. Another peer than that is refused: there is but one. */
async function addSite(
  io: IoCtx,
  cluster: Cluster,
  direction: 'rx' | 'rx-tx',
  { siteName, fsid, clientId, key, monHost }: Site,
  { random, log }: ImportToken,
  [site, place]: [string, string],
): Promise<void> {
  const prefix = `${api}create_bootstrap_peer: `
  const [known] = await listPeers(io)
  let uuid: string
  if (!known) {
    const line = (errno: number) => `${prefix}failed to add ${site} peer to ${place} cluster: ${errnoText(errno)}`
    uuid = await explained(line, () => addPeer(io, cluster, { direction, siteName, clientName: `client.${clientId}`, newUuid: () => random.uuid() }))
  } else if (known.siteName !== siteName && known.siteName !== fsid) {
    throw new Refusal(Errno.EINVAL, [`${prefix}multiple peers are not currently supported`], { io })
  } else {
    uuid = known.uuid
    if (known.siteName !== siteName) await renameSite(io, cluster, uuid, siteName, log)
  }
  const line = (errno: number) => `${prefix}failed to update ${site} cluster connection attributes in ${place} cluster: ${errnoText(errno)}`
  const attributes = new Map([['mon_host', monHost], ['key', key]]) // prettier-ignore
  await explained(line, async () => setPeerAttributes(cluster, io, uuid, attributes, (await listPeers(io)).map((peer) => peer.uuid)))
}

/** The name is only what people call it. */
async function renameSite(io: IoCtx, cluster: Cluster, uuid: string, siteName: string, log: Log): Promise<void> {
  try {
    await setPeerSiteName(io, cluster, uuid, siteName)
  } catch (error) {
    if (!isErrno(error, ...Object.values(Errno))) throw error
    log.warn({ siteName, error: String(error) }, 'failed to update peer site name')
  }
}
