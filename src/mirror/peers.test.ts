import { describe, expect, it } from 'vitest'
import type { MirrorPeer } from '../cls/rbd/mirror-types.ts'
import { zeroTime } from '../encoding/codec.ts'
import { describePeer, diffPoolPeers, parsePeerConfig, peerProblem, poolPeerKey, replayedPeers } from './peers.ts'
import type { MirroredPool, PeerSpec } from './peers.ts'

const peer = (changes: Partial<PeerSpec> = {}): PeerSpec => ({
  uuid: 'u1',
  siteName: 'site-a',
  clientName: 'client.mirror',
  monHost: '',
  key: '',
  ...changes,
})
const pool = (poolId: bigint, peers: PeerSpec[], poolName = `pool${poolId}`): MirroredPool => {
  return { poolId, poolName, peers, callout: undefined }
}

describe('diffPoolPeers', () => {
  const running = (pools: MirroredPool[]) => [...diffPoolPeers([], pools).start.keys()]

  it('starts one replayer per pool and peer', () => {
    const two = [peer(), peer({ uuid: 'u2', siteName: 'site-c' })]
    const { start, stop } = diffPoolPeers([], [pool(1n, two), pool(2n, [peer()]), pool(3n, [])])
    expect(stop).toEqual([])
    expect([...start.values()].map(({ pool, peer }) => [pool.poolId, peer.uuid])).toEqual([
      [1n, 'u1'],
      [1n, 'u2'],
      [2n, 'u1'],
    ])
  })

  it('leaves alone what has not changed', () => {
    const pools = [pool(1n, [peer()])]
    expect(diffPoolPeers(running(pools), pools)).toEqual({ stop: [], start: new Map() })
  })

  it.each([
    ['site name', peer({ siteName: 'other' })],
    ['client', peer({ clientName: 'client.other' })],
    ['monitors', peer({ monHost: '10.0.0.1' })],
    ['key', peer({ key: 'AQ==' })],
    ['uuid', peer({ uuid: 'u9' })],
  ])('replaces a peer whose %s has changed', (_, changed) => {
    const before = running([pool(1n, [peer()])])
    const { stop, start } = diffPoolPeers(before, [pool(1n, [changed])])
    expect(stop).toEqual(before)
    expect([...start.keys()]).toEqual([poolPeerKey({ pool: pool(1n, []), peer: changed })])
  })

  it('stops what is gone, and what was renamed', () => {
    const before = running([pool(1n, [peer()]), pool(2n, [peer()])])
    const { stop, start } = diffPoolPeers(before, [pool(2n, [peer()], 'renamed')])
    expect(stop).toEqual(before)
    expect(start.size).toBe(1)
  })
})

describe('peers of a pool', () => {
  const entry = (direction: MirrorPeer['direction']): MirrorPeer => ({
    uuid: direction,
    siteName: 's',
    clientName: 'client.x',
    direction,
    mirrorUuid: '',
    lastSeen: zeroTime,
  })

  it('are replayed unless they only fetch from us', () => {
    expect(replayedPeers([entry('rx'), entry('tx'), entry('rx-tx')]).map(({ uuid }) => uuid)).toEqual(['rx', 'rx-tx'])
  })

  it('must have a site and a client to connect to', () => {
    expect(peerProblem(peer())).toBeUndefined()
    expect(peerProblem(peer({ uuid: '' }))).toMatch(/without uuid/)
    expect(peerProblem(peer({ siteName: '' }))).toMatch(/site name/)
    expect(peerProblem(peer({ siteName: '../../etc/shadow' }))).toMatch(/site name/)
    expect(peerProblem(peer({ clientName: '' }))).toMatch(/client name/)
    expect(peerProblem(peer({ clientName: 'mon.a' }))).toMatch(/client name/)
    expect(peerProblem(peer({ clientName: 'client.' }))).toMatch(/client name/)
  })

  it('are described without their key', () => {
    expect(describePeer(peer({ key: 'secret' }))).toBe('uuid: u1 cluster: site-a client: client.mirror')
  })
})

describe('parsePeerConfig', () => {
  it('reads what the rbd command stores', () => {
    expect(parsePeerConfig('{"mon_host":"[v2:1.2.3.4:3300]","key":"AQ=="}')).toEqual({ monHost: '[v2:1.2.3.4:3300]', key: 'AQ==' })
    expect(parsePeerConfig('{"key":"AQ=="}')).toEqual({ monHost: '', key: 'AQ==' })
  })

  it.each(['', 'null', '[]', '{"mon_host":1}', '{"key":', '"text"'])('rejects %j', (text) => {
    expect(parsePeerConfig(text)).toBeUndefined()
  })
})
