import type { ImageSnapshot } from '../header.ts'

/** Begins the names of user snapshots that keep what a resync has given up (`rbd_mirror_resync_keep_snapshot`); replication leaves them alone. */
export const GIVEN_UP_PREFIX = 'rbd-mirror-given-up-'

export function isGivenUp({ namespace, name }: Pick<ImageSnapshot, 'namespace' | 'name'>): boolean {
  return namespace.type === 'user' && name.startsWith(GIVEN_UP_PREFIX)
}
