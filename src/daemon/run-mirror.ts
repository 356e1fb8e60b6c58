import { bootstrap } from '../mirror/bootstrap/bootstrap.ts'
import { MirrorDaemon } from '../mirror/mirror-daemon.ts'
import type { RunMirror } from './daemon.ts'

/** Puts the parts of the mirroring together. Loaded apart from the daemon's shell, which is up sooner. */
export const runMirror: RunMirror = (options, signal) => new MirrorDaemon(options, bootstrap).run(signal)
