import { readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { ConfigError } from '../config/config-error.ts'

/** The file that names the process to be ended: its id in decimal and a newline. */
export class PidFile {
  private constructor(private readonly path: string) {}

  /** @throws ConfigError when another daemon has it or it can't be written */
  static write(path: string): PidFile {
    const where = `pid file ${path}`
    const other = runningOwner(path)
    if (other !== undefined) throw new ConfigError(`process ${other} is running already: end it or choose another pid_file`, where)
    try {
      writeFileSync(path, `${process.pid}\n`, { mode: 0o644 })
    } catch (error) {
      throw new ConfigError(`can't write it: ${(error as NodeJS.ErrnoException).code}`, where, { cause: error })
    }
    return new PidFile(path)
  }

  /** At a clean end; leaves it alone when another process has taken it over. */
  remove(): void {
    try {
      if (readFileSync(this.path, 'utf8') === `${process.pid}\n`) unlinkSync(this.path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
}

/** The live daemon that a file names; undefined when it is stale (its number may belong to another program by now). */
function runningOwner(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, 'utf8'))
    if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return undefined
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('rbd-mirror') ? pid : undefined
  } catch {
    return undefined
  }
}
