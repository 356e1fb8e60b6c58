import * as rbd from '../../../src/cls/rbd/client.ts'
import * as pool from '../../../src/cls/rbd/pool-client.ts'
import { zeroTime } from '../../../src/encoding/codec.ts'
import type { Choices } from '../class-comparison.ts'
import { type ObjectKind, call, page, exec, names, ids, named, images } from './shared.ts'

/* A pool's tables: directories, trash, namespaces, metadata, children, groups. */

export const directory: ObjectKind = {
  name: 'directory',
  start: () => [
    exec(call(rbd.dirAddImage, { name: 'one', id: '1' })),
    exec(call(rbd.dirAddImage, { name: 'two', id: 'a2' })),
  ],
  calls: [
    (choices) => call(rbd.dirAddImage, named(choices)),
    (choices) => call(rbd.dirAddImage, named(choices)),
    (choices) => call(rbd.dirRemoveImage, named(choices)),
    () => call(rbd.dirRemoveImage, { name: 'one', id: '1' }),
    (choices) => call(rbd.dirRenameImage, { from: choices.pick(names), to: choices.pick(names), id: choices.pick(ids) }),
    (choices) => call(rbd.dirRenameImage, { from: 'two', to: choices.pick(names), id: 'a2' }),
    (choices) => call(rbd.dirGetId, { name: choices.pick(names) }),
    (choices) => call(rbd.dirGetName, { id: choices.pick(ids) }),
    (choices) => call(rbd.dirList, page(choices, names)),
    (choices) => call(rbd.dirStateSet, { state: choices.pick(['ready', 'add-disabled'] as const) }),
    (choices) => call(rbd.dirStateAssert, { state: choices.pick(['ready', 'add-disabled'] as const) }),
  ],
}

export const groupDirectory: ObjectKind = {
  name: 'group directory',
  start: () => [exec(call(pool.groupDirAdd, { name: 'one', id: '1' })), exec(call(pool.groupDirAdd, { name: 'two', id: 'a2' }))],
  calls: [
    (choices) => call(pool.groupDirAdd, named(choices)),
    (choices) => call(pool.groupDirRemove, named(choices)),
    () => call(pool.groupDirRemove, { name: 'one', id: '1' }),
    (choices) => call(pool.groupDirRename, { from: choices.pick(names), to: choices.pick(names), id: choices.pick(ids) }),
    (choices) => call(pool.groupDirRename, { from: 'two', to: choices.pick(names), id: 'a2' }),
    (choices) => call(pool.groupDirList, page(choices, names)),
  ],
}

const trashStates = ['normal', 'moving', 'removing', 'restoring'] as const
const addToTrash = (choices: Choices, imageId: string) =>
  call(pool.trashAdd, {
    imageId,
    spec: {
      source: choices.pick(['user', 'mirroring', 'migration'] as const),
      name: choices.pick(names),
      deletionTime: { sec: 5, nsec: 6 },
      defermentEndTime: zeroTime,
      state: choices.pick(trashStates),
    },
  })

export const tables: ObjectKind = {
  name: 'trash, namespaces, metadata',
  start: (choices) => ids.map((imageId) => exec(addToTrash(choices, imageId))),
  calls: [
    (choices) => addToTrash(choices, choices.pick(ids)),
    (choices) => call(pool.trashRemove, { imageId: choices.pick(ids) }),
    (choices) => call(pool.trashList, page(choices, ids)),
    (choices) => call(pool.trashGet, { imageId: choices.pick(ids) }),
    ...[0, 1].map(
      () => (choices: Choices) =>
        call(pool.trashStateSet, { imageId: choices.pick(ids), state: choices.pick(trashStates), expect: choices.pick(trashStates) }),
    ),
    (choices) => call(pool.namespaceAdd, { name: choices.pick([...names, '']) }),
    (choices) => call(pool.namespaceRemove, { name: choices.pick(names) }),
    (choices) => call(pool.namespaceList, page(choices, names)),
    (choices) => call(rbd.metadataSet, { metadata: new Map(choices.some(names).map((name) => [name, choices.bytes(2)])) }),
    (choices) => call(rbd.metadataRemove, { key: choices.pick(names) }),
    (choices) => call(rbd.metadataList, page(choices, names)),
    (choices) => call(rbd.metadataGet, { key: choices.pick(names) }),
  ],
}

export const clonesV1: ObjectKind = {
  name: 'children',
  calls: [0, 1, 2].flatMap(() => [
    (choices: Choices) =>
      call(rbd.addChild, { parent: { poolId: choices.pick([3n, 4n]), imageId: 'p', snapId: 9n }, childId: choices.pick(['c', 'b', 'd']) }),
    (choices: Choices) =>
      call(rbd.removeChild, { parent: { poolId: choices.pick([3n, 4n]), imageId: 'p', snapId: 9n }, childId: choices.pick(['c', 'b', 'd']) }),
    (choices: Choices) => call(rbd.getChildren, { poolId: choices.pick([3n, 4n]), imageId: 'p', snapId: 9n }),
  ]),
}


// --- groups ---

const groupImage = (choices: Choices) => ({ imageId: choices.pick(images), poolId: choices.pick([1n, 2n, 0x1fn]) })
const groupSnapshot = (choices: Choices) => ({
  id: choices.pick(['s1', 's2', '']),
  name: choices.pick(['n1', 'n2', '']),
  state: choices.pick(['incomplete', 'complete'] as const),
  snaps: choices.some([{ poolId: 1n, imageId: 'i', snapId: 4n }]),
})
export const group: ObjectKind = {
  name: 'group',
  calls: [
    (choices) => call(pool.groupImageSet, { spec: groupImage(choices), state: choices.pick(['attached', 'incomplete'] as const) }),
    (choices) => call(pool.groupImageRemove, groupImage(choices)),
    (choices) =>
      call(pool.groupImageList, { startAfter: choices.pick([{ imageId: '', poolId: -1n }, groupImage(choices)]), max: choices.pick([0, 1, 2, 1024]) }),
    (choices) => call(pool.groupSnapSet, groupSnapshot(choices)),
    (choices) => call(pool.groupSnapSet, { ...groupSnapshot(choices), id: 's1', name: 'n1' }),
    (choices) => call(pool.groupSnapRemove, { snapId: choices.pick(['s1', 's2']) }),
    (choices) => call(pool.groupSnapGetById, { snapId: choices.pick(['s1', 's2']) }),
    (choices) => call(pool.groupSnapList, { startAfter: { ...groupSnapshot(choices), id: choices.pick(['', 's1']) }, max: choices.pick([0, 1, 1024]) }),
  ],
}
