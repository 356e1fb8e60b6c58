#!/usr/bin/env node
// What `rbd` on the PATH runs. CommonJS for the same reason as rbd-mirror.cts.
process.env['UV_THREADPOOL_SIZE'] ??= '24'
void import('./rbd.ts')
