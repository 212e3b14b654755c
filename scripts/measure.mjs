// Prints the sizes of our files, functions and templates beside those of projects that we read as models, so that a room
// that has grown is seen. Judges nothing: the exit code is always 0.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Figures of the models, lines: better-sqlite3's lib/, DeepGEMM's host code. */
const MODELS = [
  ['better-sqlite3 (JavaScript)', '', '12', '195', '25', ''],
  ['DeepGEMM (host code)', '', '152', '771', '25', ''],
];
const TREES = [
  ['codegen', /\.ts$/],
  ['src', /\.ts$/],
  ['cuda', /\.(cc|h)$/],
  ['cpu', /\.(cc|h)$/],
  ['test', /\.ts$/],
  ['scripts', /\.mjs$/],
];

const print = (header, rows) => {
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => row[i].length)));
  for (const row of [header, ...rows])
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    );
  console.log();
};

const measured = TREES.map(([tree, ending]) => measureTree(tree, ending));
print(
  ['tree', 'files', 'median file', 'largest file', 'functions fit in', 'longest function'],
  [...measured.map(treeRow), ...MODELS],
);
print(
  ['template', 'lines', 'control', 'nesting'],
  [
    ...filesUnder('templates', /\.njk$/).map(templateRow),
    ['(ours to keep)', 'at most 200', 'at most 25 %', 'at most 2'],
  ],
);
const longest = measured.flatMap(({ functions }) => functions).sort((a, b) => b.lines - a.lines);
print(
  ['longest functions', 'lines'],
  longest.slice(0, 10).map(({ name, lines }) => [name, `${lines}`]),
);

function measureTree(tree, ending) {
  const files = filesUnder(tree, ending).map((file) => ({ file, text: readFileSync(join(root, file), 'utf8') }));
  const functions = files.flatMap(({ file, text }) =>
    /\.(cc|h)$/.test(file) ? cppFunctions(file, text) : tsFunctions(file, text),
  );
  return { tree, sizes: files.map(({ file, text }) => ({ name: file, lines: countLines(text) })), functions };
}

function treeRow({ tree, sizes, functions }) {
  if (sizes.length === 0) return [tree, '0', '', '', '', ''];
  const largest = sizes.reduce((a, b) => (b.lines > a.lines ? b : a));
  const longest = functions.reduce((a, b) => (b.lines > a.lines ? b : a), { lines: 0, name: '' });
  const fit = quantile(
    functions.map(({ lines }) => lines),
    0.9,
  );
  return [
    tree,
    `${sizes.length}`,
    `${quantile(
      sizes.map(({ lines }) => lines),
      0.5,
    )}`,
    `${largest.lines} ${relative(tree, largest.name)}`,
    `${fit} (9 of 10)`,
    `${longest.lines} ${longest.name.split(' ').at(-1)}`,
  ];
}

/** Functions with a body, by TypeScript's own parser; those inside another count in both. Test suites are no functions. */
function tsFunctions(file, text) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found = [];
  const visit = (node) => {
    if (ts.isFunctionLike(node) && node.body !== undefined && isNamed(node)) {
      const line = (position) => source.getLineAndCharacterOfPosition(position).line;
      const name = node.name?.getText() ?? node.parent.name?.getText();
      found.push({ name: `${file} ${name}`, lines: line(node.end) - line(node.getStart()) + 1 });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function isNamed(node) {
  return node.name !== undefined || ts.isVariableDeclaration(node.parent) || ts.isPropertyAssignment(node.parent);
}

/** Functions as clang-format lays them out: a head that ends in `) … {`, up to the `}` under its first letter. */
function cppFunctions(file, text) {
  const lines = text.split('\n');
  return lines.flatMap((line, start) => {
    const [, indent, name] = /^(\s*)\S.*?([\w~]+)\([^;]*\)[^;()]*\{$/.exec(line) ?? [];
    if (name === undefined || /^(if|for|while|switch|catch)$/.test(name)) return [];
    const end = lines.findIndex((each, i) => i > start && each.startsWith(`${indent}}`));
    return end < 0 ? [] : [{ name: `${file} ${name}`, lines: end - start + 1 }];
  });
}

/** Control lines are those that hold a block tag; nesting counts blocks inside blocks of the template language. */
function templateRow(file) {
  const lines = readFileSync(join(root, file), 'utf8').trimEnd().split('\n');
  let depth = 0;
  let deepest = 0;
  let control = 0;
  for (const line of lines) {
    const tags = [...line.matchAll(/\/\/%-?\s*(\w+)/g)].map((match) => match[1]);
    if (tags.length > 0) control++;
    for (const tag of tags) {
      if (/^(for|if|macro|call|block)$/.test(tag)) deepest = Math.max(deepest, tag === 'macro' ? depth : ++depth);
      if (/^(endfor|endif|endcall|endblock)$/.test(tag)) depth--;
    }
  }
  return [
    relative('templates', file),
    `${lines.length}`,
    `${Math.round((100 * control) / lines.length)} %`,
    `${deepest}`,
  ];
}

function filesUnder(folder, ending) {
  if (!existsSync(join(root, folder))) return [];
  const entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && ending.test(entry.name));
  return files.map((entry) => relative(root, join(entry.parentPath, entry.name))).sort();
}

function countLines(text) {
  return text.trimEnd().split('\n').length;
}

function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}
