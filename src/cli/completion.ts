import { UsageError } from '../config/config-error.ts'
import { optionTable } from '../config/option-table.ts'
import { subcommands } from './rbd-mirror-subcommands.ts'

const usage = `usage: rbd-mirror completion bash|zsh

Prints what lets the shell complete rbd-mirror's words. For this shell:
  bash: source <(rbd-mirror completion bash)      for all: rbd-mirror completion bash > /etc/bash_completion.d/rbd-mirror
  zsh:  source <(rbd-mirror completion zsh)
`

const common = ['--cluster', '--id', '--name', '--conf', '--keyring', '--setuser', '--setgroup', '--version', '--help', '--show-config', '-f', '-d']
/** Options whose value is a file. */
const ofFiles = ['--conf', '--keyring', '--log-file', '--pid-file', '--admin-socket', '-c', '-k']

/** `rbd-mirror completion`. */
export async function completion(args: readonly string[]): Promise<number> {
  const [shell] = args
  if (args.length !== 1 || shell === '--help') {
    process.stdout.write(usage)
    return shell === '--help' ? 0 : 2
  }
  if (shell !== 'bash' && shell !== 'zsh') throw new UsageError(`there is no completion for ${shell}, only for bash and zsh`)
  process.stdout.write(`${shell === 'zsh' ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''}${bashCompletion()}`)
  return 0
}

export function bashCompletion(): string {
  const options = [...new Set([...common, ...Object.keys(optionTable).map((name) => `--${name.replaceAll('_', '-')}`)])].sort()
  const cases = subcommands
    .flatMap(({ name, words }) => (words ? [`    ${name}) own='${words.join(' ')}' ;;\n`] : []))
    .join('')
  return `# completion of rbd-mirror's words
_rbd_mirror() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} own=''
  case $before in
    ${ofFiles.join('|')}) COMPREPLY=($(compgen -f -- "$word")); return ;;
    --cluster) COMPREPLY=($(compgen -W "$(cd /etc/ceph 2> /dev/null && ls ./*.conf 2> /dev/null | sed 's,^\\./,,; s,\\.conf$,,')" -- "$word")); return ;;
  esac
  case \${COMP_WORDS[1]} in
${cases}  esac
  if [ "$COMP_CWORD" -eq 1 ]; then own='${subcommands.map(({ name }) => name).join(' ')}'; fi
  COMPREPLY=($(compgen -W "$own ${options.join(' ')}" -- "$word"))
}
complete -o bashdefault -F _rbd_mirror rbd-mirror
`
}
