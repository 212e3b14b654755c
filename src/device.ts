/**
 * Devices by name, and their verbs on behalf of everything above: the only user of the addon. Device 0 of the addon is
 * the CPU, device 1 + i is CUDA device i.
 */

import { CPU_ISAS, type CpuIsa, CUDA_ARCHITECTURES, type Target } from '../codegen/target.js';
import { cpuModel } from './cpu_model.js';
import { ERROR_CODES, FracstrideError, show } from './errors.js';
import { type CudaDeviceInfo, type MemoryInfo, type Native, native } from './native.js';

export type DeviceName = 'cpu' | `cuda:${number}`;

export interface Device {
  readonly name: DeviceName;
  /** Number of the device in the addon. */
  readonly index: number;
}

const CPU: Device = Object.freeze({ name: 'cpu', index: 0 });
const cudaDevices: Device[] = [];

/**
 * The device a name stands for: 'cpu', 'cuda' (the first), 'cuda:N', or 'auto' (CUDA where it can run, else the CPU).
 * Undefined means FRACSTRIDE_DEVICE, or 'auto'.
 *
 * @throws FracstrideError ERR_ARGUMENT for another name, ERR_DEVICE_UNAVAILABLE with the reason
 */
export function resolveDevice(where: string, wanted: unknown): Device {
  const name = wanted ?? process.env.FRACSTRIDE_DEVICE ?? 'auto';
  if (name === 'cpu') return CPU;
  if (name === '' || name === 'auto') return automatic();
  const match = typeof name === 'string' ? /^cuda(?::(\d{1,3}))?$/.exec(name) : null;
  if (match === null) {
    throw new FracstrideError(
      'ERR_ARGUMENT',
      `${where}: device must be 'cpu', 'cuda', 'cuda:N' or 'auto', got ${show(name)}`,
    );
  }
  return cudaDevice(where, Number(match[1] ?? 0));
}

function cudaDevice(where: string, i: number): Device {
  const reason = cudaUnavailableReason();
  if (reason !== null) {
    throw new FracstrideError(
      'ERR_DEVICE_UNAVAILABLE',
      `${where}: device must be available, got "cuda:${i}"; ${reason}`,
    );
  }
  const count = native().cudaInfo().devices.length;
  if (i >= count) {
    throw new FracstrideError(
      'ERR_DEVICE_UNAVAILABLE',
      `${where}: device must be cuda:0 … cuda:${count - 1}, got "cuda:${i}"`,
    );
  }
  cudaDevices[i] ??= Object.freeze({ name: `cuda:${i}` as const, index: 1 + i });
  return cudaDevices[i];
}

let told = false;

function automatic(): Device {
  const reason = cudaUnavailableReason();
  if (!told) debug(1, reason === null ? "device 'auto' is cuda:0" : `device 'auto' is the cpu; ${reason}`);
  told = true;
  return reason === null ? cudaDevice('auto', 0) : CPU;
}

/** One sentence that says why no CUDA device can be used, or null. */
export function cudaUnavailableReason(): string | null {
  const info = native().cudaInfo();
  return info.available ? null : (info.reason ?? 'the driver reports no device');
}

export function cudaDeviceInfo(i: number): CudaDeviceInfo | undefined {
  return native().cudaInfo().devices[i];
}

/** How many CUDA devices tensors can live on. */
export function cudaDeviceCount(): number {
  return cudaUnavailableReason() === null ? native().cudaInfo().devices.length : 0;
}

/** Every device of this process, the CPU first. */
export function allDevices(): Device[] {
  return [CPU, ...Array.from({ length: cudaDeviceCount() }, (_, i) => cudaDevice('devices', i))];
}

/** Where kernels of a device are built for. */
export function targetOf(device: Device): Target {
  if (device.index === 0) return { kind: 'cpu', isa: cpuIsa() };
  const arch = cudaDeviceInfo(device.index - 1)?.arch ?? 0;
  const known = CUDA_ARCHITECTURES.find((value) => value === arch);
  return known === undefined ? { kind: 'ptx' } : { kind: 'cuda', arch: known };
}

let isa: CpuIsa | undefined;
let generation = 0;

/** The instruction sets this machine runs and this build holds kernels for, best first. */
export function availableIsas(): CpuIsa[] {
  const present = native().cpuInfo().isas;
  return CPU_ISAS.filter((name) => present.includes(name));
}

export function cpuIsa(): CpuIsa {
  isa ??= availableIsas()[0] ?? 'baseline';
  return isa;
}

/** Kernels looked up from now on are those of this instruction set. */
export function setCpuIsa(name: CpuIsa): void {
  if (name !== cpuIsa()) generation++;
  isa = name;
}

/** Changes whenever the choice of kernels may. */
export function kernelGeneration(): number {
  return generation;
}

let choice = 0;

/** Changes whenever a setting has that the choice among kernels depends on; those that are known stay loaded. */
export function choiceGeneration(): number {
  return choice;
}

/** What is looked up from now on is chosen anew. */
export function changeChoice(): void {
  choice++;
}

export function cpuThreads(): number {
  return native().cpuInfo().threads;
}

export function setCpuThreads(count: number): void {
  native().setThreads(count);
}

/**
 * A buffer; returns its handle.
 *
 * @throws FracstrideError ERR_OUT_OF_MEMORY, also for what the system would grant and could not keep
 */
export function allocate(device: Device, bytes: number): number {
  if (!(bytes <= Number.MAX_SAFE_INTEGER))
    throw new FracstrideError('ERR_OUT_OF_MEMORY', `alloc: size must be at most 2^53 bytes, got ${bytes}`);
  try {
    return translate(() => native().alloc(device.index, bytes));
  } catch (error) {
    if (!(error instanceof FracstrideError) || error.code !== 'ERR_OUT_OF_MEMORY' || !relieve(device)) throw error;
    return translate(() => native().alloc(device.index, bytes));
  }
}

let relieve = (_device: Device): boolean => false;

/** Asks `give` to let go of what can be made again, when memory is short; it says whether there was any. */
export function relieveWith(give: (device: Device) => boolean): void {
  relieve = give;
}

export function release(device: Device, handle: number): void {
  native().free(device.index, handle);
}

export function copyIn(device: Device, handle: number, source: ArrayBufferView): void {
  refuseRecording(device, 'making a tensor from data', 'make it before, and write into it with copy_');
  if (source.byteLength > 0) translate(() => native().copyIn(device.index, handle, 0, source));
}

export function copyOut(device: Device, handle: number, byteOffset: number, target: ArrayBufferView): void {
  if (target.byteLength > 0) translate(() => native().copyOut(device.index, handle, byteOffset, target));
}

/** As `copyOut`, without waiting: resolves once the work asked for so far has run and its result is there. */
export async function copyOutAsync(
  device: Device,
  handle: number,
  byteOffset: number,
  target: ArrayBufferView,
): Promise<void> {
  try {
    if (target.byteLength > 0) await native().copyOutAsync(device.index, handle, byteOffset, target);
  } catch (cause) {
    throw translated(cause);
  }
}

let recorded: Device | null = null;

/** The device whose work is recorded into a graph now instead of running, or null. */
export function recording(): Device | null {
  return recorded;
}

/** Whether launches on this device are being recorded into a graph. */
export function isCapturing(device: Device): boolean {
  return recorded === device;
}

/** @throws FracstrideError ERR_ARGUMENT while work of this device is recorded, for what a graph cannot hold */
export function refuseRecording(device: Device, what: string, reason: string): void {
  if (recorded !== device) return;
  throw new FracstrideError(
    'ERR_ARGUMENT',
    `cuda.graph: ${what} must be done outside of fn, got it while a graph is recorded; ${reason}`,
  );
}

export function beginCapture(device: Device): void {
  translate(() => native().beginCapture(device.index));
  recorded = device;
}

/** A handle of what was recorded; recording has ended even if it throws. */
export function endCapture(device: Device): number {
  recorded = null;
  return translate(() => native().endCapture(device.index));
}

/** Ends a recording of no use; does nothing when there is none. */
export function abortCapture(device: Device): void {
  recorded = null;
  translate(() => native().abortCapture(device.index));
}

export function replayGraph(device: Device, graph: number): void {
  translate(() => native().replayGraph(device.index, graph));
}

export function freeGraph(device: Device, graph: number): void {
  translate(() => native().freeGraph(device.index, graph));
}

export function synchronize(device: Device): void {
  refuseRecording(device, 'waiting for the device', 'nothing runs until the graph is replayed');
  translate(() => native().sync(device.index));
}

/** What kernels and times on a device depend on: its name, its architecture, its driver. */
export function identityOf(device: Device): string {
  const info = cudaDeviceInfo(device.index - 1);
  return info === undefined ? device.name : `${info.name} ${info.arch} driver ${native().cudaInfo().driverVersion}`;
}

/** What all devices like this one have in common; times on one are thought to be those on another. */
export function modelOf(device: Device): string {
  const info = cudaDeviceInfo(device.index - 1);
  if (info !== undefined) return `${info.name} sm_${info.arch}`;
  return `${cpuModel()} ${cpuIsa()} ${cpuThreads()} threads`;
}

/** Bytes of memory that a device has. */
export function totalMemoryOf(device: Device): number {
  return cudaDeviceInfo(device.index - 1)?.totalMemory ?? 0;
}

export function memoryOf(device: Device): MemoryInfo {
  return native().memory(device.index);
}

export function emptyCacheOf(device: Device): void {
  relieve(device);
  translate(() => native().emptyCache(device.index));
}

export function setMemoryLimitOf(device: Device, bytes: number): void {
  native().setMemoryLimit(device.index, bytes);
}

/** The addon's argument staging area, its loader and its launch, for kernels.ts. */
export function verbs(): Native {
  return native();
}

/** Runs a verb of the addon; what it throws becomes a FracstrideError of the same code. */
export function translate<R>(verb: () => R): R {
  try {
    return verb();
  } catch (cause) {
    throw translated(cause);
  }
}

/** What the addon threw, as a FracstrideError of the same code. */
function translated(cause: unknown): unknown {
  if (cause instanceof FracstrideError || !(cause instanceof Error)) return cause;
  const code = (cause as { code?: unknown }).code;
  const known = ERROR_CODES.find((value) => value === code) ?? 'ERR_BINDING';
  return new FracstrideError(known, cause.message, { cause });
}

const level = Number(process.env.FRACSTRIDE_DEBUG ?? 0) || 0;

/** Whether FRACSTRIDE_DEBUG asks for this much. */
export function debugging(atLeast: number): boolean {
  return level >= atLeast;
}

/** One line on stderr where FRACSTRIDE_DEBUG asks for this much. */
export function debug(atLeast: number, line: string): void {
  if (level >= atLeast) process.stderr.write(`fracstride: ${line}\n`);
}
