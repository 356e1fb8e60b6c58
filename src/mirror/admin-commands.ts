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
 * Throws, and offers nothing, when the same words are taken.
 * @param scope the words behind the verb: none, `POOL PEER`, or `POOL/[NS/]IMAGE`
 * @param what how the scope is called in the help
 */
export function offerCommands(commands: AdminCommands, scope: readonly string[], what: string, target: Commanded): () => void {
  const offered: (() => void)[] = []
  const withdrawAll = () => {
    for (const withdraw of offered) withdraw()
  }
  const offer = (verb: string[], help: string, run: () => unknown) => {
    offered.push(commands.register({ words: ['rbd', 'mirror', ...verb, ...scope], help: `${help} ${what}`, run }))
  }
  try {
    offer(['status'], 'get status for', () => target.status())
    offer(['start'], 'start', () => target.start())
    offer(['stop'], 'stop', () => target.stop())
    offer(['restart'], 'restart', () => target.restart())
    offer(['flush'], 'flush', () => target.flush())
    if (target.releaseLeader) offer(['leader', 'release'], 'release leader', () => target.releaseLeader!())
  } catch (error) {
    withdrawAll()
    throw error
  }
  return withdrawAll
}
