import { createServer } from 'node:net'
import { once } from 'node:events'
import { beforeEach, describe, expect, it } from 'vitest'
import type { MirrorPeer } from '../../cls/rbd/mirror-types.ts'
import { parseMonHost } from '../../config/mon-host.ts'
import { zeroTime } from '../../encoding/codec.ts'
import { FEATURE_EXCLUSIVE_LOCK, FEATURE_FAST_DIFF, FEATURE_JOURNALING, FEATURE_OBJECT_MAP, FLAG_OBJECT_MAP_INVALID } from '../../rbd/features.ts'
import { Findings } from './finding.ts'
import { judgeImages } from './images.ts'
import { judgePool, peerProblem, type PoolSettings } from './pools.ts'
import { checkDaemons, checkMonHost, endpointsOf } from './reach.ts'
import { checkBlocklist, judgeClock } from './site.ts'

let findings: Findings
beforeEach(() => {
  findings = new Findings()
})
const wrong = () => findings.list.filter(({ level }) => level === 'warning' || level === 'error')
const texts = () => wrong().map(({ text }) => text)
const never = new AbortController().signal

const peer = (more: Partial<MirrorPeer> = {}): MirrorPeer => {
  return { uuid: 'peer-1', siteName: 'site-a', clientName: 'client.rbd-mirror-peer', direction: 'rx', mirrorUuid: '', lastSeen: zeroTime, ...more }
}

describe('pools of both sides', () => {
  const sites = { local: { fsid: 'F-B', siteName: 'site-b' }, remote: { fsid: 'F-A', siteName: 'site-a' } }
  const settings = (more: Partial<PoolSettings> = {}): PoolSettings => ({ mode: 'image', mirrorUuid: 'M-B', peers: [], namespaces: new Map(), ...more })
  const remote = (more: Partial<PoolSettings> = {}) =>
    settings({ mirrorUuid: 'M-A', peers: [peer({ siteName: 'site-b', mirrorUuid: 'M-B', direction: 'tx' })], ...more })

  it('match', () => {
    judgePool('pool p', { local: settings(), remote: remote(), peer: peer() }, sites, findings)
    expect(findings.list).toMatchObject([{ level: 'ok', text: 'mode image and peer site-a match on both sides' }])
  })

  it.each([
    ['not enabled', { remote: remote({ mode: 'disabled' }) }, 'mirroring is not enabled on site-a'],
    ['another mode', { remote: remote({ mode: 'pool' }) }, 'its mode is image here and pool on site-a'],
    ['unknown there', { remote: remote({ peers: [] }) }, 'does not know this site'],
    ['wrong direction', { remote: remote({ peers: [peer({ siteName: 'site-b', direction: 'rx' })] }) }, 'has this site as rx-only'],
    ['set up anew', { peer: peer({ mirrorUuid: 'M-OLD' }) }, 'not the one it was'],
    ['a copy', { remote: remote({ mirrorUuid: 'M-B' }) }, 'same mirror uuid'],
    ['no namespace', { local: settings({ namespaces: new Map([['ns', 'image']]) }) }, 'has no such namespace'],
    ['other namespace', { local: settings({ namespaces: new Map([['ns', 'image']]) }), remote: remote({ namespaces: new Map([['ns', 'pool']]) }) }, 'its mode is'],
  ] as const)('%s', (_, more, text) => {
    judgePool('pool p', { local: settings(), remote: remote(), peer: peer(), ...more }, sites, findings)
    expect(texts()).toEqual([expect.stringContaining(text)])
    for (const { cure } of wrong()) expect(cure).toBeTruthy()
  })

  it('that are the same, or have the same or another name', () => {
    judgePool('pool p', { local: settings(), remote: remote(), peer: peer() }, { ...sites, remote: { ...sites.remote, fsid: 'F-B' } }, findings)
    judgePool('pool p', { local: settings(), remote: remote(), peer: peer({ siteName: 'site-b' }) }, { ...sites, remote: { fsid: 'F-A', siteName: 'site-b' } }, findings)
    judgePool('pool p', { local: settings(), remote: remote(), peer: peer({ siteName: 'old' }) }, sites, findings)
    expect(texts()).toEqual([
      'peer site-a is this very cluster',
      'both sites are called site-b',
      'the peer is called old here and calls itself site-a',
    ])
  })

  it('have peers with usable names', () => {
    expect(peerProblem(peer())).toBeUndefined()
    expect(peerProblem(peer({ siteName: 'a/b' }))).toContain('no usable site name')
    expect(peerProblem(peer({ clientName: 'mirror' }))).toContain('no usable client name')
  })
})

describe('images', () => {
  const snapshotFeatures = FEATURE_EXCLUSIVE_LOCK | FEATURE_OBJECT_MAP | FEATURE_FAST_DIFF
  const seen = (name: string, mode: 'journal' | 'snapshot', features: bigint, flags = 0n) => {
    return { id: name, image: { globalImageId: name, state: 'enabled' as const, mode }, header: { name, features, flags } }
  }

  it('have what their mode needs', () => {
    judgeImages('pool p', [seen('a', 'snapshot', snapshotFeatures), seen('b', 'journal', FEATURE_EXCLUSIVE_LOCK | FEATURE_JOURNALING)], findings)
    expect(findings.list).toMatchObject([{ level: 'ok', text: 'features and object maps of 2 images are as they should be' }])
  })

  it('or not', () => {
    judgeImages(
      'pool p',
      [seen('a', 'journal', FEATURE_EXCLUSIVE_LOCK), seen('b', 'snapshot', 0n), seen('c', 'snapshot', snapshotFeatures, FLAG_OBJECT_MAP_INVALID)],
      findings,
    )
    expect(wrong().map(({ level, text }) => [level, text])).toEqual([
      ['error', '1 image in journal mode without journaling or exclusive-lock: a'],
      ['warning', '1 image in snapshot mode without object-map and fast-diff: each sync looks at every object: b'],
      ['warning', '1 image with an object map that is flagged invalid: each sync looks at every object: c'],
    ])
  })
})

describe('a site', () => {
  it('has clocks that agree', () => {
    const at = 1_000_000
    judgeClock('c', { told: at + 5, asked: at, answered: at + 10 }, findings)
    expect(findings.list).toMatchObject([{ level: 'ok' }])
    judgeClock('c', { told: at - 3000, asked: at, answered: at + 10 }, findings)
    judgeClock('c', { told: at + 120_010, asked: at, answered: at + 10 }, findings)
    expect(wrong().map(({ level, text }) => [level, text.slice(0, 44)])).toEqual([
      ['warning', "its clock and this host's differ by 3.0 s: l"],
      ['error', "its clock and this host's differ by 120.0 s:"],
    ])
  })

  it('has a blocklist, in the form of either release', () => {
    const own = new Set(['10.0.0.1', 'fd00::1'])
    const now = Date.parse('2026-01-01T00:00:00Z')
    const later = '2026-01-01T01:00:00.123456+0000'
    const earlier = '2025-12-31T23:00:00.123456+0000'
    checkBlocklist('c', { '10.0.0.1:0/123': earlier, '10.0.0.2:0/1': later }, own, now, findings)
    expect(findings.list).toMatchObject([{ level: 'ok' }])
    checkBlocklist('c', { '10.0.0.1:0/123': later, '[fd00::1]:0/7': later }, own, now, findings)
    checkBlocklist('c', [{ '10.0.0.1:0/9': later }], own, now, findings)
    expect(texts()).toEqual(['2 clients of this host are blocklisted: 10.0.0.1:0/123, [fd00::1]:0/7', '1 clients of this host are blocklisted: 10.0.0.1:0/9'])
    expect(wrong()[0]!.cure).toContain('ceph osd blocklist rm 10.0.0.1:0/123')
  })

  const dumps = (port: number) => ({
    mons: { mons: [{ name: 'a', public_addrs: { addrvec: [{ type: 'v1', addr: '127.0.0.1:1' }, { type: 'v2', addr: `127.0.0.1:${port}` }] } }] },
    osds: {
      osds: [
        { osd: 0, up: 1, public_addrs: { addrvec: [{ type: 'v2', addr: `[::1]:${port}` }] } },
        { osd: 1, up: 0, public_addrs: { addrvec: [] } },
      ],
    },
  })

  it('names its daemons by the newest protocol', () => {
    const { mons, osds } = dumps(3300)
    expect(endpointsOf(mons, osds)).toEqual({
      mons: [{ name: 'mon.a', host: '127.0.0.1', port: 3300 }],
      osds: [{ name: 'osd.0', host: '::1', port: 3300 }],
    })
  })

  it('is reached, or not', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const addresses = (text: string) => {
      const parsed = parseMonHost(text)
      if (parsed.driver !== 'ceph') throw new Error('no addresses')
      return parsed.addresses
    }
    expect(await checkMonHost('c', addresses(`127.0.0.1:${port}`), findings, never)).toBe(true)
    expect(await checkMonHost('c', addresses(`127.0.0.1:${port},127.0.0.1:2`), findings, never)).toBe(true)
    expect(await checkMonHost('c', addresses('v2:127.0.0.1:2'), findings, never)).toBe(false)
    const { mons } = dumps(port)
    await checkDaemons('c', mons, { osds: [{ osd: 7, up: 1, public_addrs: { addrvec: [{ type: 'v2', addr: '127.0.0.1:2' }] } }] }, findings, never)
    await checkDaemons('c', mons, { osds: [] }, findings, never)
    expect(wrong().map(({ level, text }) => [level, text])).toEqual([
      ['warning', 'not all monitors of mon_host are reached: monitor 127.0.0.1 port 2: ECONNREFUSED'],
      ['error', 'none of its monitors is reached: monitor 127.0.0.1 port 2: ECONNREFUSED'],
      ['error', '1 of 2 daemons are not reached from this host: osd.7 at 127.0.0.1 port 2: ECONNREFUSED'],
      ['error', 'no OSD is up'],
    ])
    server.close()
  })
})
