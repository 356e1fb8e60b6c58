import { defineConfig } from 'vitest/config'

// Projects of the test pyramid. `npm test` runs unit tests and, where Ceph is installed, the real-cluster tests;
// the latter run one file after the other because they share one pair of clusters. Tests on emulated clusters need no Ceph.
const emulated = 'test/contract/{emulator,memory,lmdb,redis}*.test.ts'

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    projects: [
      { extends: true, test: { name: 'unit', include: ['src/**/*.test.ts', 'test/unit/**/*.test.ts', emulated], testTimeout: 20_000 } },
      {
        extends: true,
        test: {
          name: 'emulated',
          include: ['test/emulated/**/*.test.ts'],
          // programs of their own, daemons among them: not beside the unit tests, which take every core
          sequence: { groupOrder: 1 },
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'simulation',
          include: ['test/simulation/**/*.test.ts'],
          // each file keeps a core busy
          sequence: { groupOrder: 2 },
          testTimeout: 300_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'ceph',
          include: ['test/contract/**/*.test.ts', 'test/e2e/**/*.test.ts'],
          exclude: [emulated],
          globalSetup: ['test/support/clusters.setup.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
})
