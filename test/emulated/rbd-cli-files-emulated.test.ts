import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createCluster } from '../../src/cli/cluster/create-cluster.ts'
import { emulator } from '../../src/daemon/drivers.ts'
import { OurRbd } from '../support/rbd-command.ts'
import { SeededRandom } from '../support/seeded-random.ts'

/** Files of images and diffs, good and broken, on a cluster of our own: no Ceph is needed. */
describe('files of rbd export and export-diff', () => {
  let folder: string
  let rbd: OurRbd
  const file = (name: string) => join(folder, name)

  async function ok(line: string, input?: Buffer): Promise<string> {
    const { code, stdout, stderr } = await rbd.run(line.split(' '), input)
    expect({ line, code, stderr }).toEqual({ line, code: 0, stderr: '' })
    return stdout
  }
  const fails = (line: string, input?: Buffer) => rbd.run(line.split(' '), input).then(({ code, stderr }) => ({ code, stderr }))
  const content = async (spec: string) => {
    rmSync(file('content'), { force: true })
    await ok(`export --no-progress ${spec} ${file('content')}`)
    return readFileSync(file('content'))
  }

  const names = ['@one', '@two', '']

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rbd-files-'))
    const { conf } = await createCluster({ name: 'site', monHost: undefined, confFolder: folder, dataFolder: join(folder, 'data') })
    const cluster = await (await emulator()).connect({ name: 'site', entity: 'client.admin', confFile: conf, options: {} })
    await cluster.monCommand({ prefix: 'osd pool create', pool: 'p' })
    rbd = OurRbd.on({ conf }, cluster)
    await ok('pool init p')
    const random = new SeededRandom(7)
    const bytes = (length: number) => Buffer.from(Array.from({ length }, () => 1 + Math.floor(random.next() * 255)))
    writeFileSync(file('flat'), Buffer.concat([bytes(5000), Buffer.alloc(30_000), bytes(3000)]))
    await ok(`import --no-progress ${file('flat')} p/image --object-size 16K --image-feature layering,exclusive-lock,object-map,journaling`)
    await ok('image-meta set p/image colour blau')
    await ok('snap create --no-progress p/image@one')
    await ok('bench --io-type write --io-size 1K --io-total 4K --io-pattern rand p/image')
    await ok('snap create --no-progress p/image@two')
    await ok('snap protect p/image@two')
    await ok('resize --no-progress --allow-shrink -s 32K p/image')
    await ok(`export --no-progress --export-format 2 p/image ${file('whole')}`)
    await ok(`export-diff --no-progress p/image@two --from-snap one ${file('diff')}`)
  })
  afterAll(async () => {
    await rbd.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it('have all of an image, also through a pipe', async () => {
    await ok('import --no-progress --export-format 2 - p/copy', readFileSync(file('whole')))
    for (const name of names) expect((await content(`p/copy${name}`)).equals(await content(`p/image${name}`)), name).toBe(true)
    expect(await ok('image-meta get p/copy colour')).toBe('blau\n')
    expect(JSON.parse(await ok('snap ls --format json p/copy'))).toMatchObject([{ name: 'one', protected: 'false' }, { name: 'two', protected: 'true' }])
    const { features } = JSON.parse(await ok('info --format json p/copy')) as { features: string[] }
    expect(features).toEqual(['layering', 'exclusive-lock', 'object-map', 'fast-diff', 'journaling'])
    // and again is the same
    await ok(`export --no-progress --export-format 2 p/copy ${file('again')}`)
    expect(readFileSync(file('again')).equals(readFileSync(file('whole')))).toBe(true)
    expect(await fails(`export --no-progress --export-format 2 p/copy ${file('again')}`)).toEqual({ code: 17, stderr: 'rbd: export error: (17) File exists\n' })
  })

  it('that are cut short are refused wherever that is, and leave no image behind', async () => {
    const whole = readFileSync(file('whole'))
    const random = new SeededRandom(11)
    const places = [0, 1, 12, 13, 14, 22, whole.length - 1, ...Array.from({ length: 25 }, () => Math.floor(random.next() * whole.length))]
    for (const length of places) {
      const { code, stderr } = await fails('import --no-progress --export-format 2 - p/cut', whole.subarray(0, length))
      expect({ length, code }).toEqual({ length, code: 33 })
      expect(stderr).toMatch(new RegExp(`^rbd: failed to decode [\\w ]+: the file ends here \\(byte ${length}\\)\n(rbd: .*\n)*rbd: import failed: \\(33\\) .*\n$`))
    }
    expect(await ok('ls p')).not.toContain('cut')
  })

  it('that are nonsense are refused, and leave no image behind', async () => {
    const whole = readFileSync(file('whole'))
    const patched = (find: string, offset: number, value: bigint) => {
      const copy = Buffer.from(whole)
      copy.writeBigUInt64LE(value, copy.indexOf(find) + find.length + offset)
      return copy
    }
    const cases: [Buffer, number, RegExp][] = [
      [Buffer.alloc(100, 'x'), 22, /invalid or unexpected diff banner: not "rbd image v2" \(byte 0\)/],
      [readFileSync(file('diff')), 22, /invalid or unexpected diff banner: not "rbd image v2" \(byte 0\)/],
      [patched('rbd image v2\n', 9, 77n), 33, /image creation failed/],
      [patched('rbd image v2\n', 9, 2n ** 60n), 74, /failed to decode image option: 1152921504606846976 is not possible/],
      [patched('rbd image diffs v2\n', 0, 0n), 74, /failed to decode diff count: an image has at least one/],
      [patched('rbd image diffs v2\n', 0, 9n), 33, /failed to decode diff banner: the file ends here/],
    ]
    for (const [bytes, code, line] of cases) {
      const failure = await fails('import --no-progress --export-format 2 - p/nonsense', bytes)
      expect(failure.stderr).toMatch(line)
      expect(failure.code, String(line)).toBe(code)
    }
    expect(await ok('ls p')).not.toContain('nonsense')
  })

  it('of diffs fit the image that has their first snapshot', async () => {
    await ok(`export-diff --no-progress p/image@one ${file('first')}`)
    await ok('create p/fits -s 1M --object-size 4K')
    const refused = await fails(`import-diff --no-progress ${file('diff')} p/fits`)
    expect(refused).toEqual({ code: 22, stderr: "start snapshot 'one' does not exist in the image, aborting\nrbd: import-diff failed: (22) Invalid argument\n" })
    await ok(`import-diff --no-progress ${file('first')} p/fits`)
    await ok('import-diff --no-progress - p/fits', readFileSync(file('diff')))
    for (const name of ['@one', '@two', '']) expect((await content(`p/fits${name}`)).equals(await content(`p/image${name || '@two'}`)), name).toBe(true)
    expect(await fails(`import-diff --no-progress ${file('diff')} p/fits`)).toMatchObject({ code: 17 })
  })

  it('of diffs that are broken tell what has become of the image', async () => {
    const first = readFileSync(file('first'))
    await ok('create p/part -s 1M --object-size 4K')
    const early = await fails('import-diff --no-progress - p/part', first.subarray(0, 19))
    expect(early).toEqual({ code: 74, stderr: 'rbd: failed to decode end snap name: the file ends here (byte 19)\nrbd: import-diff failed: (74) Bad message\n' })
    const late = await fails('import-diff --no-progress - p/part', first.subarray(0, 2000))
    expect(late.code).toBe(74)
    expect(late.stderr).toMatch(/^rbd: failed to decode write data: the file ends here \(byte 2000\)\n/)
    expect(late.stderr).toContain('rbd: a part of the diff has been written to image part, which has no snapshot of it\n')
    expect(await ok('snap ls p/part')).toBe('')
    const unknown = Buffer.concat([first.subarray(0, 12), Buffer.from('?')])
    expect((await fails('import-diff --no-progress - p/part', unknown)).stderr).toMatch(/^rbd: failed to decode tag: 63 is none \(byte 13\)\n/)
    const outside = Buffer.concat([first.subarray(0, 12), Buffer.from('w'), Buffer.alloc(7), Buffer.from([1]), Buffer.alloc(8)])
    const behind = await fails('import-diff --no-progress - p/part', outside)
    expect(behind.stderr).toMatch(/^rbd: failed to decode IO length: /)
    await ok(`import-diff --no-progress ${file('first')} p/part`)
    expect((await content('p/part')).equals(await content('p/image@one'))).toBe(true)
  })

  it('of clones have what the parent has', async () => {
    await ok('clone p/image@two p/clone --object-size 8K')
    await ok('snap create --no-progress p/clone@mine')
    await ok('bench --io-type write --io-size 1K --io-total 2K --io-pattern rand p/clone')
    await ok(`export --no-progress --export-format 2 p/clone ${file('clone')}`)
    await ok(`import --no-progress --export-format 2 ${file('clone')} p/flat`)
    for (const name of ['@mine', '']) expect((await content(`p/flat${name}`)).equals(await content(`p/clone${name}`)), name).toBe(true)
    expect((await content('p/flat@mine')).equals(await content('p/image@two'))).toBe(true)
  })

  it('are not left half written', async () => {
    expect(await fails(`export-diff --no-progress p/image --from-snap nope ${file('half')}`)).toEqual({
      code: 2,
      stderr: 'rbd: export-diff error: (2) No such file or directory\n',
    })
    expect(existsSync(file('half'))).toBe(false)
  })

  it('do not tell how full a pool is that nobody counts', async () => {
    const { code, stderr } = await fails('trash purge p --threshold 0.5')
    expect(code).not.toBe(0)
    expect(stderr).toContain('how full the pools are')
  })
})
