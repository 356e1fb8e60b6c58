import { Errno, isErrno } from '../../rados/errors.ts'
import type { OperationRequest } from '../header-watcher.ts'
import { FEATURE_JOURNALING, hasFeature } from '../features.ts'
import { findSnapshot } from '../header.ts'
import type { Image } from '../image.ts'
import type { JournalEvent } from './events.ts'

export type OperationEvent = Exclude<Extract<JournalEvent, { opTid: bigint }>, { type: 'opFinish' }>
type WithoutTid<T> = T extends unknown ? Omit<T, 'opTid'> : never
/** An operation as the journal tells of it; its tid is given when it is recorded. */
export type OperationStart = WithoutTid<OperationEvent>

/** What the journal says of an operation that peers can be asked for; undefined for what it says nothing of. */
export function operationStart({ header }: Image, request: OperationRequest): OperationStart | undefined {
  switch (request.type) {
    case 'snapCreate':
    case 'snapRemove':
    case 'snapProtect':
    case 'snapUnprotect':
      return { type: request.type, snapName: request.name, snapNamespace: request.namespace }
    case 'snapRename': {
      const fromName = findSnapshot(header, request.snapId)?.name ?? ''
      return { type: 'snapRename', snapId: request.snapId, fromName, toName: request.name }
    }
    case 'resize':
      return { type: 'resize', size: request.size }
    case 'rename':
      return { type: 'rename', imageName: request.imageName }
    case 'updateFeatures':
      // the journal that would tell of it goes, or is not there yet
      if (hasFeature(request.features, FEATURE_JOURNALING)) return undefined
      return { type: 'updateFeatures', features: request.features, enabled: request.enabled }
    case 'metadataUpdate':
      return request.value === undefined
        ? { type: 'metadataRemove', key: request.key }
        : { type: 'metadataSet', key: request.key, value: request.value }
    case 'flatten':
      return { type: 'flatten' }
    case 'migrate':
    case 'sparsify':
    case 'rebuildObjectMap':
      return undefined
  }
}

/** Errors of an operation that only say that it was done before. */
const doneBefore: Partial<Record<OperationEvent['type'], readonly number[]>> = {
  snapCreate: [Errno.EEXIST],
  snapRemove: [Errno.ENOENT],
  snapRename: [Errno.EEXIST],
  snapProtect: [Errno.EBUSY],
  snapUnprotect: [Errno.EINVAL],
  rename: [Errno.EEXIST],
  flatten: [Errno.EINVAL],
  snapLimit: [Errno.ERANGE],
  metadataRemove: [Errno.ENOENT],
}

/** Whether what an event tells of was done before, by an earlier replay of it or try. */
export function saysDoneBefore(error: unknown, { type }: Pick<OperationEvent, 'type'>): boolean {
  return isErrno(error, ...(doneBefore[type] ?? []))
}
