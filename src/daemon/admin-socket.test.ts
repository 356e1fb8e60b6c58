import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { spawn } from 'node:child_process'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { silentLog } from '../base/log.ts'
import { ConfigError } from '../config/config-error.ts'
import { Errno, RadosError } from '../rados/errors.ts'
import { AdminCommandError, AdminRegistry } from './admin-registry.ts'
import { AdminSocket } from './admin-socket.ts'

let folder: string
let path: string
let registry: AdminRegistry
const open: AdminSocket[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'asok-'))
  path = join(folder, 'x.asok')
  registry = new AdminRegistry()
})
afterEach(async () => {
  for (const socket of open.splice(0)) await socket.close()
  rmSync(folder, { recursive: true })
})

async function listen(at = path, mode?: number, timeoutMs?: number): Promise<AdminSocket> {
  const socket = await AdminSocket.listen(at, mode, (request) => registry.execute(request), silentLog, timeoutMs)
  open.push(socket)
  return socket
}

async function collect(client: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  client.on('data', (chunk) => chunks.push(chunk))
  await new Promise((resolve) => client.once('close', resolve))
  return Buffer.concat(chunks)
}

async function ask(...parts: (string | Buffer)[]): Promise<string | undefined> {
  const client = connect({ path })
  client.on('error', () => undefined) // reset by the server: seen as no answer
  for (const part of parts) client.write(part)
  const answer = await collect(client)
  if (answer.length === 0) return undefined
  expect(answer.readUInt32BE(0)).toBe(answer.length - 4)
  return answer.toString('utf8', 4)
}

describe('AdminSocket', () => {
  beforeEach(() => {
    registry.register({ words: ['rbd', 'mirror', 'status', 'p/i'], help: 'get status', run: () => ({ name: 'p/i', state: 'Replaying', id: 2n ** 60n }) })
    registry.register({ words: ['rbd', 'mirror', 'flush'], help: 'flush', run: () => undefined })
  })

  it('answers in pretty JSON, as an object and as nothing', async () => {
    await listen()
    expect(await ask('{"prefix": "rbd mirror status p/i"}\0')).toBe('{\n    "name": "p/i",\n    "state": "Replaying",\n    "id": 1152921504606846976\n}\n')
    expect(await ask('{"prefix": "rbd mirror status p/i", "format": "json"}\0')).toBe('{"name":"p/i","state":"Replaying","id":1152921504606846976}')
    expect(await ask('{"prefix": "rbd mirror flush"}\n')).toBe('')
  })

  it('takes a request in pieces', async () => {
    await listen()
    expect(await ask('{"pre', 'fix": "rbd mirror', ' flush"}', '\0')).toBe('')
  })

  it('understands the four bytes of old clients', async () => {
    registry.register({ words: ['0'], help: '', run: () => '2' })
    await listen()
    expect(await ask(Buffer.from([0, 0, 0, 0]))).toBe('2')
  })

  it.each([
    ['no JSON', 'hello\0', 'invalid json'],
    ['no object', '[1]\0', 'invalid json'],
    ['null', 'null\0', 'invalid json'],
    ['no prefix', '{}\0', 'missing format and/or prefix'],
    ['a prefix of another type', '{"prefix": 7}\0', 'missing format and/or prefix'],
    ['an unknown command', '{"prefix": "rm -rf"}\0', 'unknown command prefix rm -rf'],
    ['an inherited name', '{"prefix": "constructor"}\0', 'unknown command prefix'],
  ])('answers %s with an error', async (_, request, message) => {
    await listen()
    expect(await ask(request)).toMatch(/^ERROR: \(22\) Invalid argument\n/)
    expect(await ask(request)).toContain(message)
  })

  it('drops a request without an end, and lives on', async () => {
    await listen()
    expect(await ask(Buffer.alloc(100_000, 'x'))).toBeUndefined()
    expect(await ask('{"prefix": "rbd mirror flush"}\0')).toBe('')
  })

  describe('with a flood of clients', () => {
    const flush = '{"prefix": "rbd mirror flush"}\0'
    const clients: Socket[] = []
    const flood = async (send: string | Buffer) => {
      const many = Array.from({ length: 40 }, () => connect({ path, allowHalfOpen: true }))
      clients.push(...many)
      for (const client of many) client.on('error', () => undefined).pause()
      await Promise.all(many.map((client) => new Promise((resolve) => client.write(send, resolve))))
    }
    const closed = (socket: AdminSocket) => vi.waitFor(() => expect((socket as unknown as { connections: Set<Socket> }).connections.size).toBe(0))
    beforeEach(() => {
      registry.register({ words: ['big'], help: '', run: () => 'x'.repeat(2_000_000) })
    })
    afterEach(() => {
      for (const client of clients.splice(0)) client.destroy()
    })

    it.each([
      ['say nothing whole', '{"prefix": '],
      ['never read', '{"prefix": "big"}\0'],
      ['never hang up', flush],
      ['send garbage', Buffer.alloc(200, 0xff)],
    ])('answers others while they %s, and lets go of them', async (_, send) => {
      const socket = await listen(path, undefined, 300)
      await flood(send)
      expect(await ask(flush)).toBe('')
      await closed(socket)
    })

    it('keeps those that a command runs for, and turns away who comes when there are only such', async () => {
      let finish!: () => void
      const finished = new Promise<void>((resolve) => (finish = resolve))
      registry.register({ words: ['slow'], help: '', run: () => finished.then(() => 'done') })
      await listen(path, undefined, 300)
      const slow = Array.from({ length: 32 }, () => ask('{"prefix": "slow"}\0'))
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(await ask(flush)).toBeUndefined()
      finish()
      expect(new Set(await Promise.all(slow))).toEqual(new Set(['done']))
      expect(await ask(flush)).toBe('')
    })
  })

  it('tells what went wrong in a command', async () => {
    registry.register({ words: ['a'], help: '', run: () => Promise.reject(new RadosError(Errno.ETIMEDOUT, { op: 'watch', pool: 'p' })) })
    registry.register({
      words: ['b'],
      help: '',
      run: () => {
        throw new AdminCommandError(Errno.ENOENT, 'no such thing')
      },
    })
    await listen()
    expect(await ask('{"prefix": "a"}\0')).toBe('ERROR: (110) Connection timed out\nwatch p: ETIMEDOUT\n')
    expect(await ask('{"prefix": "b"}\0')).toBe('ERROR: (2) No such file or directory\nno such thing\n')
  })

  it('replaces a stale socket', async () => {
    const owner = spawn(process.execPath, ['-e', `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`])
    await once(owner.stdout, 'data')
    owner.kill('SIGKILL')
    await once(owner, 'exit')
    expect(existsSync(path)).toBe(true)
    await listen()
    expect(await ask('{"prefix": "rbd mirror flush"}\0')).toBe('')
  })

  it('leaves a socket alone that somebody listens on', async () => {
    const other = createServer().listen(path)
    await once(other, 'listening')
    await expect(listen()).rejects.toThrow(ConfigError)
    await expect(listen()).rejects.toThrow('another process listens there')
    expect(other.listening).toBe(true)
    other.close()
  })

  it('leaves a file alone that is no socket', async () => {
    writeFileSync(path, 'precious')
    await expect(listen()).rejects.toThrow('no socket')
    expect(statSync(path).size).toBe(8)
  })

  it.each([
    ['a missing directory', () => join(folder, 'none', 'x.asok'), 'directory does not exist'],
    ['a path that is too long', () => join(folder, 'x'.repeat(120)), 'longer than'],
  ])('refuses %s', async (_, where, message) => {
    await expect(listen(where())).rejects.toThrow(message)
  })

  it('sets the mode, and takes the socket away at the end', async () => {
    const socket = await listen(path, 0o640)
    expect(statSync(path).mode & 0o777).toBe(0o640)
    await socket.close()
    expect(existsSync(path)).toBe(false)
  })
})

describe('AdminRegistry', () => {
  it('describes commands for the check of the client', () => {
    registry.register({ words: ['rbd', 'mirror', 'flush', 'p/i'], help: 'flush it', run: () => undefined })
    registry.register({ words: ['config', 'get', 'name=var,type=CephString,req=false'], help: 'get', run: () => undefined })
    expect(registry.descriptions()).toEqual({
      cmd000: { sig: ['config', 'get', { name: 'var', type: 'CephString', req: 'false' }], help: 'get' },
      cmd001: { sig: ['rbd', 'mirror', 'flush', 'p/i'], help: 'flush it' },
    })
    expect(registry.help()).toEqual({ 'config get': 'get', 'rbd mirror flush p/i': 'flush it' })
  })

  it('chooses among commands of one prefix by their arguments', async () => {
    registry.register({ words: ['x'], help: '', run: () => 'plain' })
    registry.register({ words: ['x', 'name=var,type=CephString'], help: '', run: (args) => `with ${String(args['var'])}` })
    expect(await registry.execute('{"prefix": "x"}')).toBe('plain')
    expect(await registry.execute('{"prefix": "x", "var": "y"}')).toBe('with y')
  })

  it('lets the newest of equal commands answer, and the older one after it', async () => {
    const takeFirst = registry.register({ words: ['x'], help: '', run: () => 'first' })
    const takeSecond = registry.register({ words: ['x'], help: '', run: () => 'second' })
    expect(await registry.execute('{"prefix": "x"}')).toBe('second')
    takeSecond()
    takeSecond()
    expect(await registry.execute('{"prefix": "x"}')).toBe('first')
    takeFirst()
    expect(await registry.execute('{"prefix": "x"}')).toContain('unknown command')
  })
})
