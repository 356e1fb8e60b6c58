import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Notifier } from '../base/notifier.ts'
import type { ObjectPosition } from '../cls/journal/types.ts'
import { advancePositions } from './commit-position.ts'
import { ENTRY_OVERHEAD, encodeEntry } from './entry.ts'
import { defaultPlayerLimits, JournalPlayer, type Played, type PlayedEntry, type PlayerLimits } from './player.ts'

/** A journal in memory, written the way JournalRecorder.cc does: a set is closed when one of its objects is full. */
class FakeJournal {
  readonly objects = new Map<number, Buffer>()
  minimumSet = 0
  activeSet = 0
  nextTagTid = 0n
  written: PlayedEntry[] = []
  reads = 0
  private nextEntryTid = 0n

  constructor(
    readonly splayWidth = 4,
    private readonly objectSize = 1000,
    private readonly padding = 1,
  ) {}

  async refresh(): Promise<void> {}

  newTag(): void {
    this.nextTagTid++
    this.nextEntryTid = 0n
  }

  append(data: string): void {
    this.write(this.nextEntryTid++, data)
  }

  /** An entry whose append the writer did not live to see. */
  lose(): void {
    this.nextEntryTid++
  }

  private write(entryTid: bigint, text: string): void {
    const data = Buffer.from(text)
    const offset = Number(entryTid % BigInt(this.splayWidth))
    if ((this.objects.get(this.activeSet * this.splayWidth + offset)?.length ?? 0) + ENTRY_OVERHEAD + data.length > this.objectSize) this.activeSet++
    const objectNumber = this.activeSet * this.splayWidth + offset
    const entry = { tagTid: this.nextTagTid - 1n, entryTid, data }
    const bytes = Buffer.concat([this.objects.get(objectNumber) ?? Buffer.alloc(0), encodeEntry(entry)])
    this.objects.set(objectNumber, Buffer.concat([bytes, Buffer.alloc(-bytes.length & (this.padding - 1))]))
    this.written.push({ ...entry, objectNumber })
  }

  player(committed: readonly ObjectPosition[] = [], limits: Partial<PlayerLimits> = {}) {
    let now = 0
    const clock = {
      now: () => now,
      monotonic: () => now,
      setTimer: (ms: number, callback: () => void) => {
        const timer = setImmediate(() => {
          now += ms
          callback()
        })
        return () => clearImmediate(timer)
      },
    }
    const readObject = async (objectNumber: number, offset: number, into: Buffer) => {
      this.reads++
      return this.objects.get(objectNumber)?.copy(into, 0, offset) ?? 0
    }
    const player = new JournalPlayer({ metadata: this, readObject, committed, clock, changed: new Notifier(), limits: { ...defaultPlayerLimits, ...limits } })
    return { player, elapsed: () => now }
  }
}

/** Plays until nothing more comes. */
async function playAll(player: JournalPlayer): Promise<{ entries: PlayedEntry[]; end: Played }> {
  const entries: PlayedEntry[] = []
  for (let end = await player.read(); ; end = await player.read()) {
    if (end.type !== 'entries') return { entries, end }
    entries.push(...end.entries)
  }
}

const tids = (entries: readonly PlayedEntry[]) => entries.map(({ tagTid, entryTid }) => `${tagTid}/${entryTid}`)

test('an empty journal is idle', async () => {
  const journal = new FakeJournal()
  expect(await journal.player().player.read()).toEqual({ type: 'idle' })
})

test('entries come in the order of their tids, over objects, sets and padding', async () => {
  const journal = new FakeJournal(4, 1000, 64)
  journal.newTag()
  for (let index = 0; index < 200; index++) journal.append(`entry ${index}`)
  expect(journal.activeSet).toBeGreaterThan(2)
  const { entries, end } = await playAll(journal.player().player)
  expect(end.type).toBe('idle')
  expect(entries).toEqual(journal.written)
})

test('a player that waits gets what is appended later', async () => {
  const journal = new FakeJournal()
  const { player } = journal.player()
  expect((await player.read()).type).toBe('idle')
  journal.newTag()
  const played: PlayedEntry[] = []
  for (let round = 0; round < 30; round++) {
    for (let index = 0; index <= round % 7; index++) journal.append(`${round}.${index}`)
    if (round % 10 === 9) journal.newTag()
    for (let tries = 0; tries < 200 && played.length < journal.written.length; tries++) {
      await player.wait()
      played.push(...(await playAll(player)).entries)
    }
  }
  expect(played).toEqual(journal.written)
})

test('it looks ever more seldom while nothing comes', async () => {
  const journal = new FakeJournal()
  const { player, elapsed } = journal.player([], { maxPollMs: 1_000 })
  await player.read()
  const before = journal.reads
  while (elapsed() < 60_000) {
    await player.wait()
    await player.read()
  }
  expect(journal.reads - before).toBeLessThan(85)
})

test('an entry larger than a fetch', async () => {
  const journal = new FakeJournal(1, 10_000_000)
  journal.newTag()
  journal.append('x'.repeat(300_000))
  journal.append('y')
  const { entries } = await playAll(journal.player().player)
  expect(entries.map(({ data }, index) => data.equals(journal.written[index]!.data))).toEqual([true, true])
})

describe('tags', () => {
  test('one that ended without its last entries is followed by the next', async () => {
    const journal = new FakeJournal()
    journal.newTag()
    for (let index = 0; index < 6; index++) journal.append('a')
    journal.lose()
    journal.append('never confirmed')
    journal.newTag()
    for (let index = 0; index < 6; index++) journal.append('b')
    expect(tids((await playAll(journal.player().player)).entries)).toEqual(
      ['0/0', '0/1', '0/2', '0/3', '0/4', '0/5', '1/0', '1/1', '1/2', '1/3', '1/4', '1/5'],
    )
  })

  test('those without entries are passed over', async () => {
    const journal = new FakeJournal()
    journal.newTag()
    journal.append('a')
    journal.newTag()
    journal.newTag()
    journal.append('b')
    expect(tids((await playAll(journal.player().player)).entries)).toEqual(['0/0', '2/0'])
  })

  test('a gap within a tag that goes on is told', async () => {
    const journal = new FakeJournal(1)
    journal.newTag()
    journal.append('a')
    journal.lose()
    journal.append('c')
    const { entries, end } = await playAll(journal.player().player)
    expect(tids(entries)).toEqual(['0/0'])
    expect(end).toEqual({ type: 'missing', tagTid: 0n, entryTid: 1n, objectNumber: 0 })
  })
})

describe('damage', () => {
  test('is told with its place, after the entries before it', async () => {
    const journal = new FakeJournal(2)
    journal.newTag()
    for (let index = 0; index < 6; index++) journal.append('a')
    const offset = 2 * (ENTRY_OVERHEAD + 1)
    journal.objects.get(1)![offset + 30]! ^= 1
    const { entries, end } = await playAll(journal.player().player)
    expect(entries.length).toBe(5)
    expect(end).toMatchObject({ type: 'corrupt', objectNumber: 1, offset, detail: expect.stringContaining('checksum') as string })
  })

  test('an object of a closed set that ends within an entry', async () => {
    const journal = new FakeJournal(1, 200)
    journal.newTag()
    for (let index = 0; index < 20; index++) journal.append('a')
    const first = journal.objects.get(0)!
    journal.objects.set(0, first.subarray(0, first.length - 10))
    const { end } = await playAll(journal.player().player)
    expect(end).toMatchObject({ type: 'corrupt', objectNumber: 0, offset: 4 * (ENTRY_OVERHEAD + 1) })
  })

  test('an object that was lost leaves a gap', async () => {
    const journal = new FakeJournal(2, 200)
    journal.newTag()
    for (let index = 0; index < 40; index++) journal.append('a')
    journal.objects.delete(2)
    const { entries, end } = await playAll(journal.player().player)
    expect(end).toMatchObject({ type: 'missing', tagTid: 0n, entryTid: BigInt(entries.length), objectNumber: 4 })
  })
})

test('playing goes on behind any commit position, and with the oldest set there is', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.oneof({ weight: 9, arbitrary: fc.string({ maxLength: 60 }) }, { weight: 1, arbitrary: fc.constant(undefined) }), { maxLength: 120 }),
      fc.nat(),
      fc.boolean(),
      async (splayWidth, actions, position, trim) => {
        const journal = new FakeJournal(splayWidth, 300)
        journal.newTag()
        for (const action of actions) {
          if (action === undefined) journal.newTag()
          else journal.append(action)
        }
        const committedCount = position % (journal.written.length + 1)
        const committed = advancePositions([], journal.written.slice(0, committedCount), splayWidth)
        if (trim && committed.length > 0) {
          journal.minimumSet = Math.min(...committed.map(({ objectNumber }) => Math.floor(objectNumber / splayWidth)))
          for (const number of journal.objects.keys()) if (number < journal.minimumSet * splayWidth) journal.objects.delete(number)
        }
        const { entries, end } = await playAll(journal.player(committed).player)
        expect(end.type).toBe('idle')
        expect(entries).toEqual(journal.written.slice(committedCount))
      },
    ),
  )
})

test('without a commit position a trimmed journal begins where its entries have no gap', async () => {
  const journal = new FakeJournal(4, 200)
  journal.newTag()
  for (let index = 0; index < 100; index++) journal.append('a'.repeat(index % 20))
  journal.minimumSet = 2
  for (const number of journal.objects.keys()) if (number < 8) journal.objects.delete(number)
  const { entries, end } = await playAll(journal.player().player)
  expect(end.type).toBe('idle')
  expect(entries).toEqual(journal.written.slice(-entries.length))
  expect(entries.length).toBeGreaterThan(50)
})
