import type { AdminCommands } from '../observability/admin-commands.ts'

/** What can be commanded: the daemon, a pool replayer or an image replayer. */
export interface Commanded {
  status(): unknown
  start(): unknown
  stop(): unknown
  restart(): unknown
  flush(): unknown
  /** only where there is a leader */
  releaseLeader?(): unknown
}

/**
 * Offers `rbd mirror VERB [scope…]` (tools/rbd_mirror/{Mirror,PoolReplayer,ImageReplayer}.cc). The returned function takes all away.
 * @param scope the words behind the verb: none, `POOL PEER`, or `POOL/[NS/]IMAGE`
 * @param what how the scope is called in the help
 */
export function offerCommands(commands: AdminCommands, scope: readonly string[], what: string, target: Commanded): () => void {
  const offered = [
    commands.register({ words: ['rbd', 'mirror', 'status', ...scope], help: `get status for ${what}`, run: () => target.status() }),
    commands.register({ words: ['rbd', 'mirror', 'start', ...scope], help: `start ${what}`, run: () => target.start() }),
    commands.register({ words: ['rbd', 'mirror', 'stop', ...scope], help: `stop ${what}`, run: () => target.stop() }),
    commands.register({ words: ['rbd', 'mirror', 'restart', ...scope], help: `restart ${what}`, run: () => target.restart() }),
    commands.register({ words: ['rbd', 'mirror', 'flush', ...scope], help: `flush ${what}`, run: () => target.flush() }),
  ]
  if (target.releaseLeader) {
    const words = ['rbd', 'mirror', 'leader', 'release', ...scope]
    offered.push(commands.register({ words, help: `release leader ${what}`, run: () => target.releaseLeader!() }))
  }
  return () => {
    for (const withdraw of offered) withdraw()
  }
}
