import { ConfigError } from '../config/config-error.ts'
import type { Options } from '../config/options.ts'
import { Logger, logLevelOf } from '../observability/logger.ts'

/**
 * The log as the options want it; follows changes of its level.
 * @param debug `-d`: everything goes to stderr, and only there
 * @throws ConfigError when the file can't be written
 */
export async function openLogger(options: Options, debug: boolean, imageName: (globalImageId: string) => string | undefined): Promise<Logger> {
  const path = options.get('log_file')
  const toFile = !debug && options.get('log_to_file') && path !== ''
  const toStderr = debug || options.get('log_to_stderr')
  const level = () => logLevelOf(options.get('debug_rbd_mirror'))
  let logger: Logger
  try {
    logger = await Logger.open({
      file: toFile ? path : undefined,
      stderr: toStderr ? 'all' : options.get('err_to_stderr') ? 'errors' : 'none',
      level: level(),
      imageName,
    })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const problem = code === 'ENOENT' ? 'its directory does not exist' : code === 'EACCES' ? 'no permission to write it' : `can't write it: ${code}`
    throw new ConfigError(`${problem}; choose another with --log-file`, `log file ${path}`, { cause: error })
  }
  options.onChange(['debug_rbd_mirror'], () => logger.setLevel(level()))
  return logger
}
