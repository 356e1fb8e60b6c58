import { unreachable } from '../../base/assert.ts'
import type { Comparison, WriteStep } from '../../rados/operation.ts'
import { PointerTable } from './memory.ts'
import { librados, type Librados, type Pointer } from './native.ts'

/** LIBRADOS_CMPXATTR_OP_* of librados.h */
export const COMPARISONS: Record<Comparison, number> = { eq: 1, ne: 2, gt: 3, gte: 4, lt: 5, lte: 6 }

/** A native write operation with `steps`; to be released. librados copies what the steps refer to, so nothing needs to outlive this call. */
export function buildWriteOperation(steps: readonly WriteStep[]): Pointer {
  const api = librados()
  const operation = api.createWriteOp()
  try {
    for (const step of steps) addStep(api, operation, step)
  } catch (error) {
    api.releaseWriteOp(operation)
    throw error
  }
  return operation
}

function addStep(api: Librados, operation: Pointer, step: WriteStep): void {
  switch (step.type) {
    case 'write':
      return api.writeWrite(operation, step.data, step.data.length, step.offset)
    case 'writeFull':
      return api.writeFull(operation, step.data, step.data.length)
    case 'writeSame':
      return api.writeSame(operation, step.data, step.data.length, step.length, step.offset)
    case 'append':
      return api.writeAppend(operation, step.data, step.data.length)
    case 'zero':
      return api.writeZero(operation, step.offset, step.length)
    case 'truncate':
      return api.writeTruncate(operation, step.size)
    case 'create':
      return api.writeCreate(operation, step.exclusive ? 1 : 0, null)
    case 'remove':
      return api.writeRemove(operation)
    case 'setXattr':
      return api.writeSetXattr(operation, step.name, step.value, step.value.length)
    case 'removeXattr':
      return api.writeRemoveXattr(operation, step.name)
    case 'omapSet': {
      const keys = new PointerTable(Array.from(step.entries.keys(), (key) => Buffer.from(key)))
      const values = new PointerTable([...step.entries.values()])
      api.writeOmapSet(operation, keys.pointers, values.pointers, keys.lengths, values.lengths, step.entries.size)
      return keepAlive(keys, values)
    }
    case 'omapRemoveKeys': {
      const keys = new PointerTable(step.keys.map((key) => Buffer.from(key)))
      api.writeOmapRemoveKeys(operation, keys.pointers, keys.lengths, step.keys.length)
      return keepAlive(keys)
    }
    case 'omapClear':
      return api.writeOmapClear(operation)
    case 'exec':
      return api.writeExec(operation, step.cls, step.method, step.input, step.input.length, 0)
    case 'setAllocHint':
      return api.writeSetAllocHint(operation, step.objectSize, step.writeSize, step.flags)
    case 'assertExists':
      return api.writeAssertExists(operation)
    case 'assertVersion':
      return api.writeAssertVersion(operation, step.version)
    case 'cmpxattr':
      return api.writeCmpxattr(operation, step.name, COMPARISONS[step.comparison], step.value, step.value.length)
    case 'cmpext':
      return api.writeCmpext(operation, step.data, step.data.length, step.offset, 0)
    case 'omapCmp': {
      const key = Buffer.from(step.key)
      return api.writeOmapCmp(operation, key, COMPARISONS[step.comparison], step.value, key.length, step.value.length, 0)
    }
    default:
      return unreachable(step)
  }
}

/** Keeps the tables' bytes reachable until after the native call in front of it. */
export function keepAlive(...tables: PointerTable[]): void {
  for (const table of tables) table.release()
}
