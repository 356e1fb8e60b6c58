import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { emulatedFixture } from '../support/emulated.ts'
import { radosContract } from './rados.suite.ts'

radosContract('the RADOS contract on an emulated cluster in a folder', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'emulated-'))
  return emulatedFixture(pathToFileURL(folder).href, () => rm(folder, { recursive: true, force: true }))
})
