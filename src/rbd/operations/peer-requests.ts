import { Errno } from '../../rados/errors.ts'
import type { Progress } from '../header-watcher.ts'
import { findSnapshotByName, type ImageSnapshot } from '../header.ts'
import type { Image } from '../image.ts'
import { operationStart } from '../journal/operation-events.ts'
import { primaryJournalSwitch } from '../mirror/journal-switch.ts'
import type { OperationMessage } from '../notify/image-messages.ts'
import { updateFeaturesHere } from './features.ts'
import { flattenImageHere } from './flatten.ts'
import { operationError, recorded } from './invoke.ts'
import { removeMetadataHere, setMetadataHere } from './metadata.ts'
import { renameImageHere } from './rename-image.ts'
import { resizeImageHere } from './resize.ts'
import { createSnapshotHere, quiesceOf } from './snapshot-create.ts'
import { protectSnapshotHere, renameSnapshotHere, unprotectSnapshotHere } from './snapshot-edit.ts'
import { removeSnapshotHere } from './snapshot-remove.ts'

/** Does what a peer has asked the owner of the lock for. Rejects with RadosError: EOPNOTSUPP makes the peer ask for the lock instead. */
export async function executePeerRequest(image: Image, message: OperationMessage, progress: Progress): Promise<void> {
  if (!image.lock) throw operationError(image, Errno.EROFS, message.type)
  await image.refreshIfNeeded()
  await image.lock.use(() => recorded(image, operationStart(image, message), () => execute(image, message, progress)))
}

function execute(image: Image, message: OperationMessage, progress: Progress): Promise<void> {
  switch (message.type) {
    case 'snapCreate':
      return createSnapshotHere(image, { name: message.name, namespace: message.namespace, quiesce: quiesceOf(message.flags) }).then(() => undefined)
    case 'snapRemove':
      return removeSnapshotHere(image, requireSnapshot(image, message).id)
    case 'snapRename':
      return renameSnapshotHere(image, message.snapId, message.name)
    case 'snapProtect':
      return protectSnapshotHere(image, requireSnapshot(image, message).id)
    case 'snapUnprotect':
      return unprotectSnapshotHere(image, requireSnapshot(image, message).id)
    case 'resize':
      return resizeImageHere(image, message, { progress })
    case 'rename':
      return renameImageHere(image, message.imageName)
    case 'updateFeatures':
      return updateFeaturesHere(image, { ...message, journal: image.options.journaled ? primaryJournalSwitch() : undefined })
    case 'metadataUpdate': {
      const { key, value } = message
      return value === undefined ? removeMetadataHere(image, key) : setMetadataHere(image, new Map([[key, Buffer.from(value)]]))
    }
    case 'flatten':
      return flattenImageHere(image, { progress })
    case 'migrate':
    case 'sparsify':
    case 'rebuildObjectMap':
      return Promise.reject(operationError(image, Errno.EOPNOTSUPP, message.type))
  }
}

function requireSnapshot(image: Image, { namespace, name, type }: Extract<OperationMessage, { namespace: unknown }>): ImageSnapshot {
  const snapshot = findSnapshotByName(image.header, namespace.type, name)
  if (!snapshot) throw operationError(image, Errno.ENOENT, `${type} ${name}`)
  return snapshot
}
