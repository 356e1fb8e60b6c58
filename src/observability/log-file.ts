import { closeSync, openSync, writeSync } from 'node:fs'

/**
 * The log's file, opened for appending so that logrotate's copytruncate works as well as rename and SIGHUP. Each line is written at
 * once: a killed process has lost none.
 */
export class LogFile {
  private descriptor: number
  private failed = false

  /** Throws the system's error (EACCES, ENOENT …). */
  constructor(private readonly path: string) {
    this.descriptor = openSync(path, 'a', 0o644)
  }

  write(line: string): void {
    try {
      writeSync(this.descriptor, line)
      this.failed = false
    } catch (error) {
      // A full disk must not stop the mirroring: say so once, and go on when there is room again.
      if (!this.failed) process.stderr.write(`rbd-mirror: can't write to the log file ${this.path}: ${(error as Error).message}\n`)
      this.failed = true
    }
  }

  /** Goes on in a new file of the same name; keeps the old one and throws when that can't be opened. */
  reopen(): void {
    const old = this.descriptor
    this.descriptor = openSync(this.path, 'a', 0o644)
    closeSync(old)
  }
}
