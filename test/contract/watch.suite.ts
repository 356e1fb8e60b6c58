import { describe, expect, test } from 'vitest'
import { Errno } from '../../src/rados/errors.ts'
import type { Notification } from '../../src/rados/io-ctx.ts'
import { WriteOperation } from '../../src/rados/operation.ts'
import { errnoOf, type ContractContext } from './rados.suite.ts'

const bytes = (text: string) => Buffer.from(text)

export function watchContract(context: ContractContext): void {
  describe('watch and notify', () => {
    test('every watcher hears it and answers', async () => {
      const io = await context.freshIo()
      const theirs = (await context.other.openPool(context.fixture.pool)).duplicate({ namespace: io.namespace })
      await io.write('object', new WriteOperation().create(true))
      const heard: Notification[] = []
      const unexpected = { onError: (error: Error) => expect.fail(error.message) }
      const mine = await io.watch('object', { onNotify: (one) => (heard.push(one), one.ack(bytes('mine'))), ...unexpected })
      const other = await theirs.watch('object', { onNotify: (one) => (heard.push(one), one.ack()), ...unexpected })
      const result = await theirs.notify('object', bytes('hello'), 5000)
      expect(heard.map(({ payload }) => payload.toString())).toEqual(['hello', 'hello'])
      expect(new Set(heard.map(({ notifyId }) => notifyId)).size).toBe(1)
      expect(heard.every(({ notifierId }) => notifierId === context.other.instanceId)).toBe(true)
      expect(result.timeouts).toEqual([])
      expect(result.acks).toHaveLength(2)
      expect(result.acks).toContainEqual({ notifierId: context.cluster.instanceId, cookie: mine.cookie, payload: bytes('mine') })
      expect(result.acks).toContainEqual({ notifierId: context.other.instanceId, cookie: other.cookie, payload: Buffer.alloc(0) })
      await mine.close()
      await other.close()
      io.close()
    })

    test('who does not answer is told of', async () => {
      const io = await context.freshIo()
      await io.write('object', new WriteOperation().create(true))
      const silent = await io.watch('object', { onNotify: () => undefined, onError: () => undefined })
      const loud = await io.watch('object', { onNotify: (one) => one.ack(bytes('here')), onError: () => undefined })
      const result = await io.notify('object', bytes('anybody?'), 1000)
      expect(result.timeouts).toEqual([{ notifierId: context.cluster.instanceId, cookie: silent.cookie }])
      expect(result.acks).toEqual([{ notifierId: context.cluster.instanceId, cookie: loud.cookie, payload: bytes('here') }])
      await silent.close()
      await loud.close()
      io.close()
    })

    test('nobody there, nobody to wait for', async () => {
      const io = await context.freshIo()
      await io.write('object', new WriteOperation().create(true))
      expect(await io.notify('object', bytes('hello'), 5000)).toEqual({ acks: [], timeouts: [] })
      expect(await errnoOf(io.notify('none', bytes('hello'), 1000))).toBe(Errno.ENOENT)
      io.close()
    })

    test('a closed watch hears nothing and is not listed', async () => {
      const io = await context.freshIo()
      await io.write('object', new WriteOperation().create(true))
      let heard = 0
      const watch = await io.watch('object', { onNotify: (one) => (heard++, one.ack()), onError: () => undefined })
      expect(watch.check()).toBeGreaterThanOrEqual(0)
      const [listed, ...rest] = await io.listWatchers('object')
      expect(rest).toEqual([])
      expect(listed).toMatchObject({ clientId: context.cluster.instanceId, cookie: watch.cookie })
      expect(listed!.timeoutSeconds).toBeGreaterThan(0)
      await io.notify('object', bytes('one'), 5000)
      await watch.close()
      await watch.close()
      expect(() => watch.check()).toThrow(expect.objectContaining({ errno: Errno.ENOTCONN }) as Error)
      await io.notify('object', bytes('two'), 5000)
      expect(heard).toBe(1)
      expect(await io.listWatchers('object')).toEqual([])
      io.close()
    })

    test('there is nothing to watch without an object', async () => {
      const io = await context.freshIo()
      expect(await errnoOf(io.watch('none', { onNotify: () => undefined, onError: () => undefined }))).toBe(Errno.ENOENT)
      expect(await errnoOf(io.listWatchers('none'))).toBe(Errno.ENOENT)
      io.close()
    })

    test('the watch of a removed object is lost', async () => {
      const io = await context.freshIo()
      await io.write('object', new WriteOperation().create(true))
      let lose!: (error: Error) => void
      const lost = new Promise<Error>((resolve) => (lose = resolve))
      const watch = await io.watch('object', { onNotify: (one) => one.ack(), onError: lose })
      await io.remove('object')
      expect(await lost).toMatchObject({ errno: expect.toBeOneOf([Errno.ENOTCONN, Errno.ENOENT]) as number })
      await watch.close()
      io.close()
    })

    test('an io context may be closed before its watch', async () => {
      const io = await context.freshIo()
      const view = io.duplicate({})
      await io.write('object', new WriteOperation().create(true))
      const watch = await view.watch('object', { onNotify: (one) => one.ack(bytes('still here')), onError: () => undefined })
      view.close()
      const { acks } = await io.notify('object', bytes('hello'), 5000)
      expect(acks.map(({ payload }) => payload.toString())).toEqual(['still here'])
      await watch.close()
      expect(await io.listWatchers('object')).toEqual([])
      io.close()
    })

    test('many notifications at once', async () => {
      const io = await context.freshIo()
      await io.write('object', new WriteOperation().create(true))
      const heard: string[] = []
      const watch = await io.watch('object', { onNotify: (one) => (heard.push(one.payload.toString()), one.ack(one.payload)), onError: () => undefined })
      const results = await Promise.all(Array.from({ length: 100 }, (_, index) => io.notify('object', bytes(`${index}`), 10_000)))
      expect(results.map(({ acks }) => acks[0]!.payload.toString())).toEqual(results.map((_, index) => `${index}`))
      expect(heard).toHaveLength(100)
      await watch.close()
      io.close()
    })
  })
}
