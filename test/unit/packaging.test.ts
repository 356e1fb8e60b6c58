import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const unit = join(root, 'systemd/ceph-rbd-mirror@.service')
const target = join(root, 'systemd/ceph-rbd-mirror.target')

const run = (program: string, ...args: string[]) => {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8' })
  return { status, output: `${stdout}${stderr}`, missing: error !== undefined && 'code' in error && error.code === 'ENOENT' }
}
const has = (program: string) => !run(program, '--version').missing

describe('the systemd unit', () => {
  it.skipIf(!has('systemd-analyze'))('is one that systemd understands', () => {
    const folder = mkdtempSync(join(tmpdir(), 'unit-'))
    try {
      // the program need not be installed for this
      const text = readFileSync(unit, 'utf8')
      expect(text).toMatch(/^ExecStart=rbd-mirror -f --cluster \$\{CLUSTER\} --id %i --setuser ceph --setgroup ceph$/m)
      writeFileSync(join(folder, 'ceph-rbd-mirror@.service'), text.replace('ExecStart=rbd-mirror', `ExecStart=${process.execPath}`))
      writeFileSync(join(folder, 'ceph-rbd-mirror.target'), readFileSync(target))
      const verified = run('systemd-analyze', 'verify', '--man=no', join(folder, 'ceph-rbd-mirror@.service'), join(folder, 'ceph-rbd-mirror.target'))
      expect(verified).toMatchObject({ status: 0, output: '' })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it.skipIf(!has('systemd-analyze'))('exposes little', () => {
    const { output } = run('systemd-analyze', 'security', '--offline=true', '--no-pager', unit)
    const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(output)?.[1])
    expect(exposure).toBeLessThan(3)
  })

  it('lets V8 compile, and the daemon tell how it is', () => {
    const text = readFileSync(unit, 'utf8')
    expect(text).not.toMatch(/^MemoryDenyWriteExecute=/m)
    expect(text).toMatch(/^Type=notify$/m)
    expect(text).toMatch(/^WatchdogSec=\d+$/m)
    expect(text).toMatch(/^ExecReload=.*HUP/m)
  })
})

it.skipIf(!has('logrotate'))('log rotation is as logrotate wants it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'logrotate-'))
  try {
    const file = join(folder, 'rbd-mirror')
    const text = readFileSync(join(root, 'config/logrotate/rbd-mirror'), 'utf8')
    writeFileSync(file, text.replace('/var/log/ceph', folder).replace('su root ceph', ''), { mode: 0o644 })
    writeFileSync(join(folder, 'site-b-client.rbd-mirror.b.log'), 'line\n')
    const { status, output } = run('logrotate', '--debug', '--state', join(folder, 'state'), file)
    expect(output).not.toMatch(/error/i)
    expect(output).toContain('site-b-client.rbd-mirror.b.log')
    expect(status).toBe(0)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

it('the package holds what it needs', () => {
  const { files, bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { files: string[]; bin: Record<string, string> }
  expect(files).toEqual(expect.arrayContaining(['dist', 'systemd', 'config']))
  expect(Object.keys(bin)).toContain('rbd-mirror')
  expect(readFileSync(join(root, 'config/bundle.js'), 'utf8')).toContain('src/observability/page')
})
