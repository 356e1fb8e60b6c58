/**
 * What a schedule is for: everything, a pool, one of its namespaces or an image; all else is undefined. The most specific schedule of an image
 * wins (pybind/mgr/rbd_support/schedule.py, LevelSpec).
 */
export interface Level {
  poolId: bigint | undefined
  /** '' is the default one; undefined: all of the pool */
  namespace: string | undefined
  imageId: string | undefined
}

export const globalLevel: Level = { poolId: undefined, namespace: undefined, imageId: undefined }

/** The key under which a level's schedule is stored: '', `2`, `2/ns`, `2/ns/image-id`; the namespace may be empty. */
export function levelId({ poolId, namespace, imageId }: Level): string {
  if (poolId === undefined) return ''
  if (namespace === undefined) return `${poolId}`
  return imageId === undefined ? `${poolId}/${namespace}` : `${poolId}/${namespace}/${imageId}`
}

/** undefined for what is no such key. */
export function parseLevelId(id: string): Level | undefined {
  const match = /^(?:(\d+)(?:\/([^/]*)(?:\/([^/@]+))?)?)?$/.exec(id)
  if (!match) return undefined
  return { poolId: match[1] === undefined ? undefined : BigInt(match[1]), namespace: match[2], imageId: match[3] }
}

export interface LevelName {
  pool: string | undefined
  namespace: string | undefined
  image: string | undefined
}

/** `''`, `pool/`, `pool/ns/`, `pool/image`, `pool/ns/image`; undefined for anything else. */
export function parseLevelName(name: string): LevelName | undefined {
  const match = /^(?:([^/]+)\/(?:(?:([^/]*)\/|)(?:([^/@]+))?)?)?$/.exec(name)
  if (!match) return undefined
  const [, pool, namespace, image] = match
  return { pool, namespace: namespace ?? (image === undefined ? undefined : ''), image }
}

export function formatLevelName({ pool, namespace, image }: LevelName): string {
  if (pool === undefined) return ''
  if (namespace === undefined) return `${pool}/`
  if (image === undefined) return `${pool}/${namespace}/`
  return namespace === '' ? `${pool}/${image}` : `${pool}/${namespace}/${image}`
}

export function sameLevel(a: Level, b: Level): boolean {
  return levelId(a) === levelId(b)
}

/** Whether `parent` is anywhere above `level`, not just the next one. */
export function isBelow(level: Level, parent: Level): boolean {
  return depth(level) > depth(parent) && matches(level, parent)
}

/** Whether what `level` is for is, or is part of, what `wider` is for. */
export function matches(level: Level, wider: Level): boolean {
  if (wider.poolId === undefined) return true
  if (wider.poolId !== level.poolId) return false
  if (wider.namespace === undefined) return true
  if (wider.namespace !== level.namespace) return false
  return wider.imageId === undefined || wider.imageId === level.imageId
}

function depth({ poolId, namespace, imageId }: Level): number {
  return [poolId, namespace, imageId].filter((part) => part !== undefined).length
}
