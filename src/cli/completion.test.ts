import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { bashCompletion, completion } from './completion.ts'
import { subcommands } from './rbd-mirror-subcommands.ts'

/** What bash offers behind these words. */
function offered(...words: string[]): string[] {
  const line = words.map((word) => `'${word}'`).join(' ')
  const script = `${bashCompletion()}\nCOMP_WORDS=(rbd-mirror ${line}); COMP_CWORD=${words.length}; _rbd_mirror; printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).split('\n').filter((word) => word !== '')
}

describe('completion', () => {
  it('knows subcommands, their options and those of the daemon', () => {
    expect(offered('')).toEqual(expect.arrayContaining(subcommands.map(({ name }) => name)))
    expect(offered('do')).toEqual(['doctor'])
    expect(offered('top', '--on')).toEqual(['--once'])
    expect(offered('--rbd-mirror-band')).toEqual(['--rbd-mirror-bandwidth-limits'])
    expect(offered('doctor', '--clus')).toEqual(['--cluster'])
    expect(offered('--keyring', '/etc/host')).toContain('/etc/hosts')
  })

  it('is for known shells', async () => {
    await expect(completion(['fish'])).rejects.toThrow('only for bash and zsh')
  })
})
