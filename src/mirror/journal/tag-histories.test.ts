import { describe, expect, test } from 'vitest'
import type { MirrorPeerClientMeta } from '../../rbd/journal/client-data.ts'
import { LOCAL_MIRROR_UUID as OWN, ORPHAN_MIRROR_UUID as ORPHAN, type TagData } from '../../rbd/journal/tag-data.ts'
import { decideReplay } from './decide-replay.ts'
import { emptyEpochs, followsDemotion, isDemotionHere, isOwnDemotion, localTagFor, type NumberedTag, type Reader, type Sites } from './tag-chain.ts'

/*
 * Every history of two sites up to some length, as their journals would tell it: writes, promotions, demotions, daemons that run on either site or
 * don't. What an image holds is known here, and only here.
 */

interface Position {
  tag: bigint
  entry: bigint
}

interface Client {
  imageId: string
  state: MirrorPeerClientMeta['state']
  /** index of the next entry that it has not committed */
  next: number
  /** newest first, as many as the journal's width */
  positions: Position[]
}

type Entry = Position & { write: number | undefined; demotion: boolean }

interface Site {
  name: 'a' | 'b'
  imageId: string
  tags: NumberedTag[]
  nextTid: bigint
  entries: Entry[]
  /** the image's own client is '' */
  clients: Record<string, Client>
  resync: boolean
  /** numbers of all writes that the image has seen */
  holds: number[]
}

interface World {
  a: Site
  b: Site
  writes: number
  /** a site was promoted by force */
  forced: boolean
}

/** the journal's: so many positions a client has */
const WIDTH = 2
const NONE = { mirrorUuid: '', commitValid: false, tagTid: 0n, entryTid: 0n }
/**
 * `late`: a write that is not yet committed when the image is demoted; `step`: the daemon dies after an entry that it has replayed; the others are what
 * they are called.
 */
type Verb = 'write' | 'late' | 'demote' | 'promote' | 'force' | 'run' | 'step'
type Action = `${Verb} ${'a' | 'b'}`

const newest = (site: Site) => site.tags.at(-1)!
const isPrimary = (site: Site) => newest(site).data.mirrorUuid === OWN
const committed = (site: Site) => site.clients['']!.positions[0]

function start(): World {
  const site = (name: 'a' | 'b', owner: string): Site => ({
    name,
    imageId: `image-${name}`,
    tags: [{ tid: 0n, data: { mirrorUuid: owner, predecessor: NONE } }],
    nextTid: 1n,
    entries: [],
    clients: { '': { imageId: '', state: 'replaying', next: 0, positions: [] } },
    resync: false,
    holds: [],
  })
  const world = { a: site('a', OWN), b: site('b', 'a'), writes: 0, forced: false }
  world.a.clients['b'] = { imageId: 'image-b', state: 'replaying', next: 0, positions: [] }
  return world
}

/** As the journal's object class does it: tags before every client's positions go, unless one has none. */
function allocate(site: Site, data: TagData): bigint {
  const clients = Object.values(site.clients)
  if (clients.every(({ positions }) => positions.length > 0)) {
    const oldest = clients.flatMap(({ positions }) => positions.map(({ tag }) => tag)).reduce((x, y) => (x < y ? x : y))
    site.tags = site.tags.filter(({ tid }) => tid >= oldest)
  }
  site.tags.push({ tid: site.nextTid, data })
  return site.nextTid++
}

function append(site: Site, tag: bigint, write: number | undefined, { demotion = false, uncommitted = false } = {}): void {
  const entry = BigInt(site.entries.filter((it) => it.tag === tag).length)
  site.entries.push({ tag, entry, write, demotion })
  if (!uncommitted) commit(site, '')
}

function commit(site: Site, clientId: string): void {
  const client = site.clients[clientId]!
  client.next = site.entries.length
  client.positions = site.entries.slice(-WIDTH).reverse().map(({ tag, entry }) => ({ tag, entry }))
}

const here = (position: Position | undefined) =>
  position ? { mirrorUuid: OWN, commitValid: true, tagTid: position.tag, entryTid: position.entry } : { ...NONE, mirrorUuid: OWN }

/** `undefined` for what Ceph would refuse, or what does nothing. */
function act(before: World, action: Action): World | undefined {
  const world = structuredClone(before)
  const [verb, name] = action.split(' ') as [Verb, 'a' | 'b']
  const site = world[name]
  switch (verb) {
    case 'write':
      if (!isPrimary(site)) return undefined
      append(site, allocate(site, { mirrorUuid: OWN, predecessor: here(committed(site)) }), world.writes)
      site.holds.push(world.writes++)
      return world
    case 'late':
      if (!isPrimary(site)) return undefined
      append(site, newest(site).tid, world.writes, { uncommitted: true })
      site.holds.push(world.writes++)
      return world
    case 'demote':
      if (!isPrimary(site)) return undefined
      append(site, allocate(site, { mirrorUuid: ORPHAN, predecessor: here(committed(site)) }), undefined, { demotion: true })
      return world
    case 'promote':
      if (newest(site).data.mirrorUuid !== ORPHAN) return undefined
      return promote(world, site, { mirrorUuid: ORPHAN, commitValid: true, tagTid: newest(site).tid, entryTid: 1n })
    case 'force':
      if (isPrimary(site) || newest(site).data.mirrorUuid === ORPHAN) return undefined
      return promote(world, site, here({ tag: newest(site).tid, entry: 0n }))
    default:
      run(site, world[name === 'a' ? 'b' : 'a'], verb === 'step' ? 1 : Infinity)
      return world
  }
}

function promote(world: World, site: Site, predecessor: TagData['predecessor']): World {
  world.forced ||= predecessor.mirrorUuid !== ORPHAN
  append(site, allocate(site, { mirrorUuid: OWN, predecessor }), undefined)
  return world
}

/** A client that is registered begins where the one is that has come least far (cls_journal.cc). */
function register(site: Site, client: Site, state: Client['state']): void {
  const least = Object.values(site.clients).reduce((x, y) => (x.next <= y.next ? x : y))
  site.clients[client.name] = { imageId: client.imageId, state, next: least.next, positions: [...least.positions] }
}

/** What the daemon of `local` makes of the image until it rests, or has replayed `most` entries. Throws where it loses or misses something. */
function run(local: Site, remote: Site, most: number): void {
  const sites = { localMirrorUuid: local.name, remoteMirrorUuid: remote.name }
  const known = remote.clients[local.name]
  const { mirrorUuid } = newest(local).data
  const mayFollowLater = () => {
    if (!known && (mirrorUuid === OWN || mirrorUuid === ORPHAN) && !isDemotionHere(newest(remote).data)) register(remote, local, 'replaying')
  }
  const follows = mirrorUuid === remote.name
  const bothDemoted = mirrorUuid === ORPHAN && newest(remote).data.mirrorUuid === ORPHAN
  if (isPrimary(local) || (!isPrimary(remote) && !follows && !bothDemoted)) return mayFollowLater()
  const reader: Reader | undefined = local.clients[remote.name] && {
    imageId: local.clients[remote.name]!.imageId,
    replaying: local.clients[remote.name]!.state === 'replaying',
    committedTag: local.clients[remote.name]!.positions[0]?.tag,
  }
  const since = (known ?? remote.clients['']!).positions.map(({ tag }) => tag).reduce((x, y) => (x < y ? x : y), 1000n)
  const remoteTags = since === 1000n ? remote.tags : remote.tags.filter(({ tid }, index) => tid >= since || isSucceededAfter(remote.tags, index, since))
  const meta: MirrorPeerClientMeta = { type: 'mirrorPeer', imageId: local.imageId, state: known?.state ?? 'replaying', syncObjectCount: 0, syncPoints: [], snapSeqs: new Map() }
  const decision = decideReplay({
    localImageId: local.imageId,
    remoteImageId: remote.imageId,
    localTag: newest(local),
    earlierTags: emptyEpochs(local.tags)
      .filter(({ promotion }) => local.entries.every(({ tag, write }) => tag < promotion || write === undefined))
      .map(({ before }) => before),
    resyncRequested: local.resync,
    client: { meta, state: known && 'connected', isNew: !known },
    reader: remote.resync ? undefined : reader,
    remoteTags,
    sites,
    resyncAfterDisconnect: false,
    resyncMode: 'delta',
  })
  if (decision.type === 'end') {
    if (decision.end.type === 'splitBrain') throw new SplitBrain(decision.end.reason)
    return mayFollowLater()
  }
  const lost = local.holds.filter((write) => !remote.holds.includes(write))
  if (lost.length > 0) throw new Error(`${decision.type} gives up writes ${lost.join(', ')} of ${local.name}`)
  if (decision.type === 'resync') {
    register(remote, local, 'replaying')
    remote.clients[local.name]!.next = Math.min(remote.clients[local.name]!.next, remote.entries.length)
    local.holds = [...remote.holds]
    allocate(local, { mirrorUuid: remote.name, predecessor: NONE })
    if (local.clients[remote.name]) {
      delete local.clients[remote.name]
      register(local, remote, 'replaying')
    }
  } else if (decision.type !== 'replay') throw new Error(`unexpected: ${decision.type}`)
  const reads = local.clients[remote.name]
  if (decision.type === 'replay' && decision.readerHasAll && reads) {
    reads.next = local.entries.length
    reads.positions = [...local.clients['']!.positions]
  }
  const client = remote.clients[local.name]!
  const from = client.next
  // it looks again at what has been demoted
  if (replay(local, remote, sites, most) === 'demoted' && client.next - from < most) return run(local, remote, most - (client.next - from))
  if (client.next < remote.entries.length) return
  const missed = remote.holds.filter((write) => !local.holds.includes(write))
  if (missed.length > 0) throw new Error(`${local.name} misses writes ${missed.join(', ')}`)
}

/** A demotion that a promotion follows is asked for by its number. */
function isSucceededAfter(tags: readonly NumberedTag[], index: number, since: bigint): boolean {
  const next = tags[index + 1]
  return next !== undefined && next.tid >= since && followsDemotion(next.data) === tags[index]!.tid
}

class SplitBrain extends Error {}

function replay(local: Site, remote: Site, sites: Sites, most: number): 'demoted' | 'idle' {
  const client = remote.clients[local.name]!
  let tag: bigint | undefined
  for (const entry of remote.entries.slice(client.next, client.next + most)) {
    if (entry.tag !== tag) {
      tag = entry.tag
      const data = remote.tags.find(({ tid }) => tid === tag)?.data
      if (!data) throw new Error(`tag ${tag} of ${remote.name} is gone, and has entries to replay`)
      const wanted = localTagFor(data, sites)
      const known = newest(local).data
      const noted = JSON.stringify(known, bigints) === JSON.stringify(wanted, bigints) || (data.mirrorUuid === ORPHAN && isOwnDemotion(known))
      if (!noted) allocate(local, wanted)
    }
    if (entry.write !== undefined && !local.holds.includes(entry.write)) local.holds.push(entry.write)
    client.next++
    client.positions = [{ tag: entry.tag, entry: entry.entry }, ...client.positions].slice(0, WIDTH)
    if (entry.demotion) return 'demoted'
  }
  return 'idle'
}

const bigints = (_key: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value)

/** Visits every state that can be come to within so many actions, once. Returns how many. */
function explore(actions: readonly Action[], depth: number, onSplit: (world: World, history: readonly Action[]) => void): number {
  let front = new Map<string, { world: World; history: Action[] }>([['', { world: start(), history: [] }]])
  const seen = new Set<string>()
  for (let step = 0; step < depth; step++) {
    const next = new Map<string, { world: World; history: Action[] }>()
    for (const { world, history } of front.values()) {
      for (const action of actions) {
        const then = [...history, action]
        let after: World | undefined
        try {
          after = act(world, action)
        } catch (error) {
          if (!(error instanceof SplitBrain)) throw new Error(`${then.join(', ')}: ${(error as Error).message}`, { cause: error })
          onSplit(world, then)
        }
        if (!after) continue
        const key = JSON.stringify(after, bigints)
        if (seen.has(key)) continue
        seen.add(key)
        next.set(key, { world: after, history: then })
      }
    }
    front = next
  }
  return seen.size
}

/** The tag before the site's last promotion is gone, as nobody read its journal then: what the image had before can't be told any more. */
function hasForgotten({ tags }: Site): boolean {
  const { data } = emptyEpochs(tags).at(-1)?.before ?? tags.at(-1)!
  if (!isDemotionHere(data) || !data.predecessor.commitValid) return false
  const lastWritten = tags.find(({ tid }) => tid === data.predecessor.tagTid)
  const demotion = lastWritten && followsDemotion(lastWritten.data)
  return !lastWritten || (demotion !== undefined && !tags.some(({ tid }) => tid === demotion))
}

/** The tags before the site's own epochs are gone, as the other site had not made itself known before. */
function beginsWithin({ tags }: Site): boolean {
  const { tid, data } = tags[0]!
  return tid > 0n && (data.mirrorUuid === OWN || isDemotionHere(data))
}

describe('histories of two sites', () => {
  test.each<[number, readonly Verb[]]>([
    [7, ['write', 'demote', 'promote', 'force', 'run']],
    [6, ['write', 'late', 'demote', 'promote', 'force', 'run', 'step']],
    [10, ['write', 'demote', 'promote', 'run']],
    [9, ['late', 'demote', 'promote', 'run']],
  ])('split-brain is said only after a promotion by force, or of what the other site lacks; nothing is lost, nothing missed: %i of %s', (depth, verbs) => {
    let splits = 0
    const visited = explore(verbs.flatMap((verb): Action[] => [`${verb} a`, `${verb} b`]), depth, (world, history) => {
      splits++
      const [local, remote] = history.at(-1)!.endsWith('a') ? [world.a, world.b] : [world.b, world.a]
      const lacks = local.holds.some((write) => !remote.holds.includes(write))
      if (!world.forced && !lacks && !hasForgotten(local) && !beginsWithin(remote)) throw new Error(`untrue split-brain after ${history.join(', ')}`)
    })
    expect(visited).toBeGreaterThan(1000)
    expect(splits).toBeGreaterThan(0)
  })
})
