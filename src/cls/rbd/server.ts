import type { ServerMethod } from '../../objclass/registry.ts'
import { dataMethods } from './server/data.ts'
import { directoryMethods } from './server/directory.ts'
import { groupMethods } from './server/groups.ts'
import { headerMethods } from './server/header.ts'
import { migrationMethods } from './server/migration.ts'
import { mirrorImageMethods } from './server/mirror-images.ts'
import { mirrorPoolMethods } from './server/mirror-pool.ts'
import { mirrorStatusMethods } from './server/mirror-status.ts'
import { objectMapMethods } from './server/object-map.ts'
import { parentMethods } from './server/parents.ts'
import { snapshotMethods } from './server/snapshots.ts'
import { tableMethods } from './server/tables.ts'

/** Object class `rbd` on the server side, without what only images of the first format need. */
export const rbdMethods: readonly ServerMethod[] = [
  ...headerMethods,
  ...snapshotMethods,
  ...parentMethods,
  ...migrationMethods,
  ...directoryMethods,
  ...tableMethods,
  ...objectMapMethods,
  ...dataMethods,
  ...mirrorPoolMethods,
  ...mirrorImageMethods,
  ...mirrorStatusMethods,
  ...groupMethods,
]
