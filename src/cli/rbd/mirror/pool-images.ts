import { loadMirrorInfo } from '../../../rbd/mirror/mirror-info.ts'
import { demoteImage } from '../../../rbd/mirror/demote-image.ts'
import { promoteImage } from '../../../rbd/mirror/promote-image.ts'
import { Refusal } from '../../../rbd/mirror/refusal.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { Errno, isErrno, RadosError } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { listImages } from '../../../rbd/directory.ts'
import { Image } from '../../../rbd/image.ts'
import { keepingLockPolicy } from '../../../rbd/lock-policy.ts'
import type { CommandContext } from '../frame/context.ts'
import { attemptSilently } from '../frame/failure.ts'
import { takePool } from '../frame/specs.ts'
import { requirePoolMirroring } from './require-mirroring.ts'

export async function promoteAll(context: CommandContext): Promise<number> {
  const force = context.args.flag('force')
  return changeAll(context, 'promote', 'Promoted', false, (image) => promoteImage(image, force, context.signal))
}

export async function demoteAll(context: CommandContext): Promise<number> {
  return changeAll(context, 'demote', 'Demoted', true, (image) => demoteImage(image, context.signal))
}

/** Changes every mirrored image that is, or is not, primary. The first failure is the exit status, and hinders none of the others. */
async function changeAll(context: CommandContext, verb: string, done: string, primary: boolean, change: (image: Image) => Promise<void>): Promise<number> {
  const io = await context.openPool(takePool(context, { validate: true, namespaces: true }))
  await requirePoolMirroring(io)
  const images = await attemptSilently('failed to list images within pool', () => listImages(io))
  let changed = 0
  let status = 0
  for (const [name, id] of images) {
    const errno = await changeOne(context, io, { name, id, primary, verb }, async (image) => {
      await change(image)
      changed++
    })
    status ||= errno
  }
  context.line(`${done} ${changed} mirrored images`)
  return status
}

async function changeOne(
  context: CommandContext,
  io: IoCtx,
  { name, id, primary, verb }: { name: string; id: string; primary: boolean; verb: string },
  change: (image: Image) => Promise<void>,
): Promise<number> {
  const told = async (what: string, action: () => Promise<void>): Promise<number> => {
    try {
      await action()
      return 0
    } catch (error) {
      if (!(error instanceof RadosError)) throw error
      if (isErrno(error, Errno.ENOENT) && what !== 'open image') return 0
      if (error instanceof Refusal) for (const line of error.lines) context.logError(line)
      context.complain(`failed to ${what} ${name}: ${errnoText(error.errno)}`)
      return error.errno
    }
  }
  let image: Image | undefined
  const opened = await told('open image', async () => {
    image = await Image.open(io, { id }, await context.imageOptions('write', keepingLockPolicy))
  })
  if (!image) return opened
  const open = image
  try {
    let wanted = false
    const looked = await told('retrieve mirror image info for', async () => {
      const info = await loadMirrorInfo(io, id)
      wanted = info.image.state === 'enabled' && (info.promotion.state === 'primary') === primary
    })
    return wanted ? await told(`${verb} image`, () => change(open)) : looked
  } finally {
    await open.close()
  }
}
