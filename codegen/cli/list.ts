/** `fracstride list`: the catalogue of variants, the presets, and what is built for which target. */

import type { Command } from 'commander';
import { nameOf, operationSpecs } from '../kernel.js';
import { PRESETS } from '../presets.js';
import { openStore, type StoredKernel } from '../store.js';
import { VARIANTS } from '../variants.js';
import { clonedStores } from './package.js';
import type { Session } from './session.js';
import { table } from './table.js';

export function addList(program: Command, session: Session): void {
  program
    .command('list')
    .description('what is in the catalogue, and what is built for what')
    .option('--json', 'JSON on stdout')
    .action(({ json }: { json?: true }) => {
      const told = catalogue();
      if (json) session.json(told);
      else session.line(print(told));
    });
}

function catalogue() {
  const operations = operationSpecs({ kind: 'ptx' }).map((spec) => nameOf(spec).replace(/__ptx$/, ''));
  return {
    operations,
    variants: VARIANTS.map(({ name, device, forms, template, kind }) => ({ name, device, forms, template, kind })),
    presets: Object.entries(PRESETS).map(([name, items]) => ({ name, items: items.length })),
    built: [openStore(), ...clonedStores()].map((store) => ({
      directory: store.directory,
      kernels: targetsByKernel(store.list()),
    })),
  };
}

/** Kernels without their last zone, each with the targets it is built for. */
function targetsByKernel(kernels: readonly StoredKernel[]): { kernel: string; targets: string[] }[] {
  const targets = new Map<string, Set<string>>();
  for (const { name } of kernels) {
    const end = name.lastIndexOf('__');
    const kernel = name.slice(0, end);
    targets.set(kernel, (targets.get(kernel) ?? new Set()).add(name.slice(end + 2)));
  }
  return [...targets].map(([kernel, names]) => ({ kernel, targets: [...names].sort() }));
}

/** `add_f32__pointwise` and its like → a row an operation, with its element types. */
function typesByOperation(operations: readonly string[]): string[][] {
  const rows = new Map<string, string[]>();
  for (const kernel of operations) {
    const [, operation = '', type = '', family = ''] = /^(\w+)_([a-z]+\d+)__(\w+)$/.exec(kernel) ?? [];
    const row = `${operation}__${family}`;
    rows.set(row, [...(rows.get(row) ?? []), type]);
  }
  return [...rows].map(([row, types]) => [row.replace('__', ' (') + ')', types.join(' ')]);
}

function print(told: ReturnType<typeof catalogue>): string {
  const variants = told.variants.map(({ name, device, forms, kind, template }) => [
    name,
    device,
    kind,
    forms.join(' '),
    template ?? '',
  ]);
  const presets = told.presets.map(({ name, items }) => `${name} (${items} items)`);
  const built = told.built.flatMap(({ directory, kernels }) => [
    '',
    `built, in ${directory}:`,
    kernels.length === 0
      ? 'nothing'
      : table(
          ['kernel', 'targets'],
          kernels.map((k) => [k.kernel, k.targets.join(' ')]),
        ),
  ]);
  return [
    table(['variant', 'device', 'kind', 'contractions', 'template'], variants),
    '',
    table(['operation', 'types'], typesByOperation(told.operations)),
    '',
    `presets: ${presets.join(', ')}`,
    ...built,
  ].join('\n');
}
