import { mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ConfigError } from '../config/config-error.ts'
import { PidFile } from './pid-file.ts'

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pid-'))
  path = join(folder, 'x.pid')
})
afterEach(() => rmSync(folder, { recursive: true }))

describe('PidFile', () => {
  it('holds the id and a newline until it is removed', () => {
    const file = PidFile.write(path)
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`)
    file.remove()
    expect(existsSync(path)).toBe(false)
    file.remove()
  })

  it.each(['', 'garbage\n', '0\n', '-1\n', '999999999\n', '1\n'])('replaces a stale one: %j', (text) => {
    writeFileSync(path, text)
    PidFile.write(path)
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`)
  })

  it('leaves that of a running daemon alone', async () => {
    const other = spawn(process.execPath, ['-e', 'console.log(1); setTimeout(() => {}, 60000)', 'rbd-mirror'])
    await once(other.stdout, 'data')
    writeFileSync(path, `${other.pid}\n`)
    expect(() => PidFile.write(path)).toThrow(ConfigError)
    expect(() => PidFile.write(path)).toThrow(`process ${other.pid} is running already`)
    other.kill('SIGKILL')
  })

  it('does not remove what another process has taken over', () => {
    const file = PidFile.write(path)
    writeFileSync(path, '12345\n')
    file.remove()
    expect(existsSync(path)).toBe(true)
  })

  it('says when it cannot be written', () => {
    expect(() => PidFile.write(join(folder, 'none', 'x.pid'))).toThrow('ENOENT')
  })
})
