import { describe, expect, it } from 'vitest'
import { decode, encode } from '../../encoding/codec.ts'
import { acceptedPrefixes, roundTrip } from '../../../test/support/vectors.ts'
import { InstanceAck, InstanceMessage } from './messages.ts'

const string = (text: string) => `${Buffer.from([text.length, 0, 0, 0]).toString('hex')}${Buffer.from(text).toString('hex')}`
const request = '0700000000000000'
const versioned = (body: string) => `0202${Buffer.from([body.length / 2, 0, 0, 0]).toString('hex')}${body}`

/** Laid out by hand after instance_watcher/Types.cc: there are no recorded ones. */
const messages: [InstanceMessage, string][] = [
  [{ type: 'imageAcquire', requestId: 7n, globalImageId: 'gid' }, versioned(`00000000${request}${string('gid')}`)],
  [{ type: 'imageRelease', requestId: 7n, globalImageId: 'gid' }, versioned(`01000000${request}${string('gid')}`)],
  [
    { type: 'peerImageRemoved', requestId: 7n, globalImageId: 'gid', peerMirrorUuid: 'uuid' },
    versioned(`02000000${request}${string('gid')}${string('uuid')}`),
  ],
  [{ type: 'syncRequest', requestId: 7n, syncId: 'sync' }, versioned(`03000000${request}${string('sync')}`)],
  [{ type: 'syncStart', requestId: 7n, syncId: 'sync' }, versioned(`04000000${request}${string('sync')}`)],
]

describe('messages between daemons', () => {
  it.each(messages)('$0.type', (message, hex) => {
    const bytes = Buffer.from(hex, 'hex')
    expect(encode(InstanceMessage, message).toString('hex')).toBe(hex)
    expect(roundTrip(InstanceMessage, bytes)).toBe(hex)
    expect(acceptedPrefixes(InstanceMessage, bytes)).toEqual([])
  })

  it('of a kind that a later release may bring are told apart', () => {
    expect(decode(InstanceMessage, Buffer.from(versioned(`63000000${request}`), 'hex'), 'message')).toMatchObject({ type: 'unknown', tag: 99 })
  })

  it('are answered with who asked, the request and a result', () => {
    const bytes = encode(InstanceAck, { instanceId: '4711', requestId: 7n, result: -116 })
    expect(bytes.toString('hex')).toBe(`${string('4711')}${request}8cffffff`)
    expect(decode(InstanceAck, bytes, 'ack')).toEqual({ instanceId: '4711', requestId: 7n, result: -116 })
  })
})
