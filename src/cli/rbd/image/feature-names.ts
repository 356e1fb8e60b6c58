import * as feature from '../../../rbd/features.ts'

const bits: Readonly<Record<string, bigint>> = {
  layering: feature.FEATURE_LAYERING,
  striping: feature.FEATURE_STRIPINGV2,
  'exclusive-lock': feature.FEATURE_EXCLUSIVE_LOCK,
  'object-map': feature.FEATURE_OBJECT_MAP,
  'fast-diff': feature.FEATURE_FAST_DIFF,
  'deep-flatten': feature.FEATURE_DEEP_FLATTEN,
  journaling: feature.FEATURE_JOURNALING,
  'data-pool': feature.FEATURE_DATA_POOL,
  operations: feature.FEATURE_OPERATIONS,
  migrating: feature.FEATURE_MIGRATING,
  'non-primary': feature.FEATURE_NON_PRIMARY,
  'dirty-cache': feature.FEATURE_DIRTY_CACHE,
}

/** Bits of `layering,exclusive-lock`; undefined when a name is none. */
export function parseFeatures(text: string): bigint | undefined {
  let features = 0n
  for (const name of text.split(',').filter((part) => part !== '')) {
    const bit = bits[name]
    if (bit === undefined) return undefined
    features |= bit
  }
  return features
}

/** What a shared image can't have. */
export const singleClientFeatures =
  feature.FEATURE_EXCLUSIVE_LOCK | feature.FEATURE_OBJECT_MAP | feature.FEATURE_FAST_DIFF | feature.FEATURE_JOURNALING

const standard = feature.FEATURE_LAYERING | feature.FEATURE_EXCLUSIVE_LOCK | feature.FEATURE_OBJECT_MAP | feature.FEATURE_FAST_DIFF | feature.FEATURE_DEEP_FLATTEN

/** The value of `rbd_default_features`: a mask or names. */
export function defaultFeatures(option: string): bigint {
  if (option === '') return standard
  if (/^\d+$/.test(option)) return BigInt(option)
  return parseFeatures(option.replaceAll(' ', '')) ?? standard
}

export const longFeaturesHelp = `Image Features:
  (*) supports enabling/disabling on existing images
  (-) supports disabling-only on existing images
  (+) enabled by default for new images if features not specified
`
