// Sets up what is missing, then gets out of the way: `npm test` comes here first; `npm run demo [-- --gan]` and
// `npm run example:page` run through here, `npm run determinism` comes here first as well. Plain Node, because in a fresh clone there is nothing else. Two of these at
// once wait for one another.

import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, isBuilt } from './build.mjs';
import { isInstalled } from './installed.mjs';
import { withLock } from './lock.mjs';
import { buildSimulator } from './simulator.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const examples = join(root, 'examples');
const windows = process.platform === 'win32';

/** What can be run → the program, in examples/dist; null only sets the examples up. */
const PROGRAMS = { demo: 'autoencoder.js', page: 'page.js', examples: null };

const [what = 'test', ...rest] = process.argv.slice(2);
const needsExamples = Object.hasOwn(PROGRAMS, what);
process.exitCode = await main();

async function main() {
  if (!(await isReady())) {
    const waiting = () => say('waiting for another set-up of this clone to finish');
    const ok = await withLock(join(root, 'build/setup.lock'), waiting, setUp);
    if (!ok) return 1;
  }
  // The tests run CUDA kernels on it; where it cannot be built they say so one by one.
  if (what === 'test') await buildSimulator();
  const program = PROGRAMS[what];
  return program ? run(process.execPath, [join(examples, 'dist', program), ...rest], examples) : 0;
}

async function isReady() {
  if (!isInstalled(root) || !(await isBuilt())) return false;
  return !needsExamples || (isInstalled(examples) && isCompiled());
}

async function setUp() {
  if (!isInstalled(root) && !(await install(root, 'dependencies'))) return false;
  if (!(await isBuilt()) && !(await build())) return false;
  if (!needsExamples) return true;
  if (!isInstalled(examples) && !(await install(examples, 'example pictures'))) return false;
  return isCompiled() || compileExamples();
}

/** Lifecycle scripts are left out: this package's own is the build, which comes next with its progress shown. */
async function install(folder, name) {
  say(`installing ${name} (npm ci, once)`);
  return (await run(windows ? 'npm.cmd' : 'npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], folder)) === 0;
}

/** Whether every source of the examples, and the types they build on, are older than what was compiled from them. */
function isCompiled() {
  const compiled = join(examples, 'dist/autoencoder.js');
  const stamp = join(examples, 'dist/.compiled');
  if (!fs.existsSync(compiled) || !fs.existsSync(stamp)) return false;
  const sources = fs.readdirSync(examples).filter((name) => /\.ts$|^tsconfig\.json$|^package\.json$/.test(name));
  const types = join(root, 'dist/tsconfig.tsbuildinfo');
  return [...sources.map((name) => join(examples, name)), types].every((file) => timeOf(file) <= timeOf(stamp));
}

async function compileExamples() {
  say('compiling the examples');
  const started = new Date();
  if ((await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', examples], examples)) !== 0)
    return false;
  fs.writeFileSync(join(examples, 'dist/.compiled'), '');
  fs.utimesSync(join(examples, 'dist/.compiled'), started, started);
  return true;
}

function timeOf(file) {
  return fs.existsSync(file) ? fs.statSync(file).mtimeMs : 0;
}

function run(command, args, cwd) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, stdio: 'inherit', shell: windows && command.endsWith('.cmd') });
    child.on('error', (error) => {
      say(`${command}: ${error.message}`);
      resolve(1);
    });
    child.on('close', (code, signal) => resolve(signal === null ? code : 1));
  });
}

function say(text) {
  process.stderr.write(`[setup] ${text}\n`);
}
