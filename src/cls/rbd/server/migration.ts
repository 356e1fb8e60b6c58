import { nothing, string, u64 } from '../../../encoding/codec.ts'
import { fields } from '../../../encoding/struct.ts'
import type { ObjectContext } from '../../../objclass/object-context.ts'
import type { ServerMethod } from '../../../objclass/registry.ts'
import { Errno } from '../../../rados/errors.ts'
import { refused, removeKey, setValue, unlessMissing } from '../../server-method.ts'
import { FEATURE_MIGRATING } from '../features.ts'
import { MigrationSpec, MigrationState } from '../types.ts'
import { KEY, read, stored, write } from './shared.ts'

/* A live migration's state in an image's header. Images of the first format can not be migrated here: an object without features is refused. */

/** @throws ENXIO for an object that is no image */
async function features(object: ObjectContext): Promise<bigint> {
  const features = await stored.find(object, KEY.features, u64)
  if (features === undefined) throw refused(Errno.ENXIO, 'this is no header of an image')
  return features
}

/** @throws EINVAL when the image does not migrate */
async function getSpec(object: ObjectContext): Promise<MigrationSpec> {
  if (((await features(object)) & FEATURE_MIGRATING) === 0n) throw refused(Errno.EINVAL, 'the image does not migrate')
  return stored.get(object, KEY.migration, MigrationSpec)
}

const migrationSet = write('migration_set', MigrationSpec, async (object, spec) => {
  if (await unlessMissing(object.omapGetValue(KEY.migration))) throw refused(Errno.EEXIST, 'the image migrates already')
  const before = await features(object)
  if ((before & FEATURE_MIGRATING) === 0n) setValue(object, KEY.features, u64, before | FEATURE_MIGRATING)
  else if (spec.headerType !== 'destination') throw refused(Errno.EEXIST, 'the image migrates already')
  setValue(object, KEY.migration, MigrationSpec, spec)
})

const migrationSetState = write(
  'migration_set_state',
  fields({ state: MigrationState, description: string }),
  async (object, { state, description }) => {
    setValue(object, KEY.migration, MigrationSpec, { ...(await getSpec(object)), state, stateDescription: description })
  },
)

const migrationGet = read('migration_get', nothing, MigrationSpec, getSpec)

const migrationRemove = write('migration_remove', nothing, async (object) => {
  removeKey(object, KEY.migration)
  const before = await features(object)
  if ((before & FEATURE_MIGRATING) !== 0n) setValue(object, KEY.features, u64, before & ~FEATURE_MIGRATING)
})

export const migrationMethods: readonly ServerMethod[] = [migrationSet, migrationSetState, migrationGet, migrationRemove]
