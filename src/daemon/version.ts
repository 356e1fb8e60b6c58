import { readFileSync } from 'node:fs'

/** The release of Ceph whose behaviour and formats this program has. */
export const cephVersion = '18.2.7'
export const cephRelease = 'reef'

export const programVersion: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version

/** What `--version` of one of our programs says. */
export function versionLineOf(program: 'rbd-mirror' | 'rbd'): string {
  return `${program} ${programVersion} (compatible with ceph version ${cephVersion} ${cephRelease} (stable))`
}

export const versionLine = versionLineOf('rbd-mirror')
