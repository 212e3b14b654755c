/** `fracstride inspect`: what the cache holds of a kernel. */

import type { Command } from 'commander';
import { FracstrideError, show } from '../errors.js';
import { argumentsOf, isOperation, nameOf, specOfName, textOf } from '../kernel.js';
import { isLibrary } from '../spec.js';
import { type KernelStore, openStore, type StoredKernel } from '../store.js';
import { clonedStores } from './package.js';
import type { Session } from './session.js';

interface Options {
  source?: true;
  ptx?: true;
  resources?: true;
  json?: true;
}

export function addInspect(program: Command, session: Session): void {
  program
    .command('inspect')
    .description('what the cache holds of a kernel: its text, its PTX, what it costs')
    .argument('<kernel-name>', 'a kernel name with all its zones')
    .option('--source', 'the text it was compiled from')
    .option('--ptx', 'its PTX (of kernels that are kept as PTX)')
    .option('--resources', 'registers, spills, shared and constant memory')
    .option('--json', 'JSON on stdout')
    .addHelpText('after', HELP)
    .action((name: string, options: Options) => inspect(name, options, session));
}

const HELP = `
Example:
  fracstride build ct2d_fwd_f32_nchw__gather__sm90
  fracstride inspect ct2d_fwd_f32_nchw__gather__sm90 --resources`;

function inspect(text: string, options: Options, session: Session): void {
  const spec = specOfName(text);
  const name = nameOf(spec);
  // What a library computes has nothing in any cache: asking for its text says so.
  if (!isOperation(spec) && isLibrary(spec)) textOf(spec);
  const { store, kernel } = stored(name, options.ptx ? 'kernel.ptx' : undefined);
  const { meta, key, directory } = kernel;
  if (options.source) {
    session.write(Buffer.from(store.read(kernel, 'source')).toString());
  } else if (options.ptx) {
    session.write(ptx(store, kernel));
  } else {
    const facts = { name, key, directory, compiler: meta.compiler, flags: meta.flags, image: meta.image };
    const told = options.resources
      ? { name, resources: meta.resources }
      : { ...facts, resources: meta.resources, arguments: argumentsOf(spec) };
    if (options.json) session.json(told);
    else session.line(lines(told));
  }
}

/** An entry of that name in the cache, else in a clone's own; rather one with this image. */
function stored(name: string, image: string | undefined): { store: KernelStore; kernel: StoredKernel } {
  const stores = [openStore(), ...clonedStores()];
  const own = stores.flatMap((store) => {
    const entries = store.list().filter((entry) => entry.name === name && store.find(entry) !== null);
    return entries.map((kernel) => ({ store, kernel }));
  });
  const found = own.find(({ kernel }) => kernel.meta.image.file === image) ?? own[0];
  if (found !== undefined) return found;
  const sentence = `inspect: kernel must be in the cache, got ${show(name)}; 'fracstride build ${name}' puts it there`;
  throw new FracstrideError('ERR_CACHE', sentence);
}

function ptx(store: KernelStore, kernel: StoredKernel): string {
  if (kernel.meta.image.file === 'kernel.ptx') return Buffer.from(store.read(kernel, 'image')).toString();
  const other = kernel.name.replace(/__[^_]+$/, '__ptx');
  throw new FracstrideError(
    'ERR_ARGUMENT',
    `inspect: --ptx must be asked of a kernel that is kept as PTX, like ${other}, got a cubin`,
  );
}

function lines(told: object): string {
  return Object.entries(told)
    .map(([name, value]) => `${name.padEnd(10)} ${typeof value === 'string' ? value : line(value)}`)
    .join('\n');
}

function line(value: unknown): string {
  if (value === null) return 'given out when the driver assembles it';
  if (Array.isArray(value)) return value.map((item) => (typeof item === 'string' ? item : argument(item))).join(' ');
  return Object.entries(value as object)
    .map(([name, number]) => `${name} ${number}`)
    .join(', ');
}

function argument({ name, kind }: { name: string; kind: string }): string {
  return `${name}:${kind}`;
}
