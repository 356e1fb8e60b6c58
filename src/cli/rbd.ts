#!/usr/bin/env node
import { Cancelled } from '../base/cancelled.ts'
import { runRbd } from './rbd/frame/run.ts'
import { processTerminal } from './rbd/frame/terminal.ts'

const exitInterrupted = 130
/** To give back locks and watches; a second Ctrl-C does not wait. */
const goodbyeMs = 3000

const interrupted = new AbortController()
process.once('SIGINT', () => {
  interrupted.abort(new Cancelled('interrupted'))
  const end = () => process.exit(exitInterrupted)
  process.once('SIGINT', end)
  setTimeout(end, goodbyeMs)
})
// What reads our output may have seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

const terminal = processTerminal()
const status = await runRbd(process.argv.slice(2), { terminal, environment: process.env, signal: interrupted.signal })
await terminal.flush()
process.exit(status)
