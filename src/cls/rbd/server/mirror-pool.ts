import { enumeration, list, nothing, rest, string, u32, u8, utimeFromMs } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ObjectContext } from '../../../objclass/object-context.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno } from '../../../rados/errors.ts'
import { entries, refused, removeKey, setValue, unlessMissing } from '../../server-method.ts'
import { MIRROR_MODES, MirrorPeer, MirrorPeerDirection } from '../mirror-types.ts'
import { read, stored, write } from './shared.ts'

/* A pool's mirroring: mode, uuid and peers in `rbd_mirroring`. */

const UUID = 'mirror_uuid'
const MODE = 'mirror_mode'
const PEER_PREFIX = 'mirror_peer_'
const peerKey = (uuid: string) => PEER_PREFIX + uuid
const TX = 1

// --- mode ---

const mirrorUuidGet = read('mirror_uuid_get', nothing, string, async (object) => (await object.omapGetValue(UUID)).toString())

const mirrorUuidSet = write('mirror_uuid_set', fields({ uuid: string }), async (object, { uuid }) => {
  if (uuid === '') throw refused(Errno.EINVAL, 'a mirror uuid can not be empty')
  if (await isEnabled(object)) throw refused(Errno.EINVAL, 'mirroring is enabled')
  setValue(object, UUID, rest, Buffer.from(uuid))
})

async function isEnabled(object: ObjectContext): Promise<boolean> {
  return ((await stored.find(object, MODE, u32)) ?? MIRROR_MODES.disabled) !== MIRROR_MODES.disabled
}

async function requireEnabled(object: ObjectContext): Promise<void> {
  if (!(await isEnabled(object))) throw refused(Errno.EINVAL, 'mirroring is not enabled')
}

const mirrorModeGet = read('mirror_mode_get', nothing, u32, (object) => stored.get(object, MODE, u32))

const mirrorModeSet = write('mirror_mode_set', fields({ mode: enumeration(u32, MIRROR_MODES) }), async (object, { mode }) => {
  if (mode !== 'disabled') {
    if (!(await unlessMissing(object.omapGetValue(UUID)))) throw refused(Errno.EINVAL, 'the pool has no mirror uuid')
    setValue(object, MODE, u32, MIRROR_MODES[mode])
    return
  }
  if ((await peers(object)).length > 0) throw refused(Errno.EBUSY, 'there are peers')
  removeKey(object, MODE)
  removeKey(object, UUID)
})

// --- peers ---

/** By uuid; none of an object that does not exist yet. */
async function peers(object: ObjectContext): Promise<MirrorPeer[]> {
  return ((await unlessMissing(entries(object, PEER_PREFIX, ''))) ?? []).map(([key, value]) => stored.parse(MirrorPeer, value, key))
}

function putPeer(object: ObjectContext, peer: MirrorPeer): void {
  setValue(object, peerKey(peer.uuid), MirrorPeer, peer)
}

/** Who fetches from us needs no client of ours. */
function requireValid({ uuid, siteName, clientName, direction }: MirrorPeer): void {
  if (uuid === '' || siteName === '' || (direction !== 'tx' && clientName === '')) throw refused(Errno.EINVAL, 'the peer is not valid')
}

const mirrorPeerList = read('mirror_peer_list', nothing, list(MirrorPeer), peers)

const mirrorPeerPing = write(
  'mirror_peer_ping',
  fields({ siteName: string, mirrorUuid: string, direction: u8 }),
  async (object, { siteName, mirrorUuid, direction }) => {
    if (direction !== TX) throw refused(Errno.EINVAL, 'only a site that fetches pings')
    await requireEnabled(object)
    if (siteName === '' || mirrorUuid === '') throw refused(Errno.EINVAL, 'a ping needs a site name and a mirror uuid')
    const known = pingedPeer(await peers(object), siteName, mirrorUuid)
    const peer: MirrorPeer = known
      ? { ...known, direction: known.direction === 'rx' ? 'rx-tx' : known.direction, lastSeen: utimeFromMs(object.now) }
      : { uuid: object.random.uuid(), siteName, clientName: '', direction: 'tx', mirrorUuid, lastSeen: utimeFromMs(object.now) }
    requireValid(peer)
    putPeer(object, peer)
  },
)

/** The peer that a ping comes from, with what the ping tells about it; undefined for an unknown one. */
function pingedPeer(peers: readonly MirrorPeer[], siteName: string, mirrorUuid: string): MirrorPeer | undefined {
  const bySite = peers.find((peer) => peer.siteName === siteName)
  if (bySite && (bySite.mirrorUuid === '' || bySite.mirrorUuid === mirrorUuid)) return { ...bySite, mirrorUuid }
  const byUuid = peers.find((peer) => peer.mirrorUuid === mirrorUuid)
  // two peers: the uuid tells which, and its name is left as it is; else the site has got another name
  if (byUuid) return bySite ? byUuid : { ...byUuid, siteName }
  return bySite && { ...bySite, mirrorUuid }
}

const mirrorPeerAdd = write('mirror_peer_add', MirrorPeer, async (object, peer) => {
  await requireEnabled(object)
  requireValid(peer)
  if ((await object.omapGetValue(UUID)).toString() === peer.uuid) throw refused(Errno.EINVAL, 'the peer has the uuid of this pool')
  if (peer.direction === 'tx') throw refused(Errno.EINVAL, 'a peer that only fetches can not be added')
  for (const other of await peers(object)) {
    if (other.uuid === peer.uuid) throw refused(Errno.ESTALE, `peer ${peer.uuid} exists`)
    if (other.siteName === peer.siteName || (peer.mirrorUuid !== '' && other.mirrorUuid === peer.mirrorUuid))
      throw refused(Errno.EEXIST, `peer ${other.uuid} is of the same site`)
  }
  putPeer(object, peer)
})

const mirrorPeerRemove = write('mirror_peer_remove', fields({ uuid: string }), (object, { uuid }) => removeKey(object, peerKey(uuid)))

async function changePeer(object: ObjectContext, { uuid, ...changes }: Partial<MirrorPeer> & { uuid: string }): Promise<void> {
  putPeer(object, { ...(await stored.get(object, peerKey(uuid), MirrorPeer)), ...changes })
}

const mirrorPeerSetClient = write('mirror_peer_set_client', fields({ uuid: string, clientName: string }), changePeer)
const mirrorPeerSetDirection = write('mirror_peer_set_direction', fields({ uuid: string, direction: MirrorPeerDirection }), changePeer)

const mirrorPeerSetCluster = write('mirror_peer_set_cluster', fields({ uuid: string, siteName: string }), async (object, { uuid, siteName }) => {
  const all = await peers(object)
  if (all.some((other) => other.uuid !== uuid && other.siteName === siteName)) throw refused(Errno.EEXIST, `site name ${siteName} is taken`)
  const peer = all.find((other) => other.uuid === uuid)
  if (!peer) throw refused(Errno.ENOENT, `there is no peer ${uuid}`)
  putPeer(object, { ...peer, siteName })
})

export const mirrorPoolMethods: readonly ServerMethod[] = [
  mirrorUuidGet,
  mirrorUuidSet,
  mirrorModeGet,
  mirrorModeSet,
  mirrorPeerList,
  mirrorPeerPing,
  mirrorPeerAdd,
  mirrorPeerRemove,
  mirrorPeerSetClient,
  mirrorPeerSetCluster,
  mirrorPeerSetDirection,
]
