import { readConfFile, confSearchPath, findConfFile } from '../../config/search-path.ts'
import { sectionsFor } from '../../config/conf-file.ts'
import { ConfigError } from '../../config/config-error.ts'
import type { Configuration } from '../../config/load-configuration.ts'
import { parseMonHost } from '../../config/mon-host.ts'
import { Connections, explainConnectFailure } from '../../daemon/connect.ts'
import type { MirrorPeer } from '../../cls/rbd/mirror-types.ts'
import type { Cluster } from '../../rados/cluster.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { getPeerAttributes } from '../../rbd/mirror/peer-attributes.ts'
import { getSiteName } from '../../rbd/mirror/site-name.ts'
import type { Findings } from './finding.ts'
import { checkImages, schedulesOf } from './images.ts'
import { checkLocal } from './local.ts'
import { judgePool, peerProblem, readPool, type PoolSettings, type SiteIdentity } from './pools.ts'
import { checkMonHost } from './reach.ts'
import { checkSite } from './site.ts'

export interface Examination {
  configuration: Configuration
  /** images looked at in each pool */
  images: number
  findings: Findings
  signal: AbortSignal
}

/** A peer's cluster while it is looked at; undefined when it is not reached, which was said once. */
type Remotes = Map<string, Promise<Cluster | undefined>>

/**
 * Looks at everything in the order in which a start would need it; what can't be reached is not asked further.
 *
 *     this host → local cluster → its mirrored pools → their peers' clusters → both sides of each pool → images
 */
export async function examine(examination: Examination): Promise<void> {
  const { configuration, findings, signal } = examination
  const { options } = configuration
  if (!checkLocal(configuration, findings)) return
  const subject = `cluster ${options.cluster}`
  const monHost = parseMonHost(options.get('mon_host'))
  if (monHost.driver === 'ceph' && !(await checkMonHost(subject, monHost.addresses, findings, signal))) return
  const connections = new Connections(configuration)
  let local: Cluster
  try {
    local = await connections.local(signal)
  } catch (error) {
    findings.error(subject, explainConnectFailure(error, configuration), `compare with "ceph auth get ${options.entity}" and the log of the monitors`)
    return
  }
  const remotes: Remotes = new Map()
  try {
    findings.ok(subject, `connected as ${local.entity}`)
    await checkSite(local, subject, findings, signal)
    await checkPools(local, connections, remotes, examination)
  } finally {
    for (const remote of remotes.values()) await (await remote)?.close()
    await local.close()
  }
}

async function checkPools(local: Cluster, connections: Connections, remotes: Remotes, examination: Examination): Promise<void> {
  const { findings } = examination
  const schedules = await schedulesOf(local)
  const siteName = await getSiteName(local).catch(() => local.fsid)
  let mirrored = 0
  for (const { id } of await local.listPools()) {
    const io = await local.openPoolById(id)
    try {
      const subject = `pool ${io.poolName}`
      const settings = await readPool(local, io, subject, findings)
      if (!settings || settings.mode === 'disabled') continue
      mirrored++
      if (settings.peers.length === 0) {
        findings.warning(subject, 'it is mirrored and has no peer', `rbd mirror pool peer bootstrap import ${io.poolName} TOKEN`)
      }
      await checkAllImages(io, `${subject} here`, settings, schedules, examination)
      for (const peer of settings.peers) await checkPeer({ local, io, settings, peer, siteName }, connections, remotes, examination)
    } finally {
      io.close()
    }
  }
  if (mirrored === 0) findings.warning(`cluster ${local.name}`, 'no pool is mirrored: the daemon has nothing to do', 'rbd mirror pool enable POOL image, on both sides')
}

async function checkAllImages(
  io: IoCtx,
  subject: string,
  { mode, namespaces }: PoolSettings,
  schedules: Awaited<ReturnType<typeof schedulesOf>>,
  { images, findings }: Examination,
): Promise<void> {
  if (mode !== 'disabled') await checkImages(io, subject, images, schedules, findings)
  for (const [name, inner] of namespaces) {
    if (inner === 'disabled') continue
    const namespace = io.duplicate({ namespace: name })
    try {
      await checkImages(namespace, `${subject}, namespace ${name}`, images, schedules, findings)
    } finally {
      namespace.close()
    }
  }
}

interface PeerOfPool {
  local: Cluster
  io: IoCtx
  settings: PoolSettings
  peer: MirrorPeer
  siteName: string
}

async function checkPeer(of: PeerOfPool, connections: Connections, remotes: Remotes, examination: Examination): Promise<void> {
  const { local, io, settings, peer, siteName } = of
  const { findings } = examination
  const subject = `pool ${io.poolName}`
  if (peer.direction === 'tx') return findings.note(subject, `peer ${peer.siteName} only fetches from here`)
  const problem = peerProblem(peer)
  if (problem !== undefined) return findings.error(subject, problem, `rbd mirror pool peer remove ${io.poolName} ${peer.uuid}, and add it again`)
  const remote = await connectPeer(of, connections, remotes, examination)
  if (!remote) return
  let remoteIo: IoCtx
  try {
    remoteIo = await remote.openPool(io.poolName)
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
    return findings.error(subject, `${peer.siteName} has no pool of this name`, `there: ceph osd pool create ${io.poolName} && rbd pool init ${io.poolName}`)
  }
  try {
    const there = `${subject} on ${peer.siteName}`
    const remoteSettings = await readPool(remote, remoteIo, there, findings)
    if (!remoteSettings) return
    const sites: { local: SiteIdentity; remote: SiteIdentity } = {
      local: { fsid: local.fsid, siteName },
      remote: { fsid: remote.fsid, siteName: await getSiteName(remote).catch(() => remote.fsid) },
    }
    judgePool(subject, { local: settings, remote: remoteSettings, peer }, sites, findings)
    await checkAllImages(remoteIo, there, remoteSettings, await schedulesOf(remote), examination)
  } finally {
    remoteIo.close()
  }
}

/** Pools that have the same peer with the same key share its connection. */
async function connectPeer({ local, io, peer }: PeerOfPool, connections: Connections, remotes: Remotes, examination: Examination): Promise<Cluster | undefined> {
  const { findings, signal } = examination
  const subject = `peer ${peer.siteName}`
  let attributes: Awaited<ReturnType<typeof getPeerAttributes>>
  try {
    attributes = await getPeerAttributes(local, io, peer.uuid)
  } catch (error) {
    findings.warning(subject, `its address and key can't be read: ${(error as Error).message}`, `ceph auth caps ${local.entity} mon 'profile rbd-mirror' osd 'profile rbd'`)
  }
  const monHost = attributes?.get('mon_host') ?? ''
  const key = attributes?.get('key') ?? ''
  const identity = JSON.stringify([peer.siteName, peer.clientName, monHost, key])
  const connect = async (): Promise<Cluster | undefined> => {
    try {
      const confFile = findConfFile(confSearchPath(peer.siteName))
      const address = monHost || (confFile && readConfFile(confFile).find(sectionsFor(peer.clientName), 'mon_host')?.value)
      if (!address) {
        const cure = `rbd mirror pool peer bootstrap import, or /etc/ceph/${peer.siteName}.conf with a keyring of ${peer.clientName}`
        findings.error(subject, `nothing says where it is: neither the config-key store nor a ${peer.siteName}.conf`, cure)
        return undefined
      }
      const parsed = parseMonHost(address)
      if (parsed.driver === 'ceph' && !(await checkMonHost(subject, parsed.addresses, findings, signal))) return undefined
      const cluster = await connections.remote({ clusterName: peer.siteName, clientName: peer.clientName, monHost, key }, signal)
      findings.ok(subject, `connected as ${cluster.entity}`)
      await checkSite(cluster, subject, findings, signal)
      return cluster
    } catch (error) {
      if (signal.aborted) throw error
      const refused = isErrno(error, Errno.EACCES, Errno.EPERM)
      const text = refused ? `it refuses ${peer.clientName}: key or capabilities are not its own` : (error as Error).message
      const cure = refused ? `bootstrap the peer anew, or compare with "ceph auth get ${peer.clientName}" there` : 'look at the address and the key of the peer'
      findings.error(subject, error instanceof ConfigError ? error.message : `can't connect: ${text}`, cure)
      return undefined
    }
  }
  let remote = remotes.get(identity)
  if (!remote) remotes.set(identity, (remote = connect()))
  return remote
}
