// The last word of .ci/run: totals over vitest's JSON reports, and whether all is well.
//   node scripts/count-tests.mjs report.json... -- failed step...
// Exit code 0 only if tests ran, none failed, and no step failed.
import { readFileSync } from 'node:fs';

const words = process.argv.slice(2);
const split = words.indexOf('--');
const reports = split < 0 ? words : words.slice(0, split);
const failedSteps = split < 0 ? [] : words.slice(split + 1);

let [passed, failed, skipped] = [0, 0, 0];
for (const path of reports) {
  let report;
  try {
    report = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    console.log(`no report of a test run in ${path}: that run did not finish`);
    failed += 1;
    continue;
  }
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  skipped += report.numPendingTests + report.numTodoTests;
  for (const file of report.testResults) {
    for (const test of file.assertionResults) {
      if (test.status === 'failed') console.log(`failed: ${file.name}: ${test.fullName}`);
      if (test.status === 'pending' || test.status === 'skipped') console.log(`skipped: ${test.fullName}`);
    }
    // A file that cannot be loaded has no tests to count, but it is a failure.
    if (file.status === 'failed' && file.assertionResults.length === 0) {
      console.log(`failed to load: ${file.name}: ${file.message}`);
      failed += 1;
    }
  }
}
for (const name of failedSteps) {
  console.log(`failed step: ${name}`);
  // A failed run of the suite is counted by its tests already.
  if (name !== 'npm test' && name !== 'newest Node') failed += 1;
}
if (failedSteps.length > 0 && failed === 0) failed = failedSteps.length;
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
