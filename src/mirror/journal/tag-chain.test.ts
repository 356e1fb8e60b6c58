import { describe, expect, test } from 'vitest'
import { LOCAL_MIRROR_UUID as OWN, ORPHAN_MIRROR_UUID as ORPHAN, type TagData } from '../../rbd/journal/tag-data.ts'
import { isOwnDemotion, linkTags, localTagFor } from './tag-chain.ts'

const sites = { localMirrorUuid: 'here', remoteMirrorUuid: 'there' }
const tag = (mirrorUuid: string, predecessor?: [mirrorUuid: string, tagTid: bigint, entryTid: bigint]): TagData => ({
  mirrorUuid,
  predecessor: predecessor
    ? { mirrorUuid: predecessor[0], commitValid: true, tagTid: predecessor[1], entryTid: predecessor[2] }
    : { mirrorUuid: '', commitValid: false, tagTid: 0n, entryTid: 0n },
})
const chain = (...tags: TagData[]) => tags.map((data, index) => ({ tid: BigInt(index + 1), data }))

describe('a replica that follows the remote', () => {
  test('is linked when just synced', () => {
    expect(linkTags(tag('there'), chain(tag(OWN)), sites)).toEqual({ type: 'linked' })
  })
  test('is linked to a journal whose older tags are gone', () => {
    const remote = [{ tid: 9n, data: tag(OWN, [OWN, 8n, 5n]) }]
    expect(linkTags(tag('there', ['there', 8n, 5n]), remote, sites).type).toBe('linked')
  })
  test('is not linked to a journal that begins anew', () => {
    expect(linkTags(tag('there', ['there', 8n, 5n]), chain(tag(OWN)), sites)).toMatchObject({ type: 'splitBrain' })
    expect(linkTags(tag('there'), [], sites)).toMatchObject({ type: 'splitBrain' })
  })
})

describe('after demotions', () => {
  // remote: primary, demoted; local has replayed the demotion; remote promotes again
  const localSawRemoteDemote = tag(ORPHAN, ['there', 1n, 7n])
  const remoteDemoted = tag(ORPHAN, [OWN, 1n, 7n])
  test('the remote promoted again', () => {
    const remote = chain(tag(OWN), remoteDemoted, tag(OWN, [ORPHAN, 2n, 1n]))
    expect(linkTags(localSawRemoteDemote, remote, sites).type).toBe('linked')
  })
  test('the remote still demoted', () => {
    expect(linkTags(localSawRemoteDemote, chain(tag(OWN), remoteDemoted), sites).type).toBe('splitBrain')
  })
  test('the remote force promoted past it', () => {
    const remote = chain(tag(OWN), tag(ORPHAN, [OWN, 1n, 9n]), tag(OWN, [OWN, 2n, 9n]))
    expect(linkTags(localSawRemoteDemote, remote, sites)).toMatchObject({ type: 'splitBrain', reason: expect.stringContaining('tag 1') as string })
  })
  test('a failover there: we were primary, demoted, the remote followed and promoted', () => {
    const local = tag(ORPHAN, [OWN, 4n, 2n])
    const remote = chain(tag('here'), tag('here'), tag('here'), tag(ORPHAN, ['here', 4n, 2n]), tag(OWN, [ORPHAN, 4n, 1n]))
    expect(linkTags(local, remote, sites).type).toBe('linked')
  })
  test('something between the demotion and the promotion', () => {
    const local = tag(ORPHAN, [OWN, 4n, 2n])
    const remote = chain(tag('here'), tag(ORPHAN, ['here', 4n, 2n]), tag('else'), tag(OWN, [ORPHAN, 2n, 1n]))
    expect(linkTags(local, remote, sites).type).toBe('splitBrain')
  })
})

describe('of a journal that nothing was written to', () => {
  const never = (mirrorUuid: string): TagData => ({ mirrorUuid: ORPHAN, predecessor: { mirrorUuid, commitValid: false, tagTid: 0n, entryTid: 0n } })
  test('the remote was demoted and promoted again', () => {
    expect(linkTags(never('there'), chain(tag(OWN), never(OWN), tag(OWN, [ORPHAN, 2n, 1n])), sites).type).toBe('linked')
  })
  test('a failover there', () => {
    expect(linkTags(never(OWN), chain(tag('here'), never('here'), tag(OWN, [ORPHAN, 2n, 1n])), sites).type).toBe('linked')
  })
  test('the remote was promoted by force, or has been written since', () => {
    expect(linkTags(never(OWN), chain(tag('here'), tag(OWN, [OWN, 1n, 0n])), sites).type).toBe('splitBrain')
    expect(linkTags(never('there'), chain(tag(OWN), tag(ORPHAN, [OWN, 1n, 4n]), tag(OWN, [ORPHAN, 2n, 1n])), sites).type).toBe('splitBrain')
    expect(linkTags(never('there'), chain(tag(OWN), never('else'), tag(OWN, [ORPHAN, 2n, 1n])), sites).type).toBe('splitBrain')
  })
})

test('a local image that was promoted, or follows a third cluster, is split', () => {
  expect(linkTags(tag(OWN, ['there', 1n, 1n]), chain(tag(OWN)), sites)).toMatchObject({ reason: expect.stringContaining('promoted') as string })
  expect(linkTags(tag('third'), chain(tag(OWN)), sites)).toMatchObject({ reason: expect.stringContaining('third') as string })
  expect(linkTags(tag(ORPHAN), chain(tag(OWN)), sites).type).toBe('splitBrain')
})

test('tags are translated to this side', () => {
  expect(localTagFor(tag(OWN, ['here', 3n, 4n]), sites)).toEqual(tag('there', [OWN, 3n, 4n]))
  expect(localTagFor(tag('here', [OWN, 3n, 4n]), sites)).toEqual(tag(OWN, ['there', 3n, 4n]))
  expect(localTagFor(tag(ORPHAN, [OWN, 3n, 4n]), sites)).toEqual(tag(ORPHAN, ['there', 3n, 4n]))
})

test('our own demotion is recognised', () => {
  expect(isOwnDemotion(tag(ORPHAN, [OWN, 1n, 1n]))).toBe(true)
  expect(isOwnDemotion(tag(ORPHAN, ['there', 1n, 1n]))).toBe(false)
  expect(isOwnDemotion(tag(ORPHAN))).toBe(false)
})
