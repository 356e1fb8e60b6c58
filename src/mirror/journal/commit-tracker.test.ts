import { expect, test } from 'vitest'
import { CommitTracker } from './commit-tracker.ts'

const at = (entryTid: number, objectNumber = entryTid % 2) => ({ objectNumber, tagTid: 1n, entryTid: BigInt(entryTid) })

test('entries are committable when they are safe, the newest of each object', () => {
  const tracker = new CommitTracker([at(1), at(0)], 2)
  for (const tid of [2, 3, 4]) tracker.add(at(tid), false)
  expect(tracker.positions).toEqual([at(1), at(0)])
  expect(tracker.pending).toBe(3)
  tracker.safe(false)
  expect(tracker.positions).toEqual([at(4), at(3)])
  expect(tracker.pending).toBe(0)
})

test('an unfinished operation holds back its entry and all behind it until it has ended', () => {
  const tracker = new CommitTracker([], 2)
  tracker.add(at(0), false)
  tracker.add(at(1), true)
  tracker.add(at(2), true)
  tracker.safe(true)
  expect(tracker.positions).toEqual([at(0)])
  tracker.add(at(3), false)
  tracker.safe(false)
  expect(tracker.positions).toEqual([at(3), at(2)])
  expect(tracker.pending).toBe(0)
})

test('positions of objects that were not touched stay', () => {
  const tracker = new CommitTracker([at(1), at(0)], 2)
  tracker.add(at(2, 2), false)
  tracker.safe(false)
  expect(tracker.positions).toEqual([at(2, 2), at(1)])
})
