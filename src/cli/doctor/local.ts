import { accessSync, constants, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { ConfigError } from '../../config/config-error.ts'
import { findKey } from '../../config/keyring.ts'
import type { Configuration } from '../../config/load-configuration.ts'
import { confSearchPath } from '../../config/search-path.ts'
import type { Findings } from './finding.ts'

/** What is on this host alone: configuration, key, folders. True when a connection is worth trying. */
export function checkLocal({ options, confFile }: Configuration, findings: Findings): boolean {
  const subject = 'configuration'
  if (confFile === undefined) findings.note(subject, `no ${options.cluster}.conf: everything comes from the command line`)
  else findings.ok(subject, `${confFile}, as ${options.entity}`)
  if (options.get('mon_host') === '') {
    const cure = confFile ? `name the monitors in ${confFile}` : `name the file with --conf, or the monitors with -m; looked for ${confSearchPath(options.cluster).join(', ')}`
    findings.error(subject, 'mon_host is not set', cure)
    return false
  }
  if (!checkKey(options, findings)) return false
  checkFolder(options.get('admin_socket'), 'admin_socket', findings)
  if (options.get('log_to_file')) checkFolder(options.get('log_file'), 'log_file', findings)
  return true
}

function checkKey(options: Configuration['options'], findings: Findings): boolean {
  try {
    const key = findKey(options)
    if (!key) findings.note('keyring', 'the cluster is asked without a key (auth_client_required = none)')
    else {
      findings.ok('keyring', `${options.entity} has its key${key.path === undefined ? '' : ` in ${key.path}`}`)
      if (key.path !== undefined && (statSync(key.path).mode & 0o004) !== 0) findings.warning('keyring', `everybody can read ${key.path}`, `chmod o-r ${key.path}`)
    }
    return true
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    findings.error('keyring', error.message, `ceph auth get ${options.entity} -o /etc/ceph/${options.cluster}.${options.entity}.keyring, readable for the daemon's user`)
    return false
  }
}

function checkFolder(path: string, option: string, findings: Findings): void {
  if (path === '') return
  const folder = dirname(path)
  try {
    accessSync(folder, constants.W_OK | constants.X_OK)
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    // the daemon makes its run directory itself
    if (missing && option === 'admin_socket') return
    const cure = `create ${folder} for the daemon's user, or choose another ${option}`
    findings.warning(option, `${folder} ${missing ? 'does not exist' : 'can not be written to'}`, cure)
  }
}
