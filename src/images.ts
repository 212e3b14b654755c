/**
 * Spec → an image that the device takes → something launchable. Images are looked for where they cost least: built into
 * the addon, in the kernel cache, compiled now. What a driver refuses (machine code of another architecture, PTX newer
 * than the driver) is passed over for the next one, and remembered, so that no more of its kind are compiled.
 */

import { entryOf, planKernel, requestOf } from '../codegen/build.js';
import { FracstrideError } from '../codegen/errors.js';
import { argumentsOf, type KernelSpec, nameOf, specOfName, textOf } from '../codegen/kernel.js';
import { kindText } from '../codegen/passes.js';
import { defaultStoreDirectory, type KernelStore, openStore } from '../codegen/store.js';
import { targetName } from '../codegen/target.js';
import { type Compiler, findNvcc, formatOf, IMAGE_FORMATS, type ImageFormat, nvcc } from '../codegen/toolchain.js';
import { type Device, debug, debugging, translate, verbs } from './device.js';
import { nvrtc } from './nvrtc.js';

export interface LoadedKernel {
  /** Of the kernel that was loaded: the portable one's where no other is to be had. */
  readonly name: string;
  readonly handle: number;
}

/** An image that may be what is wanted; null is the one in the addon. */
interface Offer {
  readonly name: string;
  readonly format: ImageFormat;
  readonly image: Uint8Array | null;
  /** What made it, for people and for what is remembered of refusals. */
  readonly by: string;
}

/** One look-up: where it stands, and why each thing tried was not it. */
interface Search {
  readonly device: Device;
  readonly spec: KernelSpec;
  readonly name: string;
  readonly tried: string[];
}

/** By device: `<format> <what made it>` of images that its driver refused. */
const refusals = new Map<number, Set<string>>();
const stores = new Map<string, KernelStore>();
const compilers = new Map<string, Compiler>();

/**
 * Loads the kernel of a spec onto a device.
 *
 * @throws FracstrideError ERR_KERNEL_NOT_PREBUILT under FRACSTRIDE_NO_JIT, ERR_KERNEL_COMPILE with all that was tried,
 * ERR_CACHE for a cache that is not to be trusted
 */
export function loadKernel(device: Device, spec: KernelSpec): LoadedKernel {
  const name = nameOf(spec);
  if (debugging(4)) debug(4, `the text of ${name}\n${textOf(spec)}`);
  const kinds = argumentsOf(spec).map(kindText).join('');
  if (spec.target.kind === 'cpu') return { name, handle: load(device, { name, image: null }, kinds) };
  const search: Search = { device, spec, name, tried: [] };
  for (const offer of offers(search)) {
    try {
      const loaded = { name: offer.name, handle: load(device, offer, kinds) };
      debug(3, `${device.name} took ${offer.name}, ${offer.format} of ${offer.by}`);
      return loaded;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      refused(device).add(`${offer.format} ${offer.by}`);
      search.tried.push(`${offer.format} of ${offer.by} was refused (${error.message.replace(/^.*?, got /, '')})`);
    }
  }
  throw nothing(search);
}

function load(device: Device, { name, image }: Pick<Offer, 'name' | 'image'>, kinds: string): number {
  return translate(() => verbs().load(device.index, name, kinds, image));
}

/** Lazily: what comes later costs more. */
function* offers(search: Search): Generator<Offer> {
  const { device, spec, tried } = search;
  const builtIn = new Set(verbs().kernelNames(device.index));
  for (const each of [spec, ...portable(spec)]) {
    const name = nameOf(each);
    const place = { name, format: formatOf(each.target), image: null };
    if (builtIn.has(name)) yield { ...place, by: 'the addon' };
    yield* stored(search, each);
  }
  if (tried.length === 0) tried.push(`none is built in or in ${defaultStoreDirectory()}`);
  if (process.env.FRACSTRIDE_NO_JIT !== '1') yield* compiled(search);
}

/** The kernel for any architecture that has the same text; none where the spec is that one, or is not for all. */
function portable(spec: KernelSpec): KernelSpec[] {
  if (spec.target.kind === 'ptx') return [];
  const zone = targetName(spec.target);
  try {
    return [specOfName(`${nameOf(spec).slice(0, -zone.length)}ptx`)];
  } catch {
    return [];
  }
}

function* stored({ device }: Search, spec: KernelSpec): Generator<Offer> {
  const store = cache();
  const name = nameOf(spec);
  const source = () => textOf(spec);
  for (const format of preferred(device, IMAGE_FORMATS)) {
    for (const kernel of usable([], () => store.matching({ name, source, format }))) {
      const image = usable(null, () => store.imageOf(kernel));
      if (image !== null) yield { name, format, image, by: kernel.meta.compiler };
    }
  }
}

function* compiled(search: Search): Generator<Offer> {
  const { device, spec, name, tried } = search;
  for (const find of [nvrtc, installedNvcc]) {
    const compiler = attempt(search, find);
    if (compiler === null) continue;
    const formats = compiler.formats(spec.target);
    if (formats.length === 0) tried.push(`${compiler.id} makes nothing for ${device.name}`);
    for (const format of preferred(device, formats)) {
      if (refused(device).has(`${format} ${compiler.id}`)) {
        tried.push(`${format} of ${compiler.id} was refused before`);
        continue;
      }
      const image = attempt(search, () => compile(spec, format, compiler));
      if (image !== null) yield { name, format, image, by: compiler.id };
    }
  }
}

/** From the text to an image in the cache, unless another process has just done so. */
function compile(spec: KernelSpec, format: ImageFormat, compiler: Compiler): Uint8Array {
  const store = cache();
  return store.exclusively(nameOf(spec), () => {
    const planned = planKernel(spec, { store, compiler }, [format])[0]!;
    const there = planned.stored === null ? null : usable(null, () => store.imageOf(planned.stored!));
    if (there !== null) return there;
    const started = performance.now();
    const image = compiler.compileSync(requestOf(planned));
    const seconds = ((performance.now() - started) / 1000).toFixed(2);
    debug(1, `compiled ${planned.name} to ${format} with ${compiler.id} in ${seconds} s`);
    usable(null, () => store.put(entryOf(planned, image, compiler)));
    return image.bytes;
  });
}

/** A cache that the system does not let us use is no reason not to run; one that is not trusted is. */
function usable<T>(otherwise: T, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof FracstrideError) || error.code !== 'ERR_CACHE' || error.cause === undefined) throw error;
    debug(1, error.message);
    return otherwise;
  }
}

/** Formats that the device has refused come last. */
function preferred(device: Device, formats: readonly ImageFormat[]): ImageFormat[] {
  const seen = [...refused(device)];
  const bad = (format: ImageFormat) => seen.some((words) => words.startsWith(`${format} `));
  return [...formats.filter((format) => !bad(format)), ...formats.filter(bad)];
}

function refused(device: Device): Set<string> {
  const known = refusals.get(device.index) ?? new Set<string>();
  refusals.set(device.index, known);
  return known;
}

/** Null where there is no such compiler or it does not compile this; the reason is noted. */
function attempt<T>({ tried }: Search, work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (!isRefusal(error)) throw error;
    tried.push(error.message);
    return null;
  }
}

function isRefusal(error: unknown): error is FracstrideError {
  return error instanceof FracstrideError && error.code === 'ERR_KERNEL_COMPILE';
}

function installedNvcc(): Compiler {
  const path = findNvcc() ?? '';
  const found = compilers.get(path) ?? nvcc();
  compilers.set(path, found);
  return found;
}

function cache(): KernelStore {
  const directory = defaultStoreDirectory();
  const found = stores.get(directory) ?? openStore(directory, { onBroken });
  stores.set(directory, found);
  return found;
}

function onBroken({ entry, reason, movedTo }: { entry: string; reason: string; movedTo: string }): void {
  debug(1, `cache: moved ${entry} aside to ${movedTo}: ${reason}`);
}

function nothing({ device, name, tried }: Search): FracstrideError {
  const cubinsRefused = preferred(device, IMAGE_FORMATS)[0] === 'ptx';
  const command = `'fracstride build ${name}${cubinsRefused && !name.endsWith('__ptx') ? ' --format ptx' : ''}'`;
  const why = tried.join('; ');
  if (process.env.FRACSTRIDE_NO_JIT === '1') {
    const rule = 'built ahead of time, as FRACSTRIDE_NO_JIT is 1';
    const sentence = `kernels: ${name} must be ${rule}, got no image that ${device.name} takes: ${why}; ${command} makes it`;
    return new FracstrideError('ERR_KERNEL_NOT_PREBUILT', sentence);
  }
  const advice =
    refused(device).size > 0
      ? 'the driver may be older than what made them'
      : `install NVRTC or nvcc, or run ${command} where there is one and bring its cache along`;
  const sentence = `kernels: ${name} must have an image that ${device.name} takes, got none: ${why}; ${advice}`;
  return new FracstrideError('ERR_KERNEL_COMPILE', sentence);
}
