import type { MirrorImageMode } from '../../../cls/rbd/mirror-types.ts'
import type { Image } from '../../../rbd/image.ts'
import { keepingLockPolicy, type LockPolicy } from '../../../rbd/lock-policy.ts'
import { demoteImage } from '../../../rbd/mirror/demote-image.ts'
import { disableImage } from '../../../rbd/mirror/disable-image.ts'
import { enableImage } from '../../../rbd/mirror/enable-image.ts'
import { createPrimarySnapshot } from '../../../rbd/mirror/primary-snapshot.ts'
import { promoteImage } from '../../../rbd/mirror/promote-image.ts'
import { resyncImage } from '../../../rbd/mirror/resync-image.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, imageSpec, snapCreateOptions, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, attemptSilently, invalid } from '../frame/failure.ts'
import { takeImage } from '../frame/specs.ts'
import { imageStatus } from './image-status.ts'
import { requireImageMirroring } from './require-mirroring.ts'

async function openNamed(context: CommandContext, lockPolicy?: LockPolicy): Promise<Image> {
  const name = takeImage(context, { snap: 'none' })
  const io = await context.openPool(name)
  return context.openImage(io, { name: name.image }, 'write', lockPolicy)
}

const modes: Readonly<Record<string, MirrorImageMode>> = { '': 'journal', journal: 'journal', snapshot: 'snapshot' }

async function enable(context: CommandContext): Promise<void> {
  const image = await openNamed(context)
  const named = context.args.take()
  const mode = modes[named]
  if (!mode) throw invalid(`invalid mode name: ${named}`)
  await attemptSilently(undefined, () => enableImage(image, { mode, signal: context.signal }))
  context.line('Mirroring enabled')
}

async function disable(context: CommandContext): Promise<void> {
  const image = await openNamed(context)
  await attemptSilently(undefined, () => disableImage(image, context.args.flag('force'), context.signal))
  context.line('Mirroring disabled')
}

async function promote(context: CommandContext): Promise<void> {
  const image = await openNamed(context, keepingLockPolicy)
  await requireImageMirroring(image)
  await attemptSilently('error promoting image to primary', () => promoteImage(image, context.args.flag('force'), context.signal))
  context.line('Image promoted to primary')
}

async function demote(context: CommandContext): Promise<void> {
  const image = await openNamed(context, keepingLockPolicy)
  await requireImageMirroring(image)
  await attemptSilently('error demoting image to non-primary', () => demoteImage(image, context.signal))
  context.line('Image demoted to non-primary')
}

async function resync(context: CommandContext): Promise<void> {
  const image = await openNamed(context)
  await requireImageMirroring(image)
  await attemptSilently('error flagging image resync', () => resyncImage(image, context.signal))
  context.line('Flagged image for resync from primary')
}

async function snapshot(context: CommandContext): Promise<void> {
  const name = takeImage(context, { snap: 'none' })
  const [skip, ignoreError] = [context.args.flag('skip-quiesce'), context.args.flag('ignore-quiesce-error')]
  if (skip && ignoreError) throw invalid('ignore-quiesce-error cannot be used together with skip-quiesce')
  const io = await context.openPool(name)
  const image = await context.openImage(io, { name: name.image }, 'write')
  const { mode, globalImageId } = await requireImageMirroring(image)
  if (mode !== 'snapshot') throw invalid('snapshot based mirroring not enabled on the image')
  const quiesce = skip ? 'skip' : ignoreError ? 'ignore-error' : 'quiesce'
  const id = await attempt('error creating snapshot', () => createPrimarySnapshot(image, { globalImageId, quiesce, signal: context.signal }))
  context.line(`Snapshot ID: ${id}`)
}

export const mirrorImageCommands: readonly Command[] = [
  {
    path: ['mirror', 'image', 'enable'],
    description: 'Enable RBD mirroring for an image.',
    arguments: together(imageSpec(), {
      positional: [{ name: 'mode', optional: true, description: 'mirror image mode (journal or snapshot) [default: journal]' }],
    }),
    execute: enable,
  },
  {
    path: ['mirror', 'image', 'disable'],
    description: 'Disable RBD mirroring for an image.',
    arguments: together([{ name: 'force', flag: true, description: 'disable even if not primary' }], imageSpec()),
    execute: disable,
  },
  {
    path: ['mirror', 'image', 'promote'],
    description: 'Promote an image to primary for RBD mirroring.',
    arguments: together([{ name: 'force', flag: true, description: 'promote even if not cleanly demoted by remote cluster' }], imageSpec()),
    execute: promote,
  },
  {
    path: ['mirror', 'image', 'demote'],
    description: 'Demote an image to non-primary for RBD mirroring.',
    arguments: imageSpec(),
    execute: demote,
  },
  {
    path: ['mirror', 'image', 'resync'],
    description: 'Force resync to primary image for RBD mirroring.',
    arguments: imageSpec(),
    execute: resync,
  },
  {
    path: ['mirror', 'image', 'status'],
    description: 'Show RBD mirroring status for an image.',
    arguments: together(imageSpec(), formatOptions),
    execute: imageStatus,
  },
  {
    path: ['mirror', 'image', 'snapshot'],
    description: 'Create RBD mirroring image snapshot.',
    arguments: together(imageSpec(), snapCreateOptions),
    execute: snapshot,
  },
]
