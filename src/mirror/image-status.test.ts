import { describe, expect, it } from 'vitest'
import { healthOf, statusOfEnd, replayingDescription } from './image-status.ts'
import type { ReplayEnd } from './replayer.ts'

describe('statusOfEnd', () => {
  const cases: [ReplayEnd, string, string][] = [
    [{ type: 'stopped' }, 'stopped', 'stopped'],
    [{ type: 'localPrimary' }, 'stopped', 'local image is primary'],
    [{ type: 'remoteNotPrimary' }, 'unknown', 'remote image is not primary'],
    [{ type: 'remoteDemoted' }, 'unknown', 'remote image demoted'],
    [{ type: 'localPromoted' }, 'stopped', 'force promoted'],
    [{ type: 'orphan' }, 'stopped', 'orphan (force promoting)'],
    [{ type: 'splitBrain', reason: 'split-brain' }, 'error', 'split-brain'],
    [{ type: 'disconnected' }, 'error', 'disconnected'],
    [{ type: 'resyncRequested' }, 'stopped', 'resync requested'],
    [{ type: 'remoteGone', localImageId: '1' }, 'stopped', 'remote image no longer exists'],
    [{ type: 'transient', reason: 'image in transient state, try again' }, 'error', 'image in transient state, try again'],
    [{ type: 'failed', description: 'failed to copy remote image', error: undefined }, 'error', 'failed to copy remote image'],
  ]

  it.each(cases)('shows %j as up+%s, %s', (end, state, description) => {
    expect(statusOfEnd(end)).toEqual({ state, description })
  })
})

describe('healthOf', () => {
  it('counts errors and what is not known', () => {
    const health = (state: Parameters<typeof healthOf>[0]['state']) => healthOf({ state, description: '' })
    expect(health('error')).toBe('error')
    expect([health('unknown'), health('syncing')]).toEqual(['warning', 'warning'])
    expect([health('replaying'), health('stopped'), health('starting_replay')]).toEqual(['ok', 'ok', 'ok'])
  })
})

describe('replayingDescription', () => {
  it('writes rates with a point, counts without', () => {
    const fields = { bytes_per_second: 0, bytes_per_snapshot: 12.5, last_snapshot_bytes: 7, replay_state: 'idle' }
    expect(replayingDescription(fields)).toBe('replaying, {"bytes_per_second":0.0,"bytes_per_snapshot":12.5,"last_snapshot_bytes":7,"replay_state":"idle"}')
    expect(replayingDescription({ entries_per_second: 3 })).toBe('replaying, {"entries_per_second":3.0}')
  })
})
