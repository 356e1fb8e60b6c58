import type { MirrorMode, MirrorPeer } from '../../cls/rbd/mirror-types.ts'
import { mirrorUuidGet } from '../../cls/rbd/mirror-client.ts'
import type { Cluster } from '../../rados/cluster.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { getMirrorMode } from '../../rbd/mirror/get-mirror-mode.ts'
import { listPeers } from '../../rbd/mirror/peers.ts'
import { RBD_MIRRORING } from '../../rbd/names.ts'
import { listNamespaces } from '../../rbd/namespaces.ts'
import type { Findings } from './finding.ts'

/** How one site has a pool. */
export interface PoolSettings {
  mode: MirrorMode
  mirrorUuid: string
  peers: MirrorPeer[]
  /** of the namespaces besides the default one */
  namespaces: Map<string, MirrorMode>
}

/** Who a site is. */
export interface SiteIdentity {
  fsid: string
  siteName: string
}

const SETTINGS_CURE = 'rbd mirror pool enable'

/** undefined for a pool that can't be read; a finding says why. */
export async function readPool(cluster: Cluster, io: IoCtx, subject: string, findings: Findings): Promise<PoolSettings | undefined> {
  try {
    const mode = await getMirrorMode(io)
    const mirrorUuid = mode === 'disabled' ? '' : await mirrorUuidOf(io)
    const namespaces = new Map<string, MirrorMode>()
    for (const name of await listNamespaces(io)) {
      const inner = io.duplicate({ namespace: name })
      try {
        namespaces.set(name, await getMirrorMode(inner))
      } finally {
        inner.close()
      }
    }
    return { mode, mirrorUuid, peers: await listPeers(io), namespaces }
  } catch (error) {
    if (isErrno(error, Errno.EPERM, Errno.EACCES)) {
      findings.error(subject, `${cluster.entity} may not read it`, `ceph auth caps ${cluster.entity} mon 'profile rbd-mirror' osd 'profile rbd'`)
    } else findings.error(subject, `it can't be read: ${(error as Error).message}`, 'look at the health of that cluster: ceph -s')
    return undefined
  }
}

async function mirrorUuidOf(io: IoCtx): Promise<string> {
  try {
    return await mirrorUuidGet.call(io, RBD_MIRRORING, undefined)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return ''
    throw error
  }
}

/** Pure: whether both sides' settings of one pool go together. `peer` is ours for that site. */
export function judgePool(
  subject: string,
  { local, remote, peer }: { local: PoolSettings; remote: PoolSettings; peer: MirrorPeer },
  sites: { local: SiteIdentity; remote: SiteIdentity },
  findings: Findings,
): void {
  const before = findings.count('error') + findings.count('warning')
  const pool = subject.replace(/^pool /, '')
  if (sites.remote.fsid === sites.local.fsid) {
    findings.error(subject, `peer ${peer.siteName} is this very cluster`, `rbd mirror pool peer remove ${pool} ${peer.uuid}, and add the other site`)
    return
  }
  if (remote.mode === 'disabled') {
    findings.error(subject, `mirroring is not enabled on ${peer.siteName}`, `there: ${SETTINGS_CURE} ${pool} ${local.mode}`)
    return
  }
  if (remote.mode !== local.mode) {
    findings.error(subject, `its mode is ${local.mode} here and ${remote.mode} on ${peer.siteName}`, `${SETTINGS_CURE} ${pool} with the same mode on both sides`)
  }
  if (remote.mirrorUuid !== '' && remote.mirrorUuid === local.mirrorUuid) {
    findings.error(subject, 'both sides have the same mirror uuid', 'one cluster is a copy of the other: disable and enable mirroring of the pool there')
  }
  if (peer.mirrorUuid !== '' && remote.mirrorUuid !== '' && peer.mirrorUuid !== remote.mirrorUuid) {
    const cure = `rbd mirror pool peer remove ${pool} ${peer.uuid}, and add it again`
    findings.error(subject, `peer ${peer.siteName} is not the one it was: mirroring was set up anew there`, cure)
  }
  if (peer.siteName !== sites.remote.siteName && sites.remote.siteName !== sites.remote.fsid) {
    const cure = `rbd mirror pool peer set ${pool} ${peer.uuid} site-name ${sites.remote.siteName}, or name that site so: rbd mirror pool info --site-name`
    findings.warning(subject, `the peer is called ${peer.siteName} here and calls itself ${sites.remote.siteName}`, cure)
  }
  if (sites.remote.siteName === sites.local.siteName) {
    findings.error(subject, `both sites are called ${sites.local.siteName}`, 'rbd mirror pool enable --site-name with another name on one side')
  }
  judgeOtherSide(subject, { local, remote, peer }, sites, findings)
  judgeNamespaces(subject, { local, remote, peer }, findings)
  if (findings.count('error') + findings.count('warning') === before) findings.ok(subject, `mode ${local.mode} and peer ${peer.siteName} match on both sides`)
}

/** The primary's snapshots wait for the peers it knows: it has to know us. */
function judgeOtherSide(
  subject: string,
  { local, remote, peer }: { local: PoolSettings; remote: PoolSettings; peer: MirrorPeer },
  sites: { local: SiteIdentity },
  findings: Findings,
): void {
  const us = remote.peers.find(({ mirrorUuid, siteName }) => (mirrorUuid !== '' && mirrorUuid === local.mirrorUuid) || siteName === sites.local.siteName)
  if (!us) {
    const cure = 'start the daemon here: it makes itself known; then make a new mirror-snapshot of images that have none for this site'
    findings.warning(subject, `${peer.siteName} does not know this site as a peer yet`, cure)
    return
  }
  if (us.direction === 'rx') {
    const cure = `there: rbd mirror pool peer set POOL ${us.uuid} direction rx-tx`
    findings.error(subject, `${peer.siteName} has this site as rx-only: its mirror-snapshots are not for us`, cure)
  }
}

function judgeNamespaces(subject: string, { local, remote, peer }: { local: PoolSettings; remote: PoolSettings; peer: MirrorPeer }, findings: Findings): void {
  for (const [name, mode] of local.namespaces) {
    if (mode === 'disabled') continue
    const there = remote.namespaces.get(name)
    if (there === undefined) findings.error(`${subject}/${name}`, `${peer.siteName} has no such namespace`, 'rbd namespace create there')
    else if (there !== mode) findings.error(`${subject}/${name}`, `its mode is ${mode} here and ${there} on ${peer.siteName}`, `${SETTINGS_CURE} with the same mode`)
  }
}

/** Pure: what is wrong with a peer's entry by itself. */
export function peerProblem({ uuid, siteName, clientName }: MirrorPeer): string | undefined {
  if (siteName === '' || /[/\0]/.test(siteName)) return `peer ${uuid} has no usable site name`
  if (!/^client\..+$/.test(clientName)) return `peer ${siteName} has no usable client name`
  return undefined
}
