/**
 * `npm run proofs`: every proof of `npm run test:cuda`, whether a stored row is of the kernels of now, and what the row says.
 * Runs none of them.
 */

import { fileURLToPath } from 'node:url';
import Mocha from 'mocha';
import { table } from '../../codegen/cli/table.js';
import { digestOf, proofs, storedProofs } from './proofs.js';

const mocha = new Mocha();
mocha.addFile(fileURLToPath(new URL('../cuda/whole.js', import.meta.url)));
await mocha.loadFilesAsync();

const stored = storedProofs();
const lines = [...proofs].map(([title, variant]) => {
  const row = stored.get(title);
  if (row === undefined) return ['not run', '', '', '', title];
  const state = row.kernels === digestOf(variant) ? 'passed' : 'passed with older kernels';
  return [state, row.date, row.commit ?? '', String(row.seconds), title];
});
console.log(table(['state', 'day', 'commit', 'seconds', 'proof'], lines));
const count = (state: string) => lines.filter(([first]) => first === state).length;
console.log(
  `\n${lines.length} proofs: ${count('passed')} passed with the kernels of now, ` +
    `${count('passed with older kernels')} with older ones, ${count('not run')} not run`,
);
