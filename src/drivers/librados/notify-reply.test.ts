import { describe, expect, test } from 'vitest'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { decodeNotifyReply } from './notify-reply.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

describe('reply of a notify', () => {
  const reply = hex('02000000 1100000000000000 2200000000000000 03000000 616263 1200000000000000 2300000000000000 00000000 01000000 1300000000000000 2400000000000000')

  test('acknowledgements and who did not answer', () => {
    expect(decodeNotifyReply(reply)).toEqual({
      acks: [
        { notifierId: 0x11n, cookie: 0x22n, payload: Buffer.from('abc') },
        { notifierId: 0x12n, cookie: 0x23n, payload: Buffer.alloc(0) },
      ],
      timeouts: [{ notifierId: 0x13n, cookie: 0x24n }],
    })
    expect(decodeNotifyReply(Buffer.alloc(0))).toEqual({ acks: [], timeouts: [] })
  })

  test('cut off anywhere it is malformed', () => {
    for (let length = 1; length < reply.length; length++) {
      expect(() => decodeNotifyReply(reply.subarray(0, length)), `${length} bytes`).toThrow(MalformedInput)
    }
  })
})
