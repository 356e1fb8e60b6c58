#!/usr/bin/env node
import { runRbd } from './rbd/frame/run.ts'
import { processTerminal } from './rbd/frame/terminal.ts'

const interrupted = new AbortController()
process.once('SIGINT', () => {
  interrupted.abort()
  process.exit(130)
})
// What reads our output may have seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

const terminal = processTerminal()
const status = await runRbd(process.argv.slice(2), { terminal, environment: process.env, signal: interrupted.signal })
await terminal.flush()
process.exit(status)
