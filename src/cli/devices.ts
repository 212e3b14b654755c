/** The devices of a command line: which are meant, and what they are. */

import { Option } from 'commander';
import { cpuModel } from '../cpu_model.js';
import { cpuIsa, cpuThreads, cudaDeviceInfo, cudaUnavailableReason, resolveDevice } from '../device.js';
import { FracstrideError } from '../errors.js';
import { native } from '../native.js';

/** `--device` of a command that takes one. */
export function deviceOption(otherwise: string): Option {
  return new Option('--device <device>', `cpu, cuda or cuda:N (default: ${otherwise})`);
}

/**
 * The names of the devices that are meant: all there are of the first two where none is named.
 *
 * @throws FracstrideError ERR_ARGUMENT, ERR_DEVICE_UNAVAILABLE with the reason
 */
export function checkedDevices(where: string, a: { device?: string; requireCuda?: true }): string[] {
  const { device, requireCuda } = a;
  if (device === 'auto' || device === '') {
    throw new FracstrideError('ERR_ARGUMENT', `${where}: --device must be cpu, cuda or cuda:N, got "${device}"`);
  }
  const named = device === undefined ? [] : [resolveDevice(where, device).name];
  if (requireCuda && named.includes('cpu')) {
    const sentence = `${where}: --device must be left out or cuda where --require-cuda is given, got "cpu"`;
    throw new FracstrideError('ERR_ARGUMENT', sentence);
  }
  const reason = cudaUnavailableReason();
  if (requireCuda && reason !== null) {
    const sentence = `${where}: a CUDA device must be available, got none; ${reason}`;
    throw new FracstrideError('ERR_DEVICE_UNAVAILABLE', sentence);
  }
  if (device !== undefined) return named;
  return reason === null ? ['cpu', 'cuda:0'] : ['cpu'];
}

export interface DeviceFacts {
  readonly device: string;
  readonly model: string;
  /** One line for people. */
  readonly text: string;
}

export function describeDevice(device: string): DeviceFacts {
  const { index } = resolveDevice('devices', device);
  if (index === 0) {
    const model = cpuModel();
    return { device, model, text: `cpu: ${model}, ${cpuIsa()}, ${counted(cpuThreads(), 'thread')}` };
  }
  const { name, arch, totalMemory } = cudaDeviceInfo(index - 1)!;
  return { device, model: name, text: `${device}: ${name}, sm_${arch}, ${(totalMemory / 2 ** 30).toFixed(1)} GiB` };
}

/** What a measurement on a device also depends on: versions of the libraries it uses. */
export function libraryVersions(device: string): { driver: number | null; cudnn: number | null } {
  if (resolveDevice('devices', device).index === 0) return { driver: null, cudnn: null };
  const { driverVersion } = native().cudaInfo();
  const { available, version } = native().cudnnInfo();
  return { driver: driverVersion, cudnn: available ? version : null };
}

/** `1 thread`, `2 threads`. */
export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}
