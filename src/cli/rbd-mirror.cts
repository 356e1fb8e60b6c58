#!/usr/bin/env node
// What `rbd-mirror` on the PATH runs. CommonJS, because Node's loader of ES modules has already started libuv's threads when the first
// of them runs, and then their number can't be chosen any more.
process.env['UV_THREADPOOL_SIZE'] ??= '24'
void import('./main.ts').then(({ main }) => main(process.argv.slice(2)))
