import { expect, test } from 'vitest'
import type { MirrorPeerClientMeta } from '../../rbd/journal/client-data.ts'
import { LOCAL_MIRROR_UUID, ORPHAN_MIRROR_UUID, type TagData } from '../../rbd/journal/tag-data.ts'
import { decideReplay, type JournalObservation } from './decide-replay.ts'

const sites = { localMirrorUuid: 'local', remoteMirrorUuid: 'remote' }
const none = { mirrorUuid: '', commitValid: false, tagTid: 0n, entryTid: 0n }
const followsRemote: TagData = { mirrorUuid: 'remote', predecessor: none }
const meta: MirrorPeerClientMeta = { type: 'mirrorPeer', imageId: 'id', state: 'replaying', syncObjectCount: 0, syncPoints: [], snapSeqs: new Map() }

function decide(changes: Partial<Omit<JournalObservation, 'client'>> & { client?: Partial<JournalObservation['client']> } = {}) {
  return decideReplay({
    localImageId: 'id',
    localTag: followsRemote,
    resyncRequested: false,
    remoteTags: [{ tid: 0n, data: { mirrorUuid: LOCAL_MIRROR_UUID, predecessor: none } }],
    sites,
    resyncAfterDisconnect: false,
    ...changes,
    client: { meta, state: 'connected', isNew: false, ...changes.client },
  })
}

const end = (type: string) => ({ type: 'end', end: expect.objectContaining({ type }) as unknown })

test('a replica of this remote is replayed', () => {
  expect(decide()).toEqual({ type: 'replay', markReplaying: false })
})

test('a copy that was begun goes on', () => {
  expect(decide({ client: { meta: { ...meta, state: 'syncing' } } })).toEqual({ type: 'sync' })
})

test('a local image that has had a history of its own since its copy was begun is replayed, if it links up', () => {
  const predecessor = { mirrorUuid: LOCAL_MIRROR_UUID, commitValid: true, tagTid: 4n, entryTid: 9n }
  const demotedHere: TagData = { mirrorUuid: ORPHAN_MIRROR_UUID, predecessor }
  const remoteTags = [
    { tid: 6n, data: { mirrorUuid: ORPHAN_MIRROR_UUID, predecessor: { ...predecessor, mirrorUuid: 'local' } } },
    { tid: 7n, data: { mirrorUuid: LOCAL_MIRROR_UUID, predecessor: { mirrorUuid: ORPHAN_MIRROR_UUID, commitValid: true, tagTid: 6n, entryTid: 1n } } },
  ]
  const client = { meta: { ...meta, state: 'syncing' as const } }
  expect(decide({ localTag: demotedHere, remoteTags, client })).toEqual({ type: 'replay', markReplaying: true })
  expect(decide({ localTag: demotedHere, remoteTags: remoteTags.slice(1), client })).toEqual(end('splitBrain'))
})

test('another local image than the registered one is split-brain', () => {
  expect(decide({ localImageId: 'other' })).toEqual(end('splitBrain'))
})

const orphan: TagData = { mirrorUuid: ORPHAN_MIRROR_UUID, predecessor: none }

test('a resync that an operator asked for comes before anything but a promotion', () => {
  const asked = { resyncRequested: true }
  expect(decide({ ...asked, localTag: orphan })).toEqual({ type: 'resync', begun: false })
  expect(decide({ ...asked, localImageId: 'other' })).toEqual({ type: 'resync', begun: false })
  expect(decide({ ...asked, client: { meta: { ...meta, state: 'syncing' } } })).toEqual({ type: 'resync', begun: true })
  expect(decide({ ...asked, localTag: orphan, client: { meta: { ...meta, state: 'syncing' } } })).toEqual({ type: 'resync', begun: false })
  expect(decide({ ...asked, localTag: orphan, resyncMode: 'recreate' })).toEqual(end('resyncRequested'))
  expect(decide({ ...asked, localTag: { mirrorUuid: LOCAL_MIRROR_UUID, predecessor: none } })).toEqual(end('localPrimary'))
})

test('a resync waits for a primary', () => {
  for (const resyncMode of ['delta', 'recreate'] as const) {
    expect(decide({ resyncRequested: true, resyncMode, remoteTags: [{ tid: 3n, data: orphan }] })).toEqual(end('resyncWaits'))
  }
})

test('a promoted local image is left alone', () => {
  expect(decide({ localTag: { mirrorUuid: LOCAL_MIRROR_UUID, predecessor: none } })).toEqual(end('localPrimary'))
})

test('a client that fell behind is told, or copied anew where that is wanted', () => {
  const client = { state: 'disconnected' as const }
  expect(decide({ client })).toEqual(end('disconnected'))
  expect(decide({ client, resyncAfterDisconnect: true })).toEqual({ type: 'resync', begun: false })
})

test('a replica that the remote journal has never heard of may have missed something', () => {
  expect(decide({ client: { isNew: true } })).toEqual(end('failed'))
})
