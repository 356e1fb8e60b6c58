import { subcommandHelp, subcommands } from './rbd-mirror-subcommands.ts'

export const helpText = () => `usage: rbd-mirror [options...]
${subcommands.length > 0 ? subcommandHelp() : ''}
Mirrors the RBD images of the pools of one Ceph cluster from their peers. The first form of these is the daemon; the others tell more
with --help.

options:
  -m monaddress[:port]      connect to specified monitor
  --keyring=<path>          path to keyring for local cluster
  --log-file=<logfile>      file to log to
  --pid-file=<path>         file that gets the process id
  --admin-socket=<path>     socket for ceph --admin-daemon <path> ...
  --debug-rbd-mirror=<log-level>
                            how much to log: 0 to 4 for operators, 5 to 19 more, 20 everything
  --rbd-mirror-metrics-port=<port>, --rbd-mirror-metrics-address=<address>
                            where the status page, /metrics, /healthz and /readyz are served (default: 127.0.0.1 port 9927;
                            port 0: not at all)
  --rbd-mirror-bandwidth-limits=<limits>
                            bytes per second, e.g. "100M, 20M pool=volumes, 5M image=volumes/db-*, unlimited during=[* 0-5 * * *]":
                            of the daemon, each peer, pool or image; minutes that fit the cron pattern; the last that fits counts
  --conf/-c FILE    read configuration from the given configuration file
  --id/-i ID        set ID portion of my name
  --name/-n TYPE.ID set name
  --cluster NAME    set cluster name (default: ceph)
  --setuser USER    set uid to user or uid (and gid to user's gid)
  --setgroup GROUP  set gid to group or gid
  --version         show version and quit
  --show-config     show all options as they are here, and quit
  --show-config-value NAME
                    show one option, and quit

  -d                run in foreground, log to stderr
  -f                run in foreground, log to usual location
  --daemonize[=true|false]
                    run in the background (default); ends with status 0 once the daemon is ready

  --OPTION=VALUE    any option of ceph.conf, e.g. --rbd-mirror-concurrent-image-syncs=3

Options are taken from (the last wins): the monitors' central config, the configuration file (/etc/ceph/NAME.conf,
~/.ceph/NAME.conf, ./NAME.conf; sections [global], [client], [client.ID]), CEPH_KEYRING, CEPH_ARGS, the command line.

signals: SIGTERM and SIGINT stop it within seconds, SIGHUP reopens the log.

files: /etc/ceph/NAME.conf, /etc/ceph/NAME.client.ID.keyring, /var/log/ceph/NAME-client.ID.log, /run/ceph/NAME-client.ID.*.asok

exit status: 0 stopped as told, 1 failed, 2 misused
`
