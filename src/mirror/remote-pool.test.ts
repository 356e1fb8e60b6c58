import { describe, expect, it } from 'vitest'
import type { MirrorPeer } from '../cls/rbd/mirror-types.ts'
import { zeroTime } from '../encoding/codec.ts'
import { findOurselves } from './remote-pool.ts'

const peer = (uuid: string, siteName: string, mirrorUuid: string, direction: MirrorPeer['direction'] = 'rx-tx'): MirrorPeer => ({
  uuid,
  siteName,
  clientName: '',
  direction,
  mirrorUuid,
  lastSeen: zeroTime,
})

describe('findOurselves', () => {
  it('goes by the mirror uuid first', () => {
    expect(findOurselves([peer('1', 'site-b', ''), peer('2', 'renamed', 'ours')], 'site-b', 'ours')?.uuid).toBe('2')
  })

  it('goes by the site name where no mirror uuid is known', () => {
    expect(findOurselves([peer('1', 'site-c', 'x'), peer('2', 'site-b', '')], 'site-b', 'ours')?.uuid).toBe('2')
  })

  it('passes over peers that the remote only fetches from', () => {
    expect(findOurselves([peer('1', 'site-b', 'ours', 'rx')], 'site-b', 'ours')).toBeUndefined()
    expect(findOurselves([peer('1', 'site-b', 'ours', 'rx'), peer('2', 'site-b', 'ours', 'tx')], 'site-b', 'ours')?.uuid).toBe('2')
  })

  it('finds nobody in an empty list', () => {
    expect(findOurselves([], 'site-b', 'ours')).toBeUndefined()
  })
})
