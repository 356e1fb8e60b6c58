import { encode, nothing, rest, string, u8 } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno } from '../../../rados/errors.ts'
import { decodeInput, refused, requireExists, setValue } from '../../server-method.ts'
import { DirectoryState } from '../types.ts'
import { addName, hasNames, idKey, listNames, nameKey, removeName, rename } from './names.ts'
import { guard, isValidId, ordered, page, read, stored, write } from './shared.ts'

/* Names and ids of images: `rbd_directory` and `rbd_id.NAME`. */

const STATE = 'state'

const dirGetId = read('dir_get_id', fields({ name: string }), string, (object, { name }) => stored.get(object, nameKey(name), string))
const dirGetName = read('dir_get_name', fields({ id: string }), string, (object, { id }) => stored.get(object, idKey(id), string))
const dirList = read('dir_list', page, ordered(string), (object, { startAfter, max }) => listNames(object, startAfter, max))

const image = fields({ name: string, id: string })
const dirAddImage = write('dir_add_image', image, async (object, { name, id }) => {
  object.create(false)
  await addName(object, name, id, true)
})
const dirRemoveImage = write('dir_remove_image', image, (object, { name, id }) => removeName(object, name, id))
const dirRenameImage = write('dir_rename_image', fields({ from: string, to: string, id: string }), rename)

const dirStateAssert = guard('dir_state_assert', fields({ state: u8 }), async (object, { state }) => {
  if ((await stored.get(object, STATE, u8)) !== state) throw refused(Errno.ENOENT, `the directory is not in state ${state}`)
})

const dirStateSet = write('dir_state_set', fields({ state: DirectoryState }), async (object, { state }) => {
  if (state === 'add-disabled') {
    await requireExists(object)
    if (await hasNames(object)) throw refused(Errno.EBUSY, 'the directory is not empty')
  }
  setValue(object, STATE, DirectoryState, state)
})

// --- rbd_id.NAME ---

const getId = read('get_id', nothing, string, async (object) => {
  const { size } = await object.stat()
  if (size === 0) throw refused(Errno.ENOENT, 'no id is set')
  return stored.parse(string, await object.read(0, size), 'the image id')
})

const setId = write('set_id', rest, async (object, input) => {
  const { size } = await object.stat()
  const id = decodeInput(string, input, 'input of rbd.set_id')
  if (!isValidId(id)) throw refused(Errno.EINVAL, `id ${id} is not valid`)
  if (size !== 0) throw refused(Errno.EEXIST, 'an id is set')
  object.write(0, encode(string, id))
})

export const directoryMethods: readonly ServerMethod[] = [
  dirGetId,
  dirGetName,
  dirList,
  dirAddImage,
  dirRemoveImage,
  dirRenameImage,
  dirStateAssert,
  dirStateSet,
  getId,
  setId,
]
