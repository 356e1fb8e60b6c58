#!/usr/bin/env node
import { main } from './main.ts'

// The same program as rbd-mirror.cts, for `node dist/cli/rbd-mirror.js` and for loaders of TypeScript.
await main(process.argv.slice(2))
