import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Errno, RadosError } from '../rados/errors.ts'
import { Logger, logLevelOf } from './logger.ts'

const key = 'AQB8Y2FnAAAAABAAq1YTeVhhk3LxLsZ4mUx7RQ=='
let folder: string
let file: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'log-'))
  file = join(folder, 'x.log')
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(folder, { recursive: true })
})

const lines = (path = file) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

function captureStderr(): string[] {
  const written: string[] = []
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => (written.push(String(text)), true))
  return written
}

describe('Logger', () => {
  it('writes JSON lines with the fields of the child', async () => {
    const { log } = await Logger.open({ file, stderr: 'none', level: 'info' })
    log.child({ pool: 'p', image: 'i' }).info({ bytes: 1 }, 'synced')
    log.debug({}, 'not at this level')
    expect(lines()).toEqual([expect.objectContaining({ level: 'info', pool: 'p', image: 'i', bytes: 1, msg: 'synced', pid: process.pid })])
    expect(lines()[0]!['time']).toMatch(/^\d{4}-\d\d-\d\dT/)
  })

  it('names an image that a line knows by its global id', async () => {
    const names = new Map<string, string>()
    const { log } = await Logger.open({ file, stderr: 'none', level: 'info', imageName: (id) => names.get(id) })
    const child = log.child({ pool: 'p', globalImageId: 'g-1' })
    child.info({}, 'starting')
    names.set('g-1', 'a"b')
    child.info({ bytes: 1 }, 'synced')
    expect(lines().map(({ image }) => image)).toEqual([undefined, 'a"b'])
    expect(lines()[1]).toMatchObject({ pool: 'p', globalImageId: 'g-1', bytes: 1 })
  })

  it('changes its level, for children that exist too', async () => {
    const logger = await Logger.open({ file, stderr: 'none', level: 'info' })
    logger.setLevel('debug')
    logger.log.debug({}, 'seen')
    expect(lines()).toHaveLength(1)
  })

  it('goes on in a new file after logrotate, and with the old one when that fails', async () => {
    const logger = await Logger.open({ file, stderr: 'none', level: 'info' })
    logger.log.info({}, 'one')
    renameSync(file, `${file}.1`)
    logger.log.info({}, 'two')
    logger.reopen()
    logger.log.info({}, 'three')
    expect(lines(`${file}.1`).map(({ msg }) => msg)).toEqual(['one', 'two'])
    expect(lines().map(({ msg }) => msg)).toEqual(['three'])
  })

  it('keeps keys and passwords out', async () => {
    const { log } = await Logger.open({ file, stderr: 'none', level: 'info' })
    log.info({ key, spec: { key }, text: `--key=${key}`, url: 'redis://user:hush@host/0' }, `connecting with ${key}`)
    log.error({ error: new Error(`bad ${key}`) }, 'failed')
    const text = readFileSync(file, 'utf8')
    expect(text).not.toContain(key)
    expect(text).not.toContain('hush')
    expect(lines()[0]!['url']).toBe('redis://user:[redacted]@host/0')
  })

  it('tells of an error what happened and why, without a stack where it is no bug', async () => {
    const { log } = await Logger.open({ file, stderr: 'none', level: 'info' })
    const cause = new RadosError(Errno.EIO, { op: 'read', pool: 'p', oid: 'o' })
    log.error({ err: new RadosError(Errno.ETIMEDOUT, { op: 'watch', cause }) }, 'lost')
    expect(lines()[0]!['err']).toEqual({ message: 'watch: ETIMEDOUT', code: 'ETIMEDOUT', cause: { message: 'read p/o: EIO', code: 'EIO' } })
  })

  it('throws when the file cannot be written', async () => {
    await expect(Logger.open({ file: join(folder, 'none', 'x.log'), stderr: 'none', level: 'info' })).rejects.toThrow('ENOENT')
  })

  it('shows errors on stderr in one line each, until it is muted', async () => {
    const written = captureStderr()
    const logger = await Logger.open({ file, stderr: 'errors', level: 'info' })
    logger.log.info({}, 'fine')
    logger.log.child({ pool: 'p' }).error({ err: new Error('why') }, 'what')
    logger.muteStderr()
    logger.log.error({}, 'again')
    expect(written).toEqual(['rbd-mirror: p: what: why\n'])
    expect(lines()).toHaveLength(3)
  })

  it('is readable with -d', async () => {
    const written = captureStderr()
    const logger = await Logger.open({ stderr: 'all', level: 'info' })
    logger.log.child({ pool: 'p' }).warn({ bytes: 5 }, 'odd')
    expect(written.join('')).toMatch(/^\[\d{4}-\d\d-\d\d .*\] WARN: odd .*"pool":"p".*\n$/)
  })
})

describe('logLevelOf', () => {
  it.each([
    ['0/5', 'info'],
    ['4', 'info'],
    ['5', 'debug'],
    ['20/20', 'trace'],
    ['30', 'trace'],
  ])('%s is %s', (value, level) => {
    expect(logLevelOf(value)).toBe(level)
  })
})
