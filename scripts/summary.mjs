// Ends a CI run: prints the failures of mocha's JSON reports and the steps that failed, then `N passed, N failed`.
// usage: node scripts/summary.mjs <report.json> … -- [failed step …]

import { readFileSync } from 'node:fs';

const words = process.argv.slice(2);
const reports = words.slice(0, words.indexOf('--')).map(read);
const failedSteps = words.slice(words.indexOf('--') + 1);
const passes = reports.flatMap((report) => report.passes);
const failures = reports.flatMap((report) => report.failures);
for (const { fullTitle, err } of failures) console.log(`\nfailed: ${fullTitle}\n${err.stack ?? err.message ?? ''}`);
for (const step of failedSteps) console.log(`\nfailed step: ${step}`);
// A step of tests that failed because of its tests is counted by them.
const counted = reports.filter((report) => report.failures.length > 0).length;
const steps = failedSteps.filter((step) => /\btest\b/.test(step)).length;
const failed = failures.length + failedSteps.length - Math.min(counted, steps);
console.log(`\n${passes.length} passed, ${failed} failed`);
process.exitCode = failed === 0 && passes.length > 0 ? 0 : 1;

/** A run that ended before its report was written is one failure. */
function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (err) {
    return { passes: [], failures: [{ fullTitle: 'the tests must write their report', err }] };
  }
}
