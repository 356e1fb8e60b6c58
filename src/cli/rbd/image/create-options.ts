import type { ImageToCreate } from '../../../rbd/create-image.ts'
import type { JournalLayoutOptions } from '../../../rbd/mirror/journal-switch.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, invalid } from '../frame/failure.ts'
import type { OptionSpec } from '../frame/option-spec.ts'
import { defaultFeatures, parseFeatures, singleClientFeatures } from './feature-names.ts'
import { parseBytes, parseCount, parseImageSize } from './text.ts'

const parseJournalObjectSize = (text: string) => {
  const bytes = parseBytes(text)
  return bytes !== undefined && bytes >= 2 ** 12 && bytes <= 2 ** 26 ? bytes : undefined
}

export const createJournalOptions: readonly OptionSpec[] = [
  { name: 'journal-splay-width', description: 'number of active journal objects', parse: parseCount, echoed: true },
  { name: 'journal-object-size', description: 'size of journal objects [4K <= size <= 64M]', parse: parseJournalObjectSize },
  { name: 'journal-pool', description: 'pool for journal objects' },
]

const formatOptionSpecs: readonly OptionSpec[] = [
  { name: 'image-format', description: 'image format [default: 2]', parse: (text) => (text === '1' || text === '2' ? Number(text) : undefined) },
  { name: 'new-format', flag: true, description: 'deprecated[:image-format 2]', deprecated: 'image-format 2' },
]

const parseOrder = (text: string) => (/^\d+$/.test(text) && Number(text) >= 12 && Number(text) <= 25 ? Number(text) : undefined)

const layoutOptionSpecs: readonly OptionSpec[] = [
  { name: 'order', description: 'deprecated[:object-size]', deprecated: 'object-size', parse: parseOrder },
  { name: 'object-size', description: 'object size in B/K/M [4K <= object size <= 32M]', parse: parseBytes },
  {
    name: 'image-feature',
    repeatable: true,
    description: 'image features\n[layering(+), exclusive-lock(+*), object-map(+*), deep-flatten(+-), journaling(*)]',
    parse: parseFeatures,
  },
  { name: 'image-shared', flag: true, description: 'shared image' },
  { name: 'stripe-unit', description: 'stripe unit in B/K/M', parse: parseBytes },
  { name: 'stripe-count', description: 'stripe count', parse: parseCount, echoed: true },
  { name: 'data-pool', description: 'data pool' },
  {
    name: 'mirror-image-mode',
    description: 'mirror image mode [journal or snapshot]',
    parse: (text) => (text === 'journal' || text === 'snapshot' ? text : undefined),
  },
  ...createJournalOptions,
]

export function createImageOptions(withFormat: boolean): readonly OptionSpec[] {
  return withFormat ? [...formatOptionSpecs, ...layoutOptionSpecs] : layoutOptionSpecs
}

export const sizeOption: OptionSpec = {
  name: 'size',
  short: 's',
  required: true,
  description: 'image size (in M/G/T) [default: M]',
  parse: parseImageSize,
}

/** @throws CommandFailure */
export function takeSize({ args }: CommandContext): number {
  const size = args.value<number>('size')
  if (size === undefined) throw invalid('must specify --size <M/G/T>')
  return size
}

/** What the options say of a new image, with Ceph's defaults for the rest. @throws CommandFailure */
export interface CreateOptions extends Pick<ImageToCreate, 'order' | 'features' | 'stripeUnit' | 'stripeCount' | 'dataPoolId'> {
  journal: JournalLayoutOptions
  mirrorMode: 'journal' | 'snapshot' | undefined
}

export function takeJournalLayout({ args }: CommandContext): JournalLayoutOptions {
  const objectSize = args.value<number>('journal-object-size')
  const splayWidth = args.value<number>('journal-splay-width')
  const pool = args.text('journal-pool')
  return {
    ...(objectSize === undefined ? {} : { order: Math.round(Math.log2(objectSize)) }),
    ...(splayWidth === undefined ? {} : { splayWidth }),
    ...(pool === undefined ? {} : { pool }),
  }
}

/** The options' form. @throws CommandFailure */
export function checkCreateOptions(context: CommandContext): void {
  const { args } = context
  const format = args.flag('new-format') ? 2 : args.value<number>('image-format')
  if (format !== 1) return
  context.complain('image format 1 is deprecated')
  const features = args.all<bigint>('image-feature').reduce((all, some) => all | some, 0n)
  if (features !== 0n) throw invalid('features not allowed with format 1; use --image-format 2')
  if (args.has('stripe-unit') || args.has('stripe-count')) throw invalid('non-default striping not allowed with format 1; use --image-format 2')
  if (args.has('data-pool')) throw invalid('data pool not allowed with format 1; use --image-format 2')
}

/** @param inherited what is not said on the command line, e.g. as it is of a clone's parent */
export async function takeCreateOptions(
  context: CommandContext,
  inherited?: Partial<Pick<ImageToCreate, 'order' | 'features' | 'stripeUnit' | 'stripeCount'>>,
): Promise<CreateOptions> {
  const { args } = context
  const objectSize = args.value<number>('object-size')
  const order = args.value<number>('order') ?? (objectSize === undefined ? undefined : Math.round(Math.log2(objectSize)))
  const wanted = args.has('image-feature') ? args.all<bigint>('image-feature').reduce((all, some) => all | some, 0n) : undefined
  let features = wanted ?? inherited?.features ?? defaultFeatures(await context.option('rbd_default_features', ''))
  if (args.flag('image-shared')) features &= ~singleClientFeatures
  const dataPool = args.text('data-pool') ?? (await context.option('rbd_default_data_pool', ''))
  const cluster = await context.cluster()
  return {
    order: order ?? inherited?.order ?? Number(await context.option('rbd_default_order', '22')),
    features,
    stripeUnit: args.value<number>('stripe-unit') ?? inherited?.stripeUnit,
    stripeCount: args.value<number>('stripe-count') ?? inherited?.stripeCount,
    dataPoolId: dataPool === '' ? undefined : await attempt('create error', () => cluster.lookupPool(dataPool)),
    journal: takeJournalLayout(context),
    mirrorMode: args.value<'journal' | 'snapshot'>('mirror-image-mode'),
  }
}
