import { forEachBounded } from '../../base/bounded.ts'
import type { MirrorImage } from '../../cls/rbd/mirror-types.ts'
import type { Cluster } from '../../rados/cluster.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import {
  FEATURE_EXCLUSIVE_LOCK,
  FEATURE_FAST_DIFF,
  FEATURE_JOURNALING,
  FEATURE_OBJECT_MAP,
  FLAG_FAST_DIFF_INVALID,
  FLAG_OBJECT_MAP_INVALID,
  hasFeature,
} from '../../rbd/features.ts'
import { loadHeader, type ImageHeader } from '../../rbd/header.ts'
import { findMirrorImage, listMirrorImages } from '../../rbd/mirror/image-entry.ts'
import { loadSchedules } from '../../rbd/mirror/schedule/schedule-store.ts'
import type { Schedules } from '../../rbd/mirror/schedule/schedules.ts'
import type { Findings } from './finding.ts'

const CONCURRENT = 8
const MAX_NAMED = 5

interface Seen {
  id: string
  image: MirrorImage
  header: Pick<ImageHeader, 'name' | 'features' | 'flags'>
}

/**
 * The mirrored images of one pool namespace on one site.
 * @param max images that are looked at
 */
export async function checkImages(io: IoCtx, subject: string, max: number, schedules: Schedules | undefined, findings: Findings): Promise<void> {
  const ids = await listMirrorImages(io)
  const seen: Seen[] = []
  const unreadable: string[] = []
  await forEachBounded(ids.slice(0, max), CONCURRENT, async (id) => {
    try {
      const image = await findMirrorImage(io, id)
      if (image) seen.push({ id, image, header: await loadHeader(io, id, { access: 'read-only' }) })
    } catch (error) {
      unreadable.push(`${id}: ${(error as Error).message}`)
    }
  })
  if (unreadable.length > 0) {
    findings.error(subject, `${count(unreadable.length, 'mirrored image')} can't be read: ${named(unreadable)}`, 'look at those images with "rbd info" and "rbd status"')
  }
  judgeImages(subject, seen, findings)
  if (schedules) {
    const unscheduled = seen.filter(({ id, image }) => {
      return image.mode === 'snapshot' && image.state === 'enabled' && !schedules.find({ poolId: io.poolId, namespace: io.namespace, imageId: id })
    })
    if (unscheduled.length > 0) {
      const names = named(unscheduled.map(({ header }) => header.name))
      const cure = 'rbd mirror snapshot schedule add --pool … INTERVAL, unless something else makes their mirror-snapshots'
      findings.note(subject, `${count(unscheduled.length, 'image')} without a snapshot schedule: ${names}; ${cure}`)
    }
  }
  if (ids.length > max) findings.note(subject, `${max} of ${ids.length} images were looked at; --images looks at more`)
}

/** Pure: features and object maps of mirrored images. */
export function judgeImages(subject: string, seen: readonly Seen[], findings: Findings): void {
  const before = findings.list.length
  const those = (wrong: (seen: Seen) => boolean) => seen.filter(wrong).map(({ header }) => header.name)
  const lacks = (feature: bigint) => (one: Seen) => !hasFeature(one.header.features, feature)
  const report = (level: 'warning' | 'error', names: string[], text: string, cure: string) => {
    if (names.length > 0) findings[level](subject, `${count(names.length, 'image')} ${text}: ${named(names)}`, cure)
  }
  report(
    'error',
    those((one) => one.image.mode === 'journal' && (lacks(FEATURE_JOURNALING)(one) || lacks(FEATURE_EXCLUSIVE_LOCK)(one))),
    'in journal mode without journaling or exclusive-lock',
    'rbd feature enable POOL/IMAGE exclusive-lock journaling',
  )
  report(
    'warning',
    those((one) => one.image.mode === 'snapshot' && (lacks(FEATURE_OBJECT_MAP)(one) || lacks(FEATURE_FAST_DIFF)(one))),
    'in snapshot mode without object-map and fast-diff: each sync looks at every object',
    'rbd feature enable POOL/IMAGE exclusive-lock object-map fast-diff, then rbd object-map rebuild POOL/IMAGE',
  )
  report(
    'warning',
    those(({ header }) => hasFeature(header.features, FEATURE_OBJECT_MAP) && (header.flags & (FLAG_OBJECT_MAP_INVALID | FLAG_FAST_DIFF_INVALID)) !== 0n),
    'with an object map that is flagged invalid: each sync looks at every object',
    'rbd object-map rebuild POOL/IMAGE on the primary',
  )
  report('warning', those(({ image }) => image.state === 'disabling'), 'whose mirroring was not disabled to its end', 'rbd mirror image disable POOL/IMAGE again')
  if (seen.length > 0 && findings.list.length === before) findings.ok(subject, `features and object maps of ${count(seen.length, 'image')} are as they should be`)
}

/** undefined when this client may not read them, which only means that nothing is said of them. */
export async function schedulesOf(cluster: Cluster): Promise<Schedules | undefined> {
  try {
    return await loadSchedules(cluster)
  } catch {
    return undefined
  }
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}

function named(list: readonly string[]): string {
  return list.slice(0, MAX_NAMED).join(', ') + (list.length > MAX_NAMED ? ', …' : '')
}
