/** One entry of the kernel store on disk: what its `meta.json` says, and whether its files are what that says. */

import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { FracstrideError } from './errors.js';
import type { ImageFormat } from './toolchain.js';

/** What identifies a compiled kernel. */
export interface KernelId {
  readonly name: string;
  readonly key: string;
}

export interface NewKernel extends KernelId {
  readonly source: string;
  readonly image: Uint8Array;
  readonly format: ImageFormat;
  readonly compiler: string;
  readonly flags: readonly string[];
  readonly resources: KernelMeta['resources'];
}

export type KernelMeta = z.infer<typeof META>;

export interface StoredKernel extends KernelId {
  readonly directory: string;
  readonly meta: KernelMeta;
}

const META = z.object({
  format: z.literal(1),
  name: z.string().regex(/^[a-z0-9_]+$/),
  key: z.string().regex(/^[0-9a-f]{32}$/),
  compiler: z.string(),
  flags: z.array(z.string()),
  resources: z
    .object({
      registers: z.number(),
      spillStores: z.number(),
      spillLoads: z.number(),
      shared: z.number(),
      constant: z.number(),
    })
    .nullable(),
  source: z.object({ file: z.literal('kernel.cu'), bytes: z.number(), sha256: z.string() }),
  image: z.object({ file: z.enum(['kernel.cubin', 'kernel.ptx']), bytes: z.number(), sha256: z.string() }),
});

/** The key of a kernel: hash(text, compiler, flags). */
export function kernelKey(source: string, compiler: string, flags: readonly string[]): string {
  const parts = JSON.stringify([compiler, flags, source]);
  return digestOf(parts).slice(0, 32);
}

export function entryName(id: KernelId): string {
  return `${id.name}.${id.key}`;
}

export function isEntryName(name: string): boolean {
  return /^[a-z0-9_]+\.[0-9a-f]{32}$/.test(name);
}

/** What `meta.json` says of a kernel. */
export function metaOf(kernel: NewKernel): KernelMeta {
  const { name, key, compiler, flags, resources, source, image, format } = kernel;
  const text = Buffer.from(source);
  return META.parse({
    format: 1,
    name,
    key,
    compiler,
    flags,
    resources,
    source: { file: 'kernel.cu', bytes: text.length, sha256: digestOf(text) },
    image: { file: `kernel.${format}`, bytes: image.length, sha256: digestOf(image) },
  });
}

/** The entry when it is sound, else what is wrong with it. */
export function checkEntry(root: string, entry: string): StoredKernel | string {
  const stored = readEntry(root, entry);
  if (stored === null) return 'meta.json cannot be read';
  if (entryName(stored) !== entry) return `meta.json is of ${entryName(stored)}`;
  for (const file of [stored.meta.source, stored.meta.image]) {
    const bytes = readIfThere(join(stored.directory, file.file));
    if (bytes === null) return `${file.file} is missing`;
    if (digestOf(bytes) !== file.sha256) return `${file.file} has changed since it was written`;
  }
  return stored;
}

/** The entry as its meta.json tells it, not verified; null when that is no such thing. */
export function readEntry(root: string, entry: string): StoredKernel | null {
  const directory = join(root, entry);
  try {
    const meta = META.parse(JSON.parse(fs.readFileSync(join(directory, 'meta.json'), 'utf8')));
    return { name: meta.name, key: meta.key, directory, meta };
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined || code === 'ENOENT' || code === 'ENOTDIR' || code === 'EISDIR') return null;
    throw error;
  }
}

type StoredFile = KernelMeta['source'] | KernelMeta['image'];

/** The bytes of a file, or null when it has gone or changed. */
export function readIfSound(kernel: StoredKernel, { file, sha256 }: StoredFile): Uint8Array | null {
  const bytes = readIfThere(join(kernel.directory, file));
  return bytes !== null && digestOf(bytes) === sha256 ? bytes : null;
}

/** @throws FracstrideError ERR_CACHE when it has gone or changed */
export function readVerified(kernel: StoredKernel, file: StoredFile): Uint8Array {
  const path = join(kernel.directory, file.file);
  const bytes = readIfSound(kernel, file);
  if (bytes !== null) return bytes;
  throw new FracstrideError('ERR_CACHE', `cache: ${path} must be as it was written, got other contents`);
}

/** The system's code of an error, e.g. `ENOENT`. */
export function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

function readIfThere(path: string): Uint8Array | null {
  try {
    return fs.readFileSync(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

/** SHA-256 of a text or of bytes, as it stands in a meta.json. */
export function digestOf(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}
