import { describe, expect, test } from 'vitest'
import { Errno, RadosError } from '../../src/rados/errors.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { ReadOperation, WriteOperation, type Comparison } from '../../src/rados/operation.ts'
import { errnoOf, type ContractContext } from './rados.suite.ts'

const bytes = (text: string) => Buffer.from(text)
/** A mismatch at byte n of a cmpext is told as errno 4095 + n. */
const MISMATCH = 4095

export function operationContract(context: ContractContext): void {
  const contents = async (io: IoCtx, oid: string) => (await io.readData(oid, 0, 1 << 20)).toString('latin1')
  const testIo = (name: string, body: (io: IoCtx) => Promise<void>) =>
    test(name, async () => {
      const io = await context.freshIo()
      try {
        await body(io)
      } finally {
        io.close()
      }
    })

  describe('writes', () => {
    testIo('create', async (io) => {
      await io.write('object', new WriteOperation().create(true))
      expect(await errnoOf(io.write('object', new WriteOperation().create(true)))).toBe(Errno.EEXIST)
      await io.write('object', new WriteOperation().create(false))
      expect((await io.stat('object')).size).toBe(0)
    })

    testIo('write, beyond the end too; what lies between reads as zeros', async (io) => {
      await io.write('object', new WriteOperation().write(2, bytes('abc')).write(8, bytes('xy')))
      expect(await contents(io, 'object')).toBe('\0\0abc\0\0\0xy')
      await io.write('object', new WriteOperation().write(3, bytes('BB')))
      expect(await contents(io, 'object')).toBe('\0\0aBB\0\0\0xy')
    })

    testIo('write full, append, truncate, zero, write same', async (io) => {
      await io.write('object', new WriteOperation().write(0, bytes('something long')))
      await io.write('object', new WriteOperation().writeFull(bytes('short')))
      expect(await contents(io, 'object')).toBe('short')
      await io.write('object', new WriteOperation().append(bytes('er')).append(bytes('!')))
      expect(await contents(io, 'object')).toBe('shorter!')
      await io.write('object', new WriteOperation().truncate(5))
      expect(await contents(io, 'object')).toBe('short')
      await io.write('object', new WriteOperation().truncate(7))
      expect(await contents(io, 'object')).toBe('short\0\0')
      await io.write('object', new WriteOperation().zero(1, 3))
      expect(await contents(io, 'object')).toBe('s\0\0\0t\0\0')
      await io.write('object', new WriteOperation().writeSame(1, 6, bytes('ab')))
      expect(await contents(io, 'object')).toBe('sababab')
    })

    testIo('an empty write creates nothing worth reading, an empty buffer is no error', async (io) => {
      await io.write('object', new WriteOperation().create(false).writeFull(Buffer.alloc(0)).setXattr('empty', Buffer.alloc(0)))
      expect((await io.stat('object')).size).toBe(0)
      const operation = new ReadOperation()
      const xattr = operation.getXattr('empty')
      expect((await io.read('object', operation)).get(xattr)).toEqual(Buffer.alloc(0))
    })

    testIo('remove', async (io) => {
      expect(await errnoOf(io.remove('object'))).toBe(Errno.ENOENT)
      await io.write('object', new WriteOperation().create(true))
      await io.remove('object')
      expect(await errnoOf(io.stat('object'))).toBe(Errno.ENOENT)
    })

    testIo('versions grow', async (io) => {
      const first = await io.write('object', new WriteOperation().create(true))
      const second = await io.write('object', new WriteOperation().append(bytes('x')))
      expect(second).toBeGreaterThan(first)
      const operation = new ReadOperation()
      operation.stat()
      expect((await io.read('object', operation)).version).toBe(second)
    })

    testIo('hints are taken', async (io) => {
      await io.write('object', new WriteOperation().setAllocHint(4 << 20, 4 << 20, 0).write(0, bytes('data')))
      expect(await contents(io, 'object')).toBe('data')
    })

    testIo('a failing step leaves nothing of the operation', async (io) => {
      await io.write('object', new WriteOperation().writeFull(bytes('before')).setXattr('x', bytes('1')).omapSet(new Map([['k', bytes('v')]])))
      const change = () => new WriteOperation().writeFull(bytes('after')).setXattr('x', bytes('2')).omapSet(new Map([['k', bytes('w')]]))
      expect(await errnoOf(io.write('object', change().cmpxattr('x', 'eq', bytes('9'))))).toBe(Errno.ECANCELED)
      expect(await errnoOf(io.write('object', change().create(true)))).toBe(Errno.EEXIST)
      expect(await errnoOf(io.write('object', change().exec('lock', 'unlock', bytes('nonsense'))))).toBe(Errno.EINVAL)
      expect(await errnoOf(io.write('new', new WriteOperation().writeFull(bytes('after')).cmpext(0, bytes('other'))))).toBe(MISMATCH)
      expect(await contents(io, 'object')).toBe('before')
      const operation = new ReadOperation()
      const xattr = operation.getXattr('x')
      const omap = operation.omapGetByKeys(['k'])
      const results = await io.read('object', operation)
      expect(results.get(xattr).toString()).toBe('1')
      expect(results.get(omap)).toEqual(new Map([['k', bytes('v')]]))
      expect(await errnoOf(io.stat('new'))).toBe(Errno.ENOENT)
    })

    testIo('the error says where', async (io) => {
      const error = (await io.stat('nowhere').catch((caught: unknown) => caught)) as RadosError
      expect(error).toBeInstanceOf(RadosError)
      expect(error).toMatchObject({
        errno: Errno.ENOENT,
        code: 'ENOENT',
        cluster: context.cluster.name,
        pool: context.fixture.pool,
        namespace: io.namespace,
        oid: 'nowhere',
      })
    })
  })

  describe('guards', () => {
    testIo('assert exists', async (io) => {
      expect(await errnoOf(io.write('object', new WriteOperation().assertExists().append(bytes('x'))))).toBe(Errno.ENOENT)
      await io.write('object', new WriteOperation().create(true))
      await io.write('object', new WriteOperation().assertExists().append(bytes('x')))
      const operation = new ReadOperation().assertExists()
      expect(await errnoOf(io.read('object', operation))).toBe(0)
      expect(await errnoOf(io.read('none', operation))).toBe(Errno.ENOENT)
    })

    testIo('assert version', async (io) => {
      const version = await io.write('object', new WriteOperation().create(true))
      const read = (expected: bigint) => {
        const operation = new ReadOperation().assertVersion(expected)
        operation.stat()
        return errnoOf(io.read('object', operation))
      }
      expect(await read(version)).toBe(0)
      expect(await read(version + 1n)).toBe(Errno.EOVERFLOW)
      await io.write('object', new WriteOperation().append(bytes('x')))
      expect(await read(version)).toBe(Errno.ERANGE)
      expect(await errnoOf(io.write('object', new WriteOperation().assertVersion(version).append(bytes('y'))))).toBe(Errno.ERANGE)
    })

    testIo('compare extent', async (io) => {
      await io.write('object', new WriteOperation().writeFull(bytes('0123456789')))
      await io.write('object', new WriteOperation().cmpext(2, bytes('234')).write(0, bytes('ab')))
      expect(await errnoOf(io.write('object', new WriteOperation().cmpext(2, bytes('23X5')).write(0, bytes('cd'))))).toBe(MISMATCH + 2)
      expect(await contents(io, 'object')).toBe('ab23456789')
      const operation = new ReadOperation().cmpext(4, bytes('4567'))
      const data = operation.read(4, 2)
      expect((await io.read('object', operation)).get(data).toString()).toBe('45')
      expect(await errnoOf(io.read('object', new ReadOperation().cmpext(4, bytes('X567'))))).toBe(MISMATCH)
    })

    testIo('compare attribute', async (io) => {
      await io.write('object', new WriteOperation().setXattr('x', bytes('m')))
      const holds = async (comparison: Comparison, value: string) =>
        (await errnoOf(io.read('object', new ReadOperation().cmpxattr('x', comparison, bytes(value))))) === 0
      // The comparison reads "given OP stored".
      expect(await holds('eq', 'm')).toBe(true)
      expect(await holds('eq', 'n')).toBe(false)
      expect(await holds('ne', 'n')).toBe(true)
      expect(await holds('gt', 'n')).toBe(true)
      expect(await holds('gt', 'm')).toBe(false)
      expect(await holds('gte', 'm')).toBe(true)
      expect(await holds('lt', 'a')).toBe(true)
      expect(await holds('lte', 'z')).toBe(false)
      expect(await errnoOf(io.write('object', new WriteOperation().cmpxattr('x', 'eq', bytes('z')).remove()))).toBe(Errno.ECANCELED)
    })

    testIo('compare omap value', async (io) => {
      await io.write('object', new WriteOperation().omapSet(new Map([['k', bytes('5')]])))
      await io.write('object', new WriteOperation().omapCmp('k', 'eq', bytes('5')).omapSet(new Map([['k', bytes('6')]])))
      expect(await errnoOf(io.write('object', new WriteOperation().omapCmp('k', 'eq', bytes('5')).omapClear()))).toBe(Errno.ECANCELED)
      expect((await io.omapGet('object', '', '', 10)).entries).toEqual(new Map([['k', bytes('6')]]))
    })
  })

  describe('reads', () => {
    testIo('data is as long as what is there', async (io) => {
      await io.write('object', new WriteOperation().writeFull(bytes('0123456789')))
      expect((await io.readData('object', 8, 100)).toString()).toBe('89')
      expect((await io.readData('object', 100, 4)).length).toBe(0)
      expect(await errnoOf(io.readData('none', 0, 10))).toBe(Errno.ENOENT)
    })

    testIo('into a buffer of the caller', async (io) => {
      await io.write('object', new WriteOperation().writeFull(bytes('0123456789')))
      const buffer = Buffer.alloc(16, '.')
      const read = await io.readData('object', 4, 8, buffer)
      expect(read.toString()).toBe('456789')
      expect(read.buffer).toBe(buffer.buffer)
      expect(buffer.toString()).toBe('456789..........')
    })

    testIo('many results of one operation', async (io) => {
      const before = Date.now()
      await io.write(
        'object',
        new WriteOperation()
          .writeFull(bytes('0123456789'))
          .setXattr('a', bytes('1'))
          .setXattr('b', Buffer.from([0, 255, 0]))
          .omapSet(new Map([['k', Buffer.from([7])]])),
      )
      const operation = new ReadOperation().assertExists()
      const first = operation.read(0, 2)
      const stat = operation.stat()
      const second = operation.read(5, 2)
      const xattrs = operation.getXattrs()
      const omap = operation.omapGet('', '', 10)
      const xattr = operation.getXattr('b')
      const results = await io.read('object', operation)
      expect(results.get(first).toString()).toBe('01')
      expect(results.get(second).toString()).toBe('56')
      expect(results.get(stat).size).toBe(10)
      expect(Math.abs(results.get(stat).mtime - before)).toBeLessThan(60_000)
      expect(results.get(xattrs)).toEqual(new Map([['a', bytes('1')], ['b', Buffer.from([0, 255, 0])]])) // prettier-ignore
      expect(results.get(omap)).toEqual({ entries: new Map([['k', Buffer.from([7])]]), more: false })
      expect(results.get(xattr)).toEqual(Buffer.from([0, 255, 0]))
    })

    testIo('the first failing step fails the operation', async (io) => {
      await io.write('object', new WriteOperation().create(true))
      const operation = new ReadOperation()
      operation.stat()
      operation.exec('lock', 'get_info', bytes('nonsense'))
      expect(await errnoOf(io.read('object', operation))).toBe(Errno.EINVAL)
      const attribute = new ReadOperation()
      attribute.getXattr('none')
      expect(await errnoOf(io.read('object', attribute))).toBe(Errno.ENODATA)
    })

    testIo('attributes are removed', async (io) => {
      await io.write('object', new WriteOperation().setXattr('a', bytes('1')).setXattr('b', bytes('2')))
      await io.write('object', new WriteOperation().removeXattr('a'))
      const operation = new ReadOperation()
      const xattrs = operation.getXattrs()
      expect((await io.read('object', operation)).get(xattrs)).toEqual(new Map([['b', bytes('2')]]))
    })

    testIo('checksums', async (io) => {
      await io.write('one', new WriteOperation().writeFull(bytes('123456789')))
      await io.write('two', new WriteOperation().writeFull(bytes('123456789abc')))
      const sums = async (oid: string, length: number, chunk: number, type: 'crc32c' | 'xxhash64' | 'xxhash32', seed: bigint) => {
        const operation = new ReadOperation()
        const handle = operation.checksum(type, seed, 0, length, chunk)
        return (await io.read(oid, operation)).get(handle)
      }
      expect(await sums('one', 9, 0, 'crc32c', 0xffffffffn)).toEqual([0x1cf96d7cn]) // the CRC's check value without its final inversion
      expect(await sums('one', 9, 0, 'xxhash64', 0n)).toEqual([0x8cb841db40e6ae83n])
      expect(await sums('one', 9, 0, 'xxhash32', 0n)).toEqual([0x937bad67n])
      const chunks = await sums('two', 12, 3, 'xxhash64', 5n)
      expect(chunks).toHaveLength(4)
      expect(await sums('one', 9, 3, 'xxhash64', 5n)).toEqual(chunks.slice(0, 3))
    })

    testIo('large objects', async (io) => {
      const data = Buffer.alloc(8 << 20)
      for (let at = 0; at < data.length; at += 4) data.writeUInt32LE(at * 2654435761 >>> 0, at)
      await io.write('large', new WriteOperation().writeFull(data))
      expect(data.equals(await io.readData('large', 0, data.length))).toBe(true)
      const into = Buffer.alloc(4 << 20)
      expect(data.subarray(1 << 20, 5 << 20).equals(await io.readData('large', 1 << 20, 4 << 20, into))).toBe(true)
    })

    testIo('thousands at once', async (io) => {
      const count = 3000
      const names = Array.from({ length: count }, (_, index) => `object-${index}`)
      await Promise.all(names.map((name, index) => io.write(name, new WriteOperation().writeFull(bytes(`data of ${index}`)))))
      const read = await Promise.all(names.map((name) => io.readData(name, 0, 100)))
      expect(read.map(String)).toEqual(names.map((_, index) => `data of ${index}`))
      const listed: string[] = []
      for await (const name of io.listObjects()) listed.push(name)
      expect(listed.sort()).toEqual([...names].sort())
    })

    testIo('an aborted signal ends the wait', async (io) => {
      const reason = new Error('enough')
      await expect(io.read('object', new ReadOperation().assertExists(), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
      await expect(io.write('object', new WriteOperation().create(true), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
      expect(await errnoOf(io.stat('object'))).toBe(Errno.ENOENT)
      const controller = new AbortController()
      const write = io.write('object', new WriteOperation().create(true), { signal: controller.signal })
      controller.abort(reason)
      await expect(write).rejects.toBe(reason)
    })
  })

  describe('omap', () => {
    const names = Array.from({ length: 25 }, (_, index) => `${index % 2 ? 'odd' : 'even'}_${String(index).padStart(2, '0')}`)

    testIo('pages, prefixes and keys, in byte order', async (io) => {
      await io.write('object', new WriteOperation().omapSet(new Map(names.map((name) => [name, bytes(`value of ${name}`)]))))
      const sorted = [...names].sort()
      const seen: string[] = []
      let after = ''
      for (;;) {
        const { entries, more } = await io.omapGet('object', after, '', 10)
        seen.push(...entries.keys())
        for (const [key, value] of entries) expect(value.toString()).toBe(`value of ${key}`)
        if (!more) break
        expect(entries.size).toBe(10)
        after = seen.at(-1)!
      }
      expect(seen).toEqual(sorted)
      const odd = await io.omapGet('object', 'odd_05', 'odd_', 3)
      expect([...odd.entries.keys()]).toEqual(['odd_07', 'odd_09', 'odd_11'])
      expect(odd.more).toBe(true)
      const operation = new ReadOperation()
      const keys = operation.omapGetKeys('even_20', 4)
      const some = operation.omapGetByKeys(['odd_01', 'none', 'even_02'])
      const results = await io.read('object', operation)
      expect(results.get(keys)).toEqual({ keys: ['even_22', 'even_24', 'odd_01', 'odd_03'], more: true })
      expect(results.get(some)).toEqual(new Map([['even_02', bytes('value of even_02')], ['odd_01', bytes('value of odd_01')]])) // prettier-ignore
    })

    testIo('values are bytes, also none; keys are UTF-8', async (io) => {
      const entries = new Map([['', bytes('of the empty key')], ['empty', Buffer.alloc(0)], ['zeros', Buffer.alloc(3)], ['ключ', Buffer.from([1])]]) // prettier-ignore
      await io.write('object', new WriteOperation().omapSet(entries))
      const operation = new ReadOperation()
      const found = operation.omapGetByKeys([...entries.keys()])
      expect((await io.read('object', operation)).get(found)).toEqual(entries)
    })

    testIo('remove and clear', async (io) => {
      await io.write('object', new WriteOperation().omapSet(new Map(names.map((name) => [name, bytes('x')]))))
      await io.write('object', new WriteOperation().omapRemoveKeys([names[0]!, 'none', names[1]!]))
      expect((await io.omapGet('object', '', '', 100)).entries.size).toBe(names.length - 2)
      await io.write('object', new WriteOperation().omapClear().omapSet(new Map([['only', bytes('1')]])))
      expect([...(await io.omapGet('object', '', '', 100)).entries.keys()]).toEqual(['only'])
    })

    testIo('ENOENT without the object, nothing without entries', async (io) => {
      expect(await errnoOf(io.omapGet('none', '', '', 10))).toBe(Errno.ENOENT)
      await io.write('object', new WriteOperation().create(true))
      expect(await io.omapGet('object', '', '', 10)).toEqual({ entries: new Map(), more: false })
    })

    testIo('a thousand entries at once', async (io) => {
      const entries = new Map(Array.from({ length: 1000 }, (_, index) => [String(index).padStart(5, '0'), Buffer.alloc(200, index)]))
      await io.write('object', new WriteOperation().omapSet(entries))
      expect((await io.omapGet('object', '', '', 2000)).entries).toEqual(entries)
    })
  })

  describe('namespaces', () => {
    testIo('keep objects apart, in reads, writes and listings', async (io) => {
      const other = io.duplicate({ namespace: `${io.namespace}-other` })
      await io.write('object', new WriteOperation().writeFull(bytes('here')))
      expect(await errnoOf(other.stat('object'))).toBe(Errno.ENOENT)
      await other.write('object', new WriteOperation().writeFull(bytes('there')))
      await other.write('second', new WriteOperation().create(true))
      expect(await contents(io, 'object')).toBe('here')
      const list = async (of: IoCtx) => {
        const found: string[] = []
        for await (const name of of.listObjects()) found.push(name)
        return found.sort()
      }
      expect(await list(io)).toEqual(['object'])
      expect(await list(other)).toEqual(['object', 'second'])
      other.close()
    })

    testIo('a listing may be left early', async (io) => {
      await Promise.all(Array.from({ length: 20 }, (_, index) => io.write(`o${index}`, new WriteOperation().create(true))))
      for await (const name of io.listObjects()) {
        expect(name).toMatch(/^o\d+$/)
        break
      }
    })

    testIo('alignment is no matter of a replicated pool', async (io) => {
      expect(await io.requiredAlignment()).toBeUndefined()
    })
  })

  describe('object classes', () => {
    // {version 1, compat 1, length 8, name "lock"} and its answer: an empty map, type none, tag ""
    const getInfo = Buffer.from('010108000000040000006c6f636b', 'hex')
    const noInfo = '010109000000000000000000000000'

    testIo('answer in an operation of their own and as a step', async (io) => {
      await io.write('object', new WriteOperation().create(true))
      expect((await io.exec('object', 'lock', 'get_info', getInfo)).toString('hex')).toBe(noInfo)
      const operation = new ReadOperation()
      const answer = operation.exec('lock', 'get_info', getInfo)
      const stat = operation.stat()
      const results = await io.read('object', operation)
      expect(results.get(answer).toString('hex')).toBe(noInfo)
      expect(results.get(stat).size).toBe(0)
    })

    testIo('write methods take effect in either form', async (io) => {
      const uuid = (text: string) => Buffer.concat([Buffer.from([text.length, 0, 0, 0]), bytes(text)])
      await io.exec('rbd_mirroring', 'rbd', 'mirror_uuid_set', uuid('11111111-2222-3333-4444-555555555555'))
      expect(await io.exec('rbd_mirroring', 'rbd', 'mirror_uuid_get', Buffer.alloc(0))).toEqual(uuid('11111111-2222-3333-4444-555555555555'))
      await io.write('rbd_mirroring', new WriteOperation().exec('rbd', 'mirror_uuid_set', uuid('other')))
      expect(await io.exec('rbd_mirroring', 'rbd', 'mirror_uuid_get', Buffer.alloc(0))).toEqual(uuid('other'))
    })

    testIo('errors', async (io) => {
      await io.write('object', new WriteOperation().create(true))
      expect(await errnoOf(io.exec('object', 'lock', 'get_info', bytes('x')))).toBe(Errno.EINVAL)
      expect(await errnoOf(io.exec('object', 'lock', 'no_such_method', Buffer.alloc(0)))).toBe(Errno.EOPNOTSUPP)
      expect(await errnoOf(io.exec('object', 'no_such_class', 'method', Buffer.alloc(0)))).toBeOneOf([Errno.EOPNOTSUPP, Errno.EPERM])
      expect(await errnoOf(io.exec('none', 'rbd', 'mirror_uuid_get', Buffer.alloc(0)))).toBe(Errno.ENOENT)
    })
  })
}
