import type { AdminRegistry } from './admin-registry.ts'
import { cephRelease, cephVersion, programVersion } from './version.ts'

/** Version of the protocol that answers to the prefix "0": how clients ask whether anybody is there. */
const protocolVersion = '2'

/** Commands of every daemon, besides `config` and `perf`. */
export function registerBuiltinCommands(registry: AdminRegistry, actions: { reopenLog(): void }): void {
  registry.register({ words: ['0'], help: '', run: () => protocolVersion })
  registry.register({
    words: ['version'],
    help: 'get ceph version',
    run: () => ({ version: cephVersion, release: cephRelease, release_type: 'stable', rbd_mirror: programVersion }),
  })
  registry.register({ words: ['git_version'], help: 'get git sha1', run: () => ({ git_version: `rbd-mirror ${programVersion}` }) })
  registry.register({ words: ['help'], help: 'list available commands', run: () => registry.help() })
  registry.register({ words: ['get_command_descriptions'], help: 'list available commands', run: () => registry.descriptions() })
  // Lines are written as they come, and none are kept besides: there is nothing to flush, and nothing to dump that the file lacks.
  registry.register({ words: ['log', 'dump'], help: 'dump recent log entries to log file', run: () => ({}) })
  registry.register({ words: ['log', 'flush'], help: 'flush log entries to log file', run: () => ({}) })
  registry.register({
    words: ['log', 'reopen'],
    help: 'reopen log file',
    run: () => {
      actions.reopenLog()
      return {}
    },
  })
}
