import { dirGetName, dirRenameImage, getId, setId } from '../../cls/rbd/client.ts'
import { Errno, isErrno, ifThere } from '../../rados/errors.ts'
import { WriteOperation } from '../../rados/operation.ts'
import type { Image } from '../image.ts'
import { idObjectName, RBD_DIRECTORY } from '../names.ts'
import { changeHeader, invoke, operationError, type OperationOptions } from './invoke.ts'

/** Gives an image another name, by the lock owner. Rejects with EEXIST for a name that is taken; its own name is no error. */
export async function renameImage(image: Image, imageName: string, options?: OperationOptions): Promise<void> {
  if ((await image.refresh()).name === imageName) return
  await invoke(image, { name: 'rename image', local: () => renameImageHere(image, imageName), request: { type: 'rename', imageName } }, options)
}

/**
 *     id object of the new name → directory → id object of the old name goes → peers told
 *
 * as librbd/operation/RenameRequest.cc does. What an interrupted run has left of its own is taken up again, but for the old name's id object where
 * the directory has the new name: whoever surely comes again (`repeated`) has it removed before that.
 */
export function renameImageHere(image: Image, imageName: string, { repeated = false } = {}): Promise<void> {
  const { io, id } = image
  return changeHeader(image, async () => {
    const from = await dirGetName.call(io, RBD_DIRECTORY, { id })
    if (from === imageName) return
    try {
      await io.write(idObjectName(imageName), setId.step(new WriteOperation().create(true), { id }))
    } catch (error) {
      if (!isErrno(error, Errno.EEXIST)) throw error
      if ((await getId.call(io, idObjectName(imageName))) !== id) throw operationError(image, Errno.EEXIST, `rename image to ${imageName}`)
    }
    const removeOld = () => ifThere(io.remove(idObjectName(from)))
    if (repeated) await removeOld()
    await dirRenameImage.call(io, RBD_DIRECTORY, { from, to: imageName, id })
    if (!repeated) await removeOld()
  })
}
