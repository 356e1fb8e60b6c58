import { header } from './header.ts'
import { journalData, journalHeader } from './journal.ts'
import { locks } from './locks.ts'
import { leader, mirroring } from './mirroring.ts'
import { data, imageId, objectMap } from './objects.ts'
import type { ObjectKind } from './shared.ts'
import { clonesV1, directory, group, groupDirectory, tables } from './tables.ts'

export const objectKinds: readonly ObjectKind[] = [
  header,
  directory,
  groupDirectory,
  imageId,
  tables,
  clonesV1,
  objectMap,
  data,
  mirroring,
  leader,
  group,
  journalHeader,
  journalData,
  locks,
]
