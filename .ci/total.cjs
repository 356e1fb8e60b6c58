// Reads the JSON reports of the test runs of a folder. `node total.cjs FOLDER failed`: the test files that failed, one a line.
// `node total.cjs FOLDER sum STEPS`: the closing line, and status 0 only if all is well; STEPS failed outside of tests.
// `all.json` is of all files. A report whose name begins with `again` has the last word on those in it: they were run a second time, on clusters of
// their own.
const { readdirSync, readFileSync } = require('node:fs')
const { join, relative } = require('node:path')

const [folder, command, steps] = process.argv.slice(2)
const resultsOf = (report) => JSON.parse(readFileSync(join(folder, report), 'utf8')).testResults
const reports = readdirSync(folder).filter((name) => name.endsWith('.json'))
const again = new Map(reports.filter((name) => name.startsWith('again')).flatMap(resultsOf).map((result) => [result.name, result]))
const first = reports.includes('all.json') ? resultsOf('all.json') : []
// another run of one of these files (the simulation's thousand seeds) counts beside them
const others = reports.filter((name) => name !== 'all.json' && !name.startsWith('again')).flatMap(resultsOf)

if (command === 'failed') {
  for (const { name, status } of first) if (status === 'failed') console.log(relative(process.cwd(), name))
} else {
  const statuses = [...first.map((result) => again.get(result.name) ?? result), ...others].flatMap(({ status, assertionResults }) => {
    const tests = assertionResults.map((test) => test.status)
    // set-up or clean-up of the file, or the file itself
    return status === 'failed' && !tests.includes('failed') ? [...tests, 'failed'] : tests
  })
  const passed = statuses.filter((status) => status === 'passed').length
  const failures = statuses.filter((status) => status === 'failed').length || Number(steps)
  const skipped = statuses.length - passed - statuses.filter((status) => status === 'failed').length
  console.log(`${passed} passed, ${failures} failed, ${skipped} skipped`)
  process.exit(failures === 0 && skipped === 0 && passed > 0 ? 0 : 1)
}
