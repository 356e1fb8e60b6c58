import type { ObjectContext } from '../../../objclass/object-context.ts'
import { encode, string } from '../../../encoding/codec.ts'
import { Errno } from '../../../rados/errors.ts'
import { entries, refused, unlessMissing } from '../../server-method.ts'
import { isValidId, stored } from './shared.ts'

/* A table of names and ids, kept both ways: of a pool's images, and of its groups. */

const NAME_PREFIX = 'name_'
const ID_PREFIX = 'id_'
export const nameKey = (name: string) => NAME_PREFIX + name
export const idKey = (id: string) => ID_PREFIX + id

/** @throws EINVAL; EEXIST for the name, EBADF for the id */
export async function addName(object: ObjectContext, name: string, id: string, idIsNew: boolean): Promise<void> {
  if (name === '' || !isValidId(id)) throw refused(Errno.EINVAL, `name ${name} or id ${id} is not valid`)
  if (await unlessMissing(object.omapGetValue(nameKey(name)))) throw refused(Errno.EEXIST, `name ${name} is taken`)
  if (idIsNew && (await unlessMissing(object.omapGetValue(idKey(id))))) throw refused(Errno.EBADF, `id ${id} is taken`)
  object.omapSet(
    new Map([
      [nameKey(name), encode(string, id)],
      [idKey(id), encode(string, name)],
    ]),
  )
}

/** @throws ENOENT; ESTALE unless the name and the id belong together */
export async function removeName(object: ObjectContext, name: string, id: string): Promise<void> {
  const storedId = await stored.get(object, nameKey(name), string)
  const storedName = await stored.get(object, idKey(id), string)
  if (storedName !== name || storedId !== id) throw refused(Errno.ESTALE, `name ${name} and id ${id} do not belong together`)
  object.omapRemoveKeys([nameKey(name), idKey(id)])
}

/** Within one operation: the removal is not seen by the reads that follow, hence `idIsNew` false. */
export async function rename(object: ObjectContext, { from, to, id }: { from: string; to: string; id: string }): Promise<void> {
  await removeName(object, from, id)
  await addName(object, to, id, false)
}

/** Names with their ids, by name. */
export async function listNames(object: ObjectContext, startAfter: string, max: number): Promise<[name: string, id: string][]> {
  return (await entries(object, NAME_PREFIX, startAfter, max)).map(([name, value]) => [name, stored.parse(string, value, nameKey(name))])
}

/** Whether there is any name at all. */
export async function hasNames(object: ObjectContext): Promise<boolean> {
  return (await entries(object, NAME_PREFIX, '', 1)).length > 0
}
