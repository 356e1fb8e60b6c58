import * as mirror from '../../../src/cls/rbd/mirror-client.ts'
import { MirrorImageSiteStatusOnDisk, MirrorPeer, type MirrorImageSiteStatus, type MirrorImageStatus } from '../../../src/cls/rbd/mirror-types.ts'
import { encode, zeroTime } from '../../../src/encoding/codec.ts'
import type { EntityInst } from '../../../src/encoding/entity.ts'
import type { Choices, Side, Step } from '../class-comparison.ts'
import { type ObjectKind, noneOf, maskTime, maskUuid, call, masked, page, exec, images } from './shared.ts'

/* Mirroring: `rbd_mirroring` and `rbd_mirror_leader`. */

const globals = ['global1', 'global2', 'global3', 'global4', 'global4_b']
const sites = ['site-a', 'site-b', '']
const uuids = ['', 'uuid-a', 'uuid-b']
const directions = ['rx', 'tx', 'rx-tx'] as const
const states = ['unknown', 'error', 'syncing', 'starting_replay', 'replaying', 'stopping_replay', 'stopped'] as const

const maskOrigin = (origin: EntityInst, side: Side): EntityInst => ({
  name: { ...origin.name, num: side.clientOf(origin.name.num) },
  addr: { ...origin.addr, nonce: 0, sockaddr: Buffer.alloc(origin.addr.sockaddr.length) },
})
const maskSite = (status: MirrorImageSiteStatus): MirrorImageSiteStatus => ({ ...status, lastUpdate: maskTime(status.lastUpdate) })
const maskStatus = (status: MirrorImageStatus): MirrorImageStatus => ({
  local: status.local && maskSite(status.local),
  remotes: status.remotes.map(maskSite),
})
const maskMap = <T>(change: (value: T, side: Side) => T) => (map: Map<string, T>, side: Side) => new Map([...map].map(([key, value]) => [key, change(value, side)]))
const maskPeer = (peer: MirrorPeer): MirrorPeer => ({ ...peer, uuid: maskUuid(peer.uuid), lastSeen: maskTime(peer.lastSeen) })
/** Uuids that a class made up stand elsewhere in the order. */
const maskPeers = (peers: MirrorPeer[]) => peers.map(maskPeer).sort((a, b) => Buffer.compare(encode(MirrorPeer, a), encode(MirrorPeer, b)))

function peer(choices: Choices): MirrorPeer {
  return {
    uuid: choices.pick(['peer-1', 'peer-2', 'peer-3', 'pool', '']),
    siteName: choices.pick(sites),
    clientName: choices.pick(['client.x', 'client.x', '']),
    direction: choices.pick(directions),
    mirrorUuid: choices.pick(uuids),
    lastSeen: zeroTime,
  }
}

const siteStatus = (choices: Choices, mirrorUuid: string): MirrorImageSiteStatus => ({
  mirrorUuid,
  state: choices.pick(states),
  description: choices.pick(['', 'text']),
  lastUpdate: zeroTime,
  up: true,
})

const setImage = (choices: Choices, state: 'enabled' | 'disabling' | 'creating' | 'disabled', which = choices.int(4)) =>
  call(mirror.mirrorImageSet, {
    imageId: images[which]!,
    image: { globalImageId: globals[choices.chance(0.9) ? which : choices.int(5)]!, state, mode: choices.pick(['journal', 'snapshot'] as const) },
  })

export const mirroring: ObjectKind = {
  name: 'mirroring',
  weight: 3,
  start: (choices) => [
    exec(call(mirror.mirrorUuidSet, { uuid: 'pool' })),
    exec(call(mirror.mirrorModeSet, { mode: choices.pick(['image', 'pool', 'image', 'disabled'] as const) })),
    ...choices.some([0, 1, 2, 3]).map((which) => exec(setImage(choices, 'enabled', which))),
    ...choices.some([0, 1]).map((client): Step => ({ type: 'watch', client, on: true })),
    exec(call(mirror.mirrorPeerAdd, { ...peer(choices), clientName: 'client.y', uuid: 'peer-2', direction: 'rx' })),
    ...globals.map((globalImageId, client) => exec(call(mirror.mirrorImageStatusSet, { globalImageId, status: siteStatus(choices, '') }), client % 2)),
  ],
  calls: [
    () => call(mirror.mirrorUuidGet, noneOf),
    (choices) => call(mirror.mirrorUuidSet, { uuid: choices.pick(['', 'pool', 'other']) }),
    () => call(mirror.mirrorModeGet, noneOf),
    (choices) => call(mirror.mirrorModeSet, { mode: choices.pick(['image', 'pool', 'disabled'] as const) }),
    () => call(mirror.mirrorPeerList, noneOf, maskPeers),
    (choices) => call(mirror.mirrorPeerPing, { siteName: choices.pick(sites), mirrorUuid: choices.pick(uuids) }),
    (choices) => call(mirror.mirrorPeerAdd, peer(choices)),
    (choices) => call(mirror.mirrorPeerAdd, { ...peer(choices), clientName: 'client.y', uuid: 'peer-1' }),
    (choices) => call(mirror.mirrorPeerRemove, { uuid: choices.pick(['peer-1', 'peer-2']) }),
    (choices) => call(mirror.mirrorPeerSetClient, { uuid: choices.pick(['peer-1', 'peer-2']), clientName: 'client.z' }),
    (choices) => call(mirror.mirrorPeerSetCluster, { uuid: choices.pick(['peer-1', 'peer-2']), siteName: choices.pick(sites) }),
    (choices) => call(mirror.mirrorPeerSetDirection, { uuid: choices.pick(['peer-1', 'peer-2']), direction: choices.pick(directions) }),
    (choices) => call(mirror.mirrorImageList, page(choices, images)),
    (choices) => call(mirror.mirrorImageGetImageId, { globalImageId: choices.pick(globals) }),
    (choices) => call(mirror.mirrorImageGet, { imageId: choices.pick(images) }),
    (choices) => setImage(choices, 'enabled'),
    (choices) => setImage(choices, choices.pick(['disabling', 'creating', 'disabled'] as const)),
    (choices) => setImage(choices, 'disabling'),
    (choices) => call(mirror.mirrorImageRemove, { imageId: choices.pick(images) }),
    ...[0, 1, 2, 3, 4].map(
      () => (choices: Choices) =>
        call(mirror.mirrorImageStatusSet, { globalImageId: choices.pick(globals), status: siteStatus(choices, choices.pick(uuids)) }),
    ),
    (choices) => call(mirror.mirrorImageStatusRemove, { globalImageId: choices.pick(globals) }),
    (choices) => call(mirror.mirrorImageStatusGet, { globalImageId: choices.pick(globals) }, maskStatus),
    (choices) =>
      call(mirror.mirrorImageStatusList, page(choices, images), ({ images, statuses }: { images: unknown; statuses: Map<string, MirrorImageStatus> }) => ({
        images,
        statuses: maskMap(maskStatus)(statuses, undefined as never),
      })),
    (choices) => call(mirror.mirrorImageStatusGetSummary, { peers: choices.some([1, 2, 3]).map(() => peer(choices)) }),
    () => call(mirror.mirrorImageStatusRemoveDown, noneOf),
    (choices) => call(mirror.mirrorImageInstanceGet, { globalImageId: choices.pick(globals) }, maskOrigin),
    (choices) => call(mirror.mirrorImageInstanceList, page(choices, images), maskMap(maskOrigin)),
  ],
  extra: [
    (choices) => ({ type: 'watch', client: choices.int(2), on: choices.chance(0.6) }),
    (choices) => ({ type: 'watch', client: choices.int(2), on: choices.chance(0.6) }),
  ],
  mask(key, value, side) {
    if (key.startsWith('mirror_peer_')) return [maskUuid(key), masked(MirrorPeer, value, maskPeer)]
    if (!/^(remote_)?status_global_/.test(key)) return [key, value]
    return [key, masked(MirrorImageSiteStatusOnDisk, value, ({ origin, status }) => ({ origin: maskOrigin(origin, side), status: maskSite(status) }))]
  },
}

export const leader: ObjectKind = {
  name: 'leader',
  calls: [
    () => call(mirror.mirrorInstancesList, noneOf),
    (choices) => call(mirror.mirrorInstancesAdd, { instanceId: choices.pick(['4123', '5', '']) }),
    (choices) => call(mirror.mirrorInstancesRemove, { instanceId: choices.pick(['4123', '5']) }),
    (choices) => call(mirror.mirrorImageMapList, page(choices, globals)),
    (choices) =>
      call(mirror.mirrorImageMapUpdate, {
        globalImageId: choices.pick(globals),
        map: { instanceId: choices.pick(['', '5']), mappedTime: { sec: 3, nsec: 4 }, data: choices.bytes(3) },
      }),
    (choices) => call(mirror.mirrorImageMapRemove, { globalImageId: choices.pick(globals) }),
  ],
}
