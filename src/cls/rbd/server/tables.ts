import { bytes, list, map, rest, string } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno } from '../../../rados/errors.ts'
import { entries, refused, setValue, unlessMissing } from '../../server-method.ts'
import { TrashImageSpec, TrashImageState } from '../types.ts'
import { isValidId, ordered, page, read, stored, write } from './shared.ts'

/* Small tables: the trash, the namespaces, an image's metadata. */

// --- rbd_trash ---

const TRASH_PREFIX = 'id_'
const trashKey = (imageId: string) => TRASH_PREFIX + imageId
const imageId = fields({ imageId: string })

const trashAdd = write('trash_add', fields({ imageId: string, spec: TrashImageSpec }), async (object, { imageId, spec }) => {
  object.create(false)
  if (!isValidId(imageId)) throw refused(Errno.EINVAL, `id ${imageId} is not valid`)
  if (await stored.find(object, trashKey(imageId), TrashImageSpec)) throw refused(Errno.EEXIST, `image ${imageId} is in the trash`)
  setValue(object, trashKey(imageId), TrashImageSpec, spec)
})

const trashRemove = write('trash_remove', imageId, async (object, { imageId }) => {
  await object.omapGetValue(trashKey(imageId))
  object.omapRemoveKeys([trashKey(imageId)])
})

const trashList = read('trash_list', page, ordered(TrashImageSpec), async (object, { startAfter, max }) =>
  (await entries(object, TRASH_PREFIX, startAfter, max)).map(([id, value]) => [id, stored.parse(TrashImageSpec, value, id)]),
)

/** The entry's bytes as they are. */
const trashGet = read('trash_get', imageId, rest, (object, { imageId }) => object.omapGetValue(trashKey(imageId)))

const trashStateSet = write(
  'trash_state_set',
  fields({ imageId: string, state: TrashImageState, expect: TrashImageState }),
  async (object, { imageId, state, expect }) => {
    const spec = await stored.get(object, trashKey(imageId), TrashImageSpec)
    if (spec.state === expect) setValue(object, trashKey(imageId), TrashImageSpec, { ...spec, state })
    else if (spec.state !== state) throw refused(Errno.ESTALE, `image ${imageId} is ${spec.state}`)
  },
)

// --- rbd_namespace ---

const NAMESPACE_PREFIX = 'name_'
const namespaceKey = (name: string) => NAMESPACE_PREFIX + name
const namespaceName = fields({ name: string })

const namespaceAdd = write('namespace_add', namespaceName, async (object, { name }) => {
  if (await unlessMissing(object.omapGetValue(namespaceKey(name)))) throw refused(Errno.EEXIST, `namespace ${name} exists`)
  setValue(object, namespaceKey(name), rest, Buffer.alloc(0))
})

const namespaceRemove = write('namespace_remove', namespaceName, async (object, { name }) => {
  await object.omapGetValue(namespaceKey(name))
  object.omapRemoveKeys([namespaceKey(name)])
})

const namespaceList = read('namespace_list', page, list(string), async (object, { startAfter, max }) =>
  (await entries(object, NAMESPACE_PREFIX, startAfter, max)).map(([name]) => name),
)

// --- metadata, in an image's header and in rbd_info ---

const METADATA_PREFIX = 'metadata_'
const metadataKey = (key: string) => METADATA_PREFIX + key
const metadataName = fields({ key: string })
/** What a client gets that names no limit. */
const DEFAULT_METADATA_PAGE = 64

const metadataSet = write('metadata_set', fields({ metadata: map(string, bytes) }), (object, { metadata }) => {
  object.omapSet(new Map([...metadata].map(([key, value]) => [metadataKey(key), value])))
})

const metadataRemove = write('metadata_remove', metadataName, (object, { key }) => {
  object.omapRemoveKeys([metadataKey(key)])
})

const metadataList = read('metadata_list', page, ordered(bytes), (object, { startAfter, max }) =>
  entries(object, METADATA_PREFIX, startAfter, max || DEFAULT_METADATA_PAGE),
)

const metadataGet = read('metadata_get', metadataName, bytes, (object, { key }) => object.omapGetValue(metadataKey(key)))

export const tableMethods: readonly ServerMethod[] = [
  trashAdd,
  trashRemove,
  trashList,
  trashGet,
  trashStateSet,
  namespaceAdd,
  namespaceRemove,
  namespaceList,
  metadataSet,
  metadataRemove,
  metadataList,
  metadataGet,
]
