// Reads the JSON reports of the test runs of a folder. `node total.cjs FOLDER failed`: the test files that failed, one a line.
// `node total.cjs FOLDER sum STEPS`: the closing line, and status 0 only if all is well; STEPS failed outside of tests.
// A report whose name begins with `again` has the last word on the files in it: they were run a second time, on clusters of their own.
const { readdirSync, readFileSync } = require('node:fs')
const { join, relative } = require('node:path')

const [folder, command, steps] = process.argv.slice(2)
const reports = readdirSync(folder).filter((name) => name.endsWith('.json'))
const files = new Map() // of a file, its results in each run
for (const report of reports.filter((name) => !name.startsWith('again')).concat(reports.filter((name) => name.startsWith('again')))) {
  for (const result of JSON.parse(readFileSync(join(folder, report), 'utf8')).testResults) {
    const name = relative(process.cwd(), result.name)
    const again = report.startsWith('again')
    files.set(name, [...(again ? [] : (files.get(name) ?? [])), result])
  }
}
const failed = [...files].filter(([, results]) => results.some(({ status }) => status === 'failed')).map(([name]) => name)

if (command === 'failed') {
  for (const name of failed) console.log(name)
} else {
  const statuses = [...files.values()].flat().flatMap(({ status, assertionResults }) => {
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
