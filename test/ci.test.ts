/** What continuous integration relies on: each check fails when it should. */

import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

function run(script: string, args: readonly string[], env: Record<string, string> = {}): SpawnSyncReturns<string> {
  const words = [join(ROOT, 'scripts', script), ...args];
  return spawnSync(process.execPath, words, { encoding: 'utf8', env: { ...process.env, ...env } });
}

describe('continuous integration', function () {
  this.timeout(120_000);
  let folder: string;
  const path = (name: string) => join(folder, name);
  before(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'fracstride-ci-'));
  });
  after(() => fs.rmSync(folder, { recursive: true, force: true }));

  describe('lint_workflows', () => {
    const GPU = fs.readFileSync(join(ROOT, '.github/workflows/gpu.yml'), 'utf8');

    it('finds nothing in this repository, the examples in its documentation included', () => {
      const { status, stdout } = run('lint_workflows.mjs', []);
      expect(stdout).to.match(/^(\d+) workflows, 0 problems\n$/);
      expect(Number.parseInt(stdout, 10)).to.be.at.least(4);
      expect(status).to.equal(0);
    });

    const BROKEN: readonly (readonly [string, string | RegExp, string, RegExp])[] = [
      ['an unknown key', 'timeout-minutes: 90', 'timeout-minuets: 90', /unexpected key "timeout-minuets"/],
      ['a need that no job meets', 'needs: build', 'needs: biuld', /needs job "biuld" which does not exist/],
      ['an input that an action lacks', 'node-version: 22', 'node: 22', /input "node" is not defined in action/],
      ['a context that does not exist', 'vars.GPU_TARGETS', 'github.targets', /"targets" is not defined/],
      ['text that is no YAML', 'permissions:', 'permissions: [', /could not parse|did not find/],
      ['more privileges', 'contents: read', 'contents: write', /permissions must be 'contents: read' alone/],
      ['no time limit', /\n {4}timeout-minutes: 90/, '', /job gpu must have timeout-minutes/],
      ['forks on our runner', /needs: build\n {4}if: [^#]*?repository\n/, 'needs: build\n', /job gpu runs on a runner/],
      ['an action by branch', 'actions/checkout@v4', 'actions/checkout@main', /must name actions\/checkout@main/],
      ['a secret', 'vars.GPU_TARGETS', 'secrets.GPU_TARGETS', /must do without secrets/],
      ['credentials left behind', /\n {8}with:\n {10}persist-credentials: false/, '', /persist-credentials: false/],
      ['a dangerous event', '  pull_request:', '  pull_request_target:', /must not hold pull_request_target/],
    ];
    /** What is said of each broken workflow and of a page that holds one; all by one process, which takes long to start. */
    let said: string[] = [];
    const page = `# Title\n\n\`\`\`yaml\n${GPU.replace('needs: build', 'needs: biuld')}\`\`\`\n`;
    before(() => {
      const files = BROKEN.map(([what, from, to], i) => {
        const text = GPU.replace(from, to);
        expect(text, what).to.not.equal(GPU);
        return [path(`${i}.yml`), text] as const;
      });
      files.push([path('page.md'), page]);
      for (const [file, text] of files) fs.writeFileSync(file, text);
      const { status, stdout } = run(
        'lint_workflows.mjs',
        files.map(([file]) => file),
      );
      expect(status).to.equal(1);
      said = stdout.split('\n');
    });
    const saidOf = (name: string) => said.filter((line) => line.startsWith(`${path(name)}:`)).join('\n');

    for (const [i, [what, , , sentence]] of BROKEN.entries()) {
      it(`catches ${what}`, () => expect(saidOf(`${i}.yml`)).to.match(sentence));
    }

    it('catches the same in a page, at its line', () => {
      const line = page.split('\n').findIndex((text) => text.includes('  gpu:')) + 1;
      expect(saidOf('page.md')).to.match(new RegExp(`page\\.md:${line}:\\d+: .*"biuld" which does not exist`));
    });

    it('fails for one problem, and for no workflow at all', () => {
      expect(run('lint_workflows.mjs', [path('0.yml')]).status).to.equal(1);
      fs.writeFileSync(path('empty.md'), '# Nothing\n');
      expect(run('lint_workflows.mjs', [path('empty.md')]).status).to.equal(1);
    });
  });

  describe('the workflows and their page', () => {
    const files = ['.github/workflows/ci.yml', '.github/workflows/gpu.yml', 'docs/ci.md'];
    const text = files.map((file) => fs.readFileSync(join(ROOT, file), 'utf8')).join('\n');
    const found = (pattern: RegExp) => [...text.matchAll(pattern)];

    it('name scripts, programs and tests that there are', () => {
      const { scripts } = JSON.parse(fs.readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object };
      const names = found(/\bnpm run ([\w:]+)/g).map(([, name]) => name!);
      expect(names).to.include.members(['build', 'simulator', 'lint:workflows']);
      for (const name of names) expect(scripts, name).to.have.property(name);
      const paths = found(/(?:scripts|test|\.ci)\/[\w./]+\w/g).map(([path]) => path);
      expect(paths).to.include.members(['.ci/run', 'scripts/determinism.mjs', 'scripts/compute_sanitizer.mjs']);
      for (const path of paths) expect(fs.existsSync(join(ROOT, path)), path).to.equal(true);
    });

    it('use commands and options that fracstride has', () => {
      const uses = found(/\bfracstride (verify|doctor|bench|build|record)\b((?: (?!--? )[^\s|>&`]+)*)/g);
      const help = new Map<string, string>();
      const options = new Set<string>();
      for (const [, command, words] of uses) {
        const asked = [join(ROOT, 'dist/src/bin.js'), command!, '--help'];
        if (!help.has(command!)) help.set(command!, spawnSync(process.execPath, asked, { encoding: 'utf8' }).stdout);
        for (const [option] of words!.matchAll(/--[a-z][\w-]*/g)) {
          options.add(option);
          expect(help.get(command!), `fracstride ${command} ${option}`).to.include(option);
        }
      }
      expect([...help.keys()].sort()).to.deep.equal(['bench', 'build', 'doctor', 'record', 'verify']);
      const some = ['--device', '--require-cuda', '--json', '--store', '--target', '--jobs', '--out'];
      expect([...options]).to.include.members(some);
    });
  });

  describe('compute_sanitizer', () => {
    const CLEAN = `
      console.log('========= COMPUTE-SANITIZER');
      const tool = process.argv[process.argv.indexOf('--tool') + 1];
      const racecheck = 'RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)';
      console.log('========= ' + (tool === 'racecheck' ? racecheck : 'ERROR SUMMARY: 0 errors'));`;

    /** Runs it with a sanitizer that does this. */
    function sanitize(body: string, ...args: string[]) {
      fs.writeFileSync(path('sanitizer.cjs'), `#!${process.execPath}\n${body}`, { mode: 0o755 });
      const command = ['--', process.execPath, '-e', '0'];
      const env = { COMPUTE_SANITIZER: path('sanitizer.cjs') };
      return run('compute_sanitizer.mjs', [...args, ...command], env);
    }
    const lastLines = ({ stdout }: SpawnSyncReturns<string>) => stdout.trim().split('\n').slice(-3).join('\n');

    it('is content with 0 and a clean summary of every tool, and keeps what they said', () => {
      const result = sanitize(CLEAN, '--logs', path('logs'));
      expect(lastLines(result)).to.equal('memcheck: clean\nracecheck: clean\ninitcheck: clean');
      expect(result.status).to.equal(0);
      expect(fs.readFileSync(path('logs/racecheck.log'), 'utf8')).to.match(/RACECHECK SUMMARY: 0 hazards/);
    });

    for (const [what, body, sentence] of [
      ['0 without a summary', `console.log('========= COMPUTE-SANITIZER');`, /must print its summary, got none/],
      ['a summary that the program itself printed', `console.log('ERROR SUMMARY: 0 errors');`, /summary, got none/],
      ['0 and an error', `console.log('========= ERROR SUMMARY: 1 error');`, /must be clean, got '.*1 error'/],
      ['0 and ten errors', `console.log('========= ERROR SUMMARY: 10 errors');`, /must be clean, got '.*10 errors'/],
      [
        'one clean process of two',
        `console.log('========= ERROR SUMMARY: 0 errors\\n========= ERROR SUMMARY: 3 errors');`,
        /must be clean, got '.*3 errors'/,
      ],
      ['a clean summary and not 0', `${CLEAN} process.exitCode = 86;`, /must end with 0, got 86/],
      ['a signal', `${CLEAN} process.kill(process.pid, 'SIGKILL');`, /must end with 0, got SIGKILL/],
    ] as const) {
      it(`fails with ${what}`, () => {
        const result = sanitize(body);
        expect(lastLines(result)).to.match(sentence);
        expect(result.status).to.equal(1);
      });
    }

    it('fails with hazards', () => {
      const summary = '========= RACECHECK SUMMARY: 2 hazards displayed (0 errors, 2 warnings)';
      const result = sanitize(`console.log('${summary}');`, '--tools', 'racecheck');
      expect(lastLines(result)).to.match(/must be clean, got '.*2 hazards/);
      expect(result.status).to.equal(1);
    });

    it('fails without a sanitizer, and refuses tools that there are not', () => {
      const missing = run('compute_sanitizer.mjs', ['--', 'true'], { COMPUTE_SANITIZER: path('nothing') });
      expect(missing.stdout).to.match(/must be startable, got .*ENOENT/);
      expect(missing.status).to.equal(1);
      expect(run('compute_sanitizer.mjs', ['--tools', 'memchek']).status).to.equal(2);
    });
  });

  describe('determinism', () => {
    function compare(body: string, ...args: string[]) {
      fs.writeFileSync(path('trained.cjs'), body);
      return run('determinism.mjs', ['--program', path('trained.cjs'), ...args]);
    }

    it('is content with equal hashes', () => {
      const { status, stdout } = compare(`console.log('a'.repeat(64))`, '--processes', '3', '--device', 'cuda');
      expect(stdout).to.match(/3 processes, 20 steps each: equal\n$/);
      expect(status).to.equal(0);
    });

    for (const [what, body, sentence] of [
      ['hashes differ', `console.log(String(process.pid).padStart(64, '0'))`, /must be equal, got \d{64}, \d{64}/],
      ['a process fails', `console.log('a'.repeat(64)); process.exit(3)`, /must end with 0 .* got 3/],
      ['nothing is printed', '', /print a SHA-256, got 0 and ''/],
      ['an answer depends on threads', `console.log(process.env.FRACSTRIDE_NUM_THREADS.repeat(64))`, /must be equal/],
    ] as const) {
      it(`fails when ${what}`, () => {
        const { status, stderr } = compare(body);
        expect(stderr).to.match(sentence);
        expect(status).to.equal(1);
      });
    }
  });
});
