import { matchesGlob } from '../base/glob.ts'
import type { HealthLevel } from './image-health.ts'
import type { ImageMetrics, ImageState } from './metrics.ts'

const states: readonly ImageState[] = ['unknown', 'error', 'syncing', 'starting_replay', 'replaying', 'stopping_replay', 'stopped']
const levels: readonly HealthLevel[] = ['ok', 'warning', 'error']
const MAX_PATTERN = 256

/** A query that can't be answered; its message goes to whoever asked. */
export class BadQuery extends Error {
  override name = 'BadQuery'
}

/** Which images are wanted. */
export interface ImageFilter {
  matches(image: ImageMetrics): boolean
}

/** A whole number of the query within its limits; throws BadQuery. */
export function numberIn(query: URLSearchParams, name: string, fallback: number, max: number): number {
  const text = query.get(name)
  if (text === null || text === '') return fallback
  if (!/^\d{1,9}$/.test(text)) throw new BadQuery(`${name} is to be a whole number, not "${shorten(text)}"`)
  return Math.min(Number(text), max)
}

function shorten(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}…` : text
}

/**
 * `pool`, `namespace`, `peer` and `image` are patterns with `*` and `?`; `q` is a part of POOL/[NS/]IMAGE or of the global image id, in any
 * case; `state` and `health` are lists separated by commas.
 *
 * @throws BadQuery
 */
export function imageFilter(query: URLSearchParams): ImageFilter {
  const tests: ((image: ImageMetrics) => boolean)[] = []
  const pattern = (name: string, value: (image: ImageMetrics) => string) => {
    const glob = query.get(name)
    if (glob === null || (glob === '' && name !== 'namespace')) return
    if (glob.length > MAX_PATTERN) throw new BadQuery(`${name} is longer than ${MAX_PATTERN} characters`)
    tests.push(/[*?]/.test(glob) ? (image) => matchesGlob(glob, value(image)) : (image) => value(image) === glob)
  }
  pattern('pool', ({ labels }) => labels.pool)
  pattern('namespace', ({ labels }) => labels.namespace)
  pattern('peer', ({ labels }) => labels.peer)
  pattern('image', ({ name }) => name)
  const text = query.get('q')?.toLowerCase()
  if (text) {
    if (text.length > MAX_PATTERN) throw new BadQuery(`q is longer than ${MAX_PATTERN} characters`)
    tests.push((image) => imageSpec(image).toLowerCase().includes(text) || image.labels.globalImageId.includes(text))
  }
  const wantedStates = oneOf(query, 'state', states)
  if (wantedStates) tests.push(({ state }) => wantedStates.has(state))
  const wantedLevels = oneOf(query, 'health', levels)
  if (wantedLevels) tests.push((image) => wantedLevels.has(image.health().level))
  return { matches: (image) => tests.every((test) => test(image)) }
}

function oneOf<T extends string>(query: URLSearchParams, name: string, allowed: readonly T[]): ReadonlySet<T> | undefined {
  const text = query.get(name)
  if (!text) return undefined
  const wanted = text.split(',')
  const bad = wanted.find((value) => !(allowed as readonly string[]).includes(value))
  if (bad !== undefined) throw new BadQuery(`${name} "${shorten(bad)}" is none of ${allowed.join(', ')}`)
  return new Set(wanted as T[])
}

/** POOL/[NS/]IMAGE, with the global image id as long as the name is not known. */
export function imageSpec({ labels: { pool, namespace, globalImageId }, name }: ImageMetrics): string {
  return [pool, ...(namespace === '' ? [] : [namespace]), name || globalImageId].join('/')
}
