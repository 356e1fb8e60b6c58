import { describe, expect, it } from 'vitest'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { imageMetaKey, parseImageMeta } from './image-meta.ts'

describe('image meta', () => {
  it('has the key that librbd looks for', () => expect(imageMetaKey('uuid')).toBe('.rbd_mirror.uuid'))
  it.each([
    ['{"resync_requested": true}', true],
    ['{"resync_requested": false}', false],
    ['{"resync_requested":true,"other":1}', true],
  ])('reads %s', (text, resyncRequested) => expect(parseImageMeta(text)).toEqual({ resyncRequested }))
  it.each(['', 'true', 'null', '{}', '{"resync_requested": "yes"}', '{"resync_requested": true'])('refuses %j', (text) =>
    expect(() => parseImageMeta(text)).toThrow(MalformedInput),
  )
})
