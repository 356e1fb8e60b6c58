import { dirGetId } from '../../src/cls/rbd/client.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import { Image } from '../../src/rbd/image.ts'
import { ImageWriter } from '../../src/rbd/image-writer.ts'
import { RBD_DIRECTORY } from '../../src/rbd/names.ts'
import { Process } from './world/process.ts'
import { POOL, type Site } from './world/site.ts'
import type { World } from './world/world.ts'

/** Writes are of whole blocks, each of which says by which write it was written. */
export const BLOCK = 512

/** One change of an image's data, in the order in which the client has begun them. */
export interface Change {
  readonly serial: number
  readonly type: 'write' | 'discard' | 'flush'
  /** blocks; of a flush none */
  readonly from: number
  readonly to: number
  state: 'under way' | 'done' | 'unknown'
}

/** All that clients have ever done to one image's data, whichever site it was at. */
export class ImageHistory {
  readonly changes: Change[] = []

  begin(type: Change['type'], from: number, to: number): Change {
    const change: Change = { serial: this.changes.length + 1, type, from, to, state: 'under way' }
    this.changes.push(change)
    return change
  }
}

/** What a block is filled with by a write. */
export function blockOf(serial: number): Buffer {
  return Buffer.alloc(BLOCK, `write ${serial} `)
}

/** The write that a block is from; 0 for zeros. */
export function serialOf(block: Buffer): number {
  if (block.every((byte) => byte === 0)) return 0
  const serial = Number(/^write (\d+) /.exec(block.toString('latin1', 0, 24))?.[1] ?? NaN)
  if (!block.equals(blockOf(serial))) throw new Error(`a block that nobody has written: ${block.toString('latin1', 0, 40)}`)
  return serial
}

/** A virtual machine that uses an image: one change after the other, at its leisure. */
export class ImageUser {
  readonly process: Process
  readonly ended: Promise<'stopped' | 'refused' | 'killed'>
  private stopping = false
  private image: Image | undefined

  constructor(
    world: World,
    site: Site,
    private readonly name: string,
    readonly history: ImageHistory,
    private readonly pace: { pauseMs: number; maxBlocks: number; flushEvery?: number },
  ) {
    this.process = new Process(world, `user-${name}.${site.name.at(-1)}`, 'client')
    this.ended = this.run(site)
  }

  /** After the change under way. */
  async stop(): Promise<void> {
    this.stopping = true
    if (this.process.alive) await this.ended
  }

  kill(): void {
    this.process.kill()
  }

  private async run(site: Site): Promise<'stopped' | 'refused' | 'killed'> {
    const { process } = this
    const { clock, random, log } = process
    let cluster: Cluster | undefined
    try {
      cluster = await process.connect(site)
      const io = await cluster.openPool(POOL)
      const id = await dirGetId.call(io, RBD_DIRECTORY, { name: this.name })
      this.image = await Image.open(io, { id }, { cluster, access: 'write', clock, random, log, journaled: true })
      const writer = new ImageWriter(this.image)
      try {
        for (let count = 1; !this.stopping; count++) {
          await this.change(writer, count)
          await new Promise<void>((resolve) => clock.setTimer(random.next() * this.pace.pauseMs, resolve))
        }
      } finally {
        await this.image.close()
      }
      return 'stopped'
    } catch (error) {
      if (!process.alive) return 'killed'
      this.error = error
      return 'refused'
    } finally {
      await cluster?.close()
    }
  }

  error: unknown

  private async change(writer: ImageWriter, count: number): Promise<void> {
    const { random } = this.process
    const { maxBlocks, flushEvery = 0 } = this.pace
    const blocks = Math.floor(this.image!.header.size / BLOCK)
    if (flushEvery > 0 && count % flushEvery === 0) {
      const flush = this.history.begin('flush', 0, 0)
      await this.noting(flush, () => writer.flush())
      return
    }
    const from = random.between(0, blocks - 1)
    const to = Math.min(blocks, from + random.between(1, maxBlocks))
    const change = this.history.begin(random.chance(0.15) ? 'discard' : 'write', from, to)
    const length = (to - from) * BLOCK
    await this.noting(change, () =>
      change.type === 'discard'
        ? writer.discard(from * BLOCK, length)
        : writer.write(from * BLOCK, Buffer.concat(Array.from({ length: to - from }, () => blockOf(change.serial)))),
    )
  }

  private async noting(change: Change, act: () => Promise<void>): Promise<void> {
    try {
      await act()
      change.state = 'done'
    } catch (error) {
      change.state = 'unknown'
      throw error
    }
  }
}
