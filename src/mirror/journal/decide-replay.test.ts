import { expect, test } from 'vitest'
import type { MirrorPeerClientMeta } from '../../rbd/journal/client-data.ts'
import { LOCAL_MIRROR_UUID, ORPHAN_MIRROR_UUID, type TagData } from '../../rbd/journal/tag-data.ts'
import { decideReplay, type JournalObservation } from './decide-replay.ts'

const sites = { localMirrorUuid: 'local', remoteMirrorUuid: 'remote' }
const none = { mirrorUuid: '', commitValid: false, tagTid: 0n, entryTid: 0n }
const followsRemote: TagData = { mirrorUuid: 'remote', predecessor: none }
const numbered = (data: TagData, tid = 5n) => ({ tid, data })
const meta: MirrorPeerClientMeta = { type: 'mirrorPeer', imageId: 'id', state: 'replaying', syncObjectCount: 0, syncPoints: [], snapSeqs: new Map() }

function decide(changes: Partial<Omit<JournalObservation, 'client'>> & { client?: Partial<JournalObservation['client']> } = {}) {
  return decideReplay({
    localImageId: 'id',
    remoteImageId: 'there',
    localTag: numbered(followsRemote),
    reader: undefined,
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
  expect(decide()).toEqual({ type: 'replay', markReplaying: false, readerHasAll: false })
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
  expect(decide({ localTag: numbered(demotedHere), remoteTags, client })).toEqual({ type: 'replay', markReplaying: true, readerHasAll: false })
  expect(decide({ localTag: numbered(demotedHere), remoteTags: remoteTags.slice(1), client })).toEqual(end('splitBrain'))
})

test('another local image than the registered one is split-brain', () => {
  expect(decide({ localImageId: 'other' })).toEqual(end('splitBrain'))
})

const orphan: TagData = { mirrorUuid: ORPHAN_MIRROR_UUID, predecessor: none }

test('a resync that an operator asked for comes before anything but a promotion', () => {
  const asked = { resyncRequested: true }
  expect(decide({ ...asked, localTag: numbered(orphan) })).toEqual({ type: 'resync', begun: false })
  expect(decide({ ...asked, localImageId: 'other' })).toEqual({ type: 'resync', begun: false })
  expect(decide({ ...asked, client: { meta: { ...meta, state: 'syncing' } } })).toEqual({ type: 'resync', begun: true })
  expect(decide({ ...asked, localTag: numbered(orphan), client: { meta: { ...meta, state: 'syncing' } } })).toEqual({ type: 'resync', begun: false })
  expect(decide({ ...asked, localTag: numbered(orphan), resyncMode: 'recreate' })).toEqual(end('resyncRequested'))
  expect(decide({ ...asked, localTag: numbered({ mirrorUuid: LOCAL_MIRROR_UUID, predecessor: none }) })).toEqual(end('localPrimary'))
})

test('a resync waits for a primary', () => {
  for (const resyncMode of ['delta', 'recreate'] as const) {
    expect(decide({ resyncRequested: true, resyncMode, remoteTags: [{ tid: 3n, data: orphan }] })).toEqual(end('resyncWaits'))
  }
})

test('a promoted local image is left alone', () => {
  expect(decide({ localTag: numbered({ mirrorUuid: LOCAL_MIRROR_UUID, predecessor: none }) })).toEqual(end('localPrimary'))
})

test('a client that fell behind is told, or copied anew where that is wanted', () => {
  const client = { state: 'disconnected' as const }
  expect(decide({ client })).toEqual(end('disconnected'))
  expect(decide({ client, resyncAfterDisconnect: true })).toEqual({ type: 'resync', begun: false })
})

test('a replica that the remote journal has never heard of may have missed something: it is compared', () => {
  expect(decide({ client: { isNew: true } })).toEqual({ type: 'resync', begun: false })
  expect(decide({ client: { isNew: true }, resyncMode: 'recreate' })).toEqual(end('failed'))
  expect(decide({ client: { isNew: true }, remoteTags: [{ tid: 3n, data: orphan }] })).toEqual(end('resyncWaits'))
})

test('after a demotion that the primary has replayed, the local image has nothing of its own, whatever is left of the tags', () => {
  const localTag = numbered({ mirrorUuid: ORPHAN_MIRROR_UUID, predecessor: { mirrorUuid: LOCAL_MIRROR_UUID, commitValid: true, tagTid: 4n, entryTid: 9n } })
  const reader = { imageId: 'there', replaying: true, committedTag: 5n }
  for (const client of [{}, { isNew: true }]) {
    expect(decide({ localTag, reader, client })).toEqual({ type: 'resync', begun: false })
    expect(decide({ localTag, reader, client, resyncMode: 'recreate' })).toEqual(end('failed'))
    for (const other of [undefined, { ...reader, committedTag: 4n }, { ...reader, committedTag: undefined }, { ...reader, imageId: 'else' }, { ...reader, replaying: false }]) {
      expect(decide({ localTag, reader: other, client })).toEqual(end('splitBrain'))
    }
  }
})
