/** What follows `rbd-mirror NAME`: gets its own arguments, resolves with the exit status. May reject with ConfigError or UsageError. */
export type RunSubcommand = (args: readonly string[]) => Promise<number>

export interface Subcommand {
  name: string
  /** its arguments in short, for the help */
  usage: string
  summary: string
  /** its own options, for the shell's completion */
  words?: readonly string[]
  /** loaded only when it is called for: the daemon's start is not to wait for it */
  load(): Promise<RunSubcommand>
}

/** The programs that `rbd-mirror` holds besides the daemon. The name comes first on the command line, as in `rbd-mirror top --json`. */
export const subcommands: readonly Subcommand[] = [
  {
    name: 'top',
    usage: '[--json] [--url URL]',
    summary: 'what the daemon does, live in the terminal',
    words: ['--json', '--once', '--interval', '--pool', '--namespace', '--image', '--peer', '--state', '--health', '--sort', '--limit', '--url'],
    load: async () => (await import('./top/top.ts')).top,
  },
  {
    name: 'doctor',
    usage: '[--json] [--strict]',
    summary: 'what would keep the daemon from mirroring, and what to do about it',
    words: ['--json', '--quiet', '--strict', '--images', '--no-daemon'],
    load: async () => (await import('./doctor/doctor.ts')).doctor,
  },
  {
    name: 'verify',
    usage: 'POOL/IMAGE [--repair]',
    summary: 'whether a replica is what its primary was when it was synced',
    words: ['--repair', '--json', '--quiet', '--rate'],
    load: async () => (await import('./verify/verify.ts')).verify,
  },
  {
    name: 'test-failover',
    usage: 'POOL/IMAGE [--list|--cleanup]',
    summary: 'a writable copy of a replica to try a failover with, while replication goes on',
    words: ['--name', '--list', '--cleanup', '--json'],
    load: async () => (await import('./test-failover/test-failover.ts')).testFailover,
  },
  {
    name: 'completion',
    usage: 'bash|zsh',
    summary: "what lets the shell complete rbd-mirror's words",
    words: ['bash', 'zsh'],
    load: async () => (await import('./completion.ts')).completion,
  },
  {
    name: 'cluster',
    usage: 'create|pool|user|status …',
    summary: 'emulated clusters, in a folder or in Redis',
    load: async () => (await import('./cluster/cluster.ts')).cluster,
  },
  {
    name: 'quick-start',
    usage: '[--data-dir DIR] [--redis URL]',
    summary: 'two emulated clusters on this machine, mirrored',
    load: async () => (await import('./quick-start/quick-start.ts')).quickStart,
  },
]

export function subcommandNamed(name: string | undefined): Subcommand | undefined {
  return subcommands.find((subcommand) => subcommand.name === name)
}

/** Lines of `rbd-mirror --help`. */
export function subcommandHelp(): string {
  const width = Math.max(0, ...subcommands.map(({ name, usage }) => `${name} ${usage}`.length))
  return subcommands.map(({ name, usage, summary }) => `  rbd-mirror ${`${name} ${usage}`.padEnd(width)}  ${summary}\n`).join('')
}
