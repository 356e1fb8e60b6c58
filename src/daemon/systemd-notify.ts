import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'

const library = 'libsystemd.so.0'

/** Tells systemd how the service is (sd_notify(3)); does nothing when it was not started by systemd with Type=notify. */
export class SystemdNotifier {
  private stopWatchdog: (() => void) | undefined

  private constructor(private readonly send: (state: string) => void) {}

  static async connect(environment: NodeJS.ProcessEnv, log: Log): Promise<SystemdNotifier> {
    if (!environment['NOTIFY_SOCKET']) return new SystemdNotifier(() => undefined)
    try {
      const { default: koffi } = await import('koffi')
      const notify = koffi.load(library).func('sd_notify', 'int', ['int', 'str']) as (unsetEnvironment: number, state: string) => number
      return new SystemdNotifier((state) => {
        const status = notify(0, state)
        if (status < 0) log.warn({ errno: -status, state }, 'systemd was not told')
      })
    } catch (error) {
      log.warn({ error }, `can't notify systemd: ${library} is missing`)
      return new SystemdNotifier(() => undefined)
    }
  }

  ready(status: string): void {
    this.send(`READY=1\nSTATUS=${status}`)
  }

  stopping(): void {
    this.stopWatchdog?.()
    this.send('STOPPING=1')
  }

  /** With WatchdogSec set: a sign of life in half of that time, as long as the event loop runs. */
  startWatchdog(environment: NodeJS.ProcessEnv, clock: Clock): void {
    const microseconds = Number(environment['WATCHDOG_USEC'])
    const pid = environment['WATCHDOG_PID']
    if (!(microseconds > 0) || (pid !== undefined && pid !== String(process.pid))) return
    const beat = () => {
      this.send('WATCHDOG=1')
      this.stopWatchdog = clock.setTimer(microseconds / 2000, beat)
    }
    beat()
  }
}
