// Prints the sources of one gyp target, so that a new file is picked up without a word in binding.gyp:
// `main` = cuda/*.cc, cuda/napi/*.cc, cpu/*.cc and the generated files that belong to no instruction set;
// `avx512`, `avx2`, `baseline` = the generated files named <something>.<isa>.cc.

import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ISAS = ['avx512', 'avx2', 'baseline'];
const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Paths of a target's sources from the package root, sorted. */
export function listSources(target) {
  const generated = [...sourcesIn('build/generated/cpu'), ...sourcesIn('build/generated/cuda')];
  if (target !== 'main') return generated.filter((file) => isaOf(file) === target);
  return [
    ...sourcesIn('cuda'),
    ...sourcesIn('cuda/napi'),
    ...sourcesIn('cpu'),
    ...generated.filter((file) => isaOf(file) === undefined),
  ];
}

function isaOf(file) {
  return ISAS.find((isa) => file.endsWith(`.${isa}.cc`));
}

function sourcesIn(folder) {
  if (!existsSync(join(root, folder))) return [];
  const names = readdirSync(join(root, folder)).filter((name) => name.endsWith('.cc'));
  return names.sort().map((name) => `${folder}/${name}`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log(listSources(process.argv[2]).join('\n'));
}
