import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { ConfFile } from './conf-file.ts'
import { ConfigError } from './config-error.ts'

/** Where `NAME.conf` is looked for, in this order (CEPH_CONF_FILE_DEFAULT of common/config.cc). */
export function confSearchPath(cluster: string): string[] {
  return ['/etc/ceph', join(homedir(), '.ceph'), '.'].map((folder) => join(folder, `${cluster}.conf`))
}

/** The name of a cluster that is known by its conf file alone: `site-b` of `/etc/ceph/site-b.conf`. */
export function clusterOfConfFile(path: string): string {
  const file = path.slice(path.lastIndexOf('/') + 1)
  return file.endsWith('.conf') ? file.slice(0, -'.conf'.length) : 'ceph'
}

/** The first of `paths` that exists, as an absolute path. */
export function findConfFile(paths: readonly string[]): string | undefined {
  const found = paths.find((path) => existsSync(path))
  return found === undefined ? undefined : resolve(found)
}

export function readConfFile(path: string): ConfFile {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`can't read the configuration file: ${(error as NodeJS.ErrnoException).code}`, path, { cause: error })
  }
  return ConfFile.parse(text, path)
}
