import * as journal from '../../../src/cls/journal/client.ts'
import { TAG_CLASS_NEW, type ObjectSetPosition } from '../../../src/cls/journal/types.ts'
import type { Choices } from '../class-comparison.ts'
import { type ObjectKind, noneOf, call, page, exec } from './shared.ts'

/* Journals. */

const clients = ['', 'c1', 'c2', 'c3']
const position = (choices: Choices): ObjectSetPosition => ({
  objectPositions: [0, 1, 2].slice(choices.int(4)).map((objectNumber) => ({
    objectNumber,
    tagTid: BigInt(choices.int(6)),
    entryTid: BigInt(choices.int(9)),
  })),
})
export const journalHeader: ObjectKind = {
  name: 'journal',
  start(choices) {
    return [
      exec(call(journal.create, { order: 24, splayWidth: 2, poolId: -1n })),
      ...choices.some(clients).map((id) => exec(call(journal.clientRegister, { id, data: Buffer.from('data') }))),
      exec(call(journal.tagCreate, { tid: 0n, tagClass: TAG_CLASS_NEW, data: Buffer.from('t') })),
      ...[1n, 2n, 3n, 4n, 5n, 6n]
        .slice(choices.int(6))
        .map((_, index) =>
          exec(call(journal.tagCreate, { tid: BigInt(index + 1), tagClass: choices.pick([0n, 0n, TAG_CLASS_NEW]), data: Buffer.from('t') })),
        ),
    ]
  },
  calls: [
    (choices) => call(journal.create, { order: choices.int(30), splayWidth: choices.int(5), poolId: 3n }),
    () => call(journal.getOrder, noneOf),
    () => call(journal.getSplayWidth, noneOf),
    () => call(journal.getPoolId, noneOf),
    () => call(journal.getMinimumSet, noneOf),
    (choices) => call(journal.setMinimumSet, { objectSet: choices.int(5) }),
    () => call(journal.getActiveSet, noneOf),
    (choices) => call(journal.setActiveSet, { objectSet: choices.int(7) }),
    (choices) => call(journal.getClient, { id: choices.pick(clients) }),
    (choices) => call(journal.clientRegister, { id: choices.pick(clients), data: choices.bytes(2) }),
    (choices) => call(journal.clientUpdateData, { id: choices.pick(clients), data: choices.bytes(2) }),
    (choices) => call(journal.clientUpdateState, { id: choices.pick(clients), state: choices.pick(['connected', 'connected', 'disconnected'] as const) }),
    (choices) => call(journal.clientUnregister, { id: choices.pick(clients) }),
    (choices) => call(journal.clientCommit, { id: choices.pick(clients), commitPosition: position(choices) }),
    (choices) => call(journal.clientCommit, { id: choices.pick(clients), commitPosition: position(choices) }),
    (choices) => call(journal.clientList, page(choices, clients)),
    () => call(journal.getNextTagTid, noneOf),
    (choices) => call(journal.getTag, { tid: BigInt(choices.int(8)) }),
    (choices) => call(journal.tagCreate, { tid: BigInt(choices.int(9)), tagClass: choices.pick([0n, 1n, 2n, TAG_CLASS_NEW]), data: choices.bytes(2) }),
    (choices) => call(journal.tagCreate, { tid: BigInt(choices.int(9)), tagClass: 0n, data: choices.bytes(2) }),
    (choices) =>
      call(journal.tagList, {
        startAfter: BigInt(choices.int(5)),
        max: choices.pick([0, 1, 2, 256]),
        clientId: choices.pick(clients),
        tagClass: choices.pick([undefined, 0n, 1n]),
      }),
  ],
}

export const journalData: ObjectKind = {
  name: 'journal data',
  readsData: true,
  calls: [
    (choices) => call(journal.guardAppend, { softMaxSize: choices.pick([0, 10, 100]) }),
    (choices) => call(journal.append, { softMaxSize: choices.pick([0, 10, 100, 1000]), data: choices.bytes(choices.pick([0, 1, 8, 13, 16])) }),
  ],
}
