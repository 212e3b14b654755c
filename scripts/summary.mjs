// Ends a CI run: prints the failures of a mocha JSON report and the steps that failed, then `N passed, N failed`.
// usage: node scripts/summary.mjs <report.json> [failed step …]

import { readFileSync } from 'node:fs';

const [report, ...failedSteps] = process.argv.slice(2);
const { passes, failures } = read(report);
for (const { fullTitle, err } of failures) console.log(`\nfailed: ${fullTitle}\n${err.stack ?? err.message ?? ''}`);
for (const step of failedSteps) console.log(`\nfailed step: ${step}`);
// A test step that failed because of its tests is counted by them.
const other = failedSteps.filter((step) => !(step.startsWith('npm test') && failures.length > 0));
const failed = failures.length + other.length;
console.log(`\n${passes.length} passed, ${failed} failed`);
process.exitCode = failed === 0 && passes.length > 0 ? 0 : 1;

/** A run that ended before its report was written has no passes; its step is among the failed ones. */
function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return { passes: [], failures: [] };
  }
}
