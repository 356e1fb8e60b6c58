import { describe, expect, it } from 'vitest'
import type { MirrorImageMode, MirrorImageState } from '../../cls/rbd/mirror-types.ts'
import type { PromotionState } from '../../rbd/mirror/mirror-info.ts'
import { decideBootstrap, type BootstrapDecision, type BootstrapObservation, type ObservedImage } from './decide.ts'

const THERE = 'remote-uuid'

function image(promotion: PromotionState, more: { state?: MirrorImageState; mode?: MirrorImageMode; primaryMirrorUuid?: string } = {}): ObservedImage {
  const { state = 'enabled', mode = 'snapshot', primaryMirrorUuid = promotion === 'non-primary' ? THERE : '' } = more
  return { imageId: `${promotion} image`, info: { image: { globalImageId: 'global', state, mode }, promotion: { state: promotion, primaryMirrorUuid } } }
}

function short(decision: BootstrapDecision): string {
  if (decision.type !== 'end') return decision.type
  const { end } = decision
  return 'reason' in end ? `${end.type}: ${end.reason}` : 'description' in end ? `${end.type}: ${end.description}` : end.type
}

const decide = (observation: Partial<BootstrapObservation>) =>
  short(decideBootstrap({ local: undefined, remote: undefined, remoteMirrorUuid: THERE, linkedPeer: true, ...observation }))

const DISABLING = 'transient: remote image mirroring is being disabled; where that was cut short, go on with it there: rbd mirror image disable'

describe('decideBootstrap', () => {
  const rows: [string, Partial<BootstrapObservation>, string][] = [
    ['nothing on either side', {}, 'imageGone'],
    ['a new remote image', { remote: image('primary') }, 'create'],
    ['a remote image being disabled', { remote: image('primary', { state: 'disabling' }) }, DISABLING],
    ['an entry of one that was', { remote: 'disabling' }, DISABLING],
    ['a demoted remote image', { remote: image('orphan') }, 'remoteNotPrimary'],
    ['a remote replica of somebody', { remote: image('non-primary') }, 'remoteNotPrimary'],
    ['a remote image being made', { remote: image('unknown', { state: 'creating' }) }, 'remoteNotPrimary'],
    ['a replica', { local: image('non-primary'), remote: image('primary') }, 'open'],
    ['a replica of a demoted image', { local: image('non-primary'), remote: image('orphan') }, 'open'],
    ['a demoted image, a promoted one', { local: image('orphan'), remote: image('primary') }, 'open'],
    ['demoted on both sides', { local: image('orphan'), remote: image('orphan') }, 'remoteNotPrimary'],
    ['the same in journal mode', { local: image('orphan', { mode: 'journal' }), remote: image('orphan', { mode: 'journal' }) }, 'open'],
    ['demoted here, not replayed yet there', { local: image('orphan', { mode: 'journal' }), remote: image('non-primary', { mode: 'journal' }) }, 'remoteNotPrimary'],
    ['a demoted image, and nothing', { local: image('orphan') }, 'failed: remote image does not exist'],
    ['a replica, and nothing', { local: image('non-primary') }, 'remoteGone'],
    ['a replica, and an image being disabled', { local: image('non-primary'), remote: image('primary', { state: 'disabling' }) }, 'remoteGone'],
    ['a replica of somebody else, and nothing', { local: image('non-primary', { primaryMirrorUuid: 'x' }) }, 'failed: remote image does not exist'],
    ['a replica, but the remote does not know us', { local: image('non-primary'), linkedPeer: false }, 'failed: remote image does not exist'],
    ['a replica that is being force promoted', { local: image('non-primary', { primaryMirrorUuid: '' }), remote: image('primary') }, 'orphan'],
    ['the same, and nothing', { local: image('non-primary', { primaryMirrorUuid: '' }) }, 'orphan'],
    ['primary on both sides', { local: image('primary'), remote: image('primary') }, 'localPrimary'],
    ['primary here only', { local: image('primary') }, 'localPrimary'],
    ['never finished', { local: image('unknown', { state: 'creating' }), remote: image('primary') }, 'localIncomplete'],
    ['in the trash, or no image but an entry', { local: 'remains', remote: image('primary') }, 'localIncomplete'],
    ['the same, and nothing', { local: 'remains' }, 'localIncomplete'],
    ['being disabled here', { local: image('primary', { state: 'disabling' }), remote: image('primary') }, 'transient: local image mirroring is being disabled'],
    ['two modes', { local: image('non-primary', { mode: 'journal' }), remote: image('primary') }, 'modesDiffer'],
  ]
  it.each(rows)('%s', (_, observation, decision) => expect(decide(observation)).toBe(decision))

  it('deletes only what is a replica of exactly this remote, and creates only where nothing is', () => {
    const promotions: PromotionState[] = ['primary', 'non-primary', 'orphan', 'unknown']
    const states: MirrorImageState[] = ['enabled', 'disabling', 'creating', 'disabled']
    const modes: MirrorImageMode[] = ['snapshot', 'journal']
    const images = [
      undefined,
      ...promotions.flatMap((promotion) =>
        states.flatMap((state) => modes.flatMap((mode) => [THERE, 'x', ''].map((primaryMirrorUuid) => image(promotion, { state, mode, primaryMirrorUuid })))),
      ),
    ]
    for (const local of images) {
      for (const remote of images) {
        for (const linkedPeer of [true, false]) {
          const decision = decideBootstrap({ local, remote, remoteMirrorUuid: THERE, linkedPeer })
          if (decision.type === 'end' && decision.end.type === 'remoteGone') {
            expect(local?.info.promotion).toEqual({ state: 'non-primary', primaryMirrorUuid: THERE })
            expect(linkedPeer || local?.info.image.mode === 'journal').toBe(true)
            expect(remote === undefined || remote.info.image.state === 'disabling').toBe(true)
          }
          if (decision.type === 'create') expect([local, remote?.info.promotion.state]).toEqual([undefined, 'primary'])
          if (decision.type === 'open') expect(local?.info.promotion.state).not.toBe('primary')
        }
      }
    }
  })
})
