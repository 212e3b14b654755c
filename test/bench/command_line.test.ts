/** The programs of bench/ answer a wrong command line with one sentence and exit code 2, and all of them by the same reader. */

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

function answer(...words: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(ROOT, 'dist/bench/model.js'), ...words], { encoding: 'utf8' });
}

describe('command lines of bench', () => {
  it('an unknown option, what is no problem and --help', () => {
    const unknown = answer('--nope');
    expect([unknown.status, unknown.stderr]).to.deep.equal([2, "bench:model: unknown option '--nope'\n"]);
    const wrong = answer('--every', 'all');
    expect([wrong.status, wrong.stderr.split('\n').length]).to.deep.equal([2, 2]);
    expect(wrong.stderr).to.match(/^bench:model: .*'all' is invalid.* op must be one of convT2d, conv2d, got "all"/);
    const help = answer('--help');
    expect(help.status).to.equal(0);
    expect(help.stdout).to.match(/^Usage: bench:model \[options\] \[problems...\]\n/);
  });

  it('are read in one place', () => {
    const files = readdirSync(join(ROOT, 'bench'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      /^(?!.*node_modules).*\.ts$/.test(name),
    );
    const others = files.filter((name) =>
      /parseArgs|process\.argv\[/.test(readFileSync(join(ROOT, 'bench', name), 'utf8')),
    );
    expect(others).to.deep.equal([]);
  });
});
