#!/usr/bin/env node
// What `rbd-mirror` on the PATH runs. CommonJS, because Node's loader of ES modules has already started libuv's threads when the first
// of them runs, and then their number can't be chosen any more.
import v8 = require('node:v8')

process.env['UV_THREADPOOL_SIZE'] ??= '24'
// What is to be done comes in bursts of a second, each with other code that is warm: optimizing it as early as V8 does costs more than it
// saves (a third of the CPU time of a delta). What stays busy is optimized all the same.
v8.setFlagsFromString('--interrupt-budget=1000000')
void import('./main.ts').then(({ main }) => main(process.argv.slice(2)))
