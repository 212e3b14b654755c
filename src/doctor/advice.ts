/** What is missing on a machine, what that means, and the next step, in sentences. */

import { existsSync } from 'node:fs';
import type { Facts } from './facts.js';

export interface Advice {
  /** Whether something cannot be done, or could be done better. */
  readonly kind: 'missing' | 'note';
  readonly what: string;
  readonly means: string;
  readonly next: string;
}

type Rule = (facts: Facts) => Advice | null;

/** The oldest architecture that kernels are made for. */
const OLDEST = 75;

const missing = (what: string, means: string, next: string): Advice => ({ kind: 'missing', what, means, next });
const note = (what: string, means: string, next: string): Advice => ({ kind: 'note', what, means, next });

const isFile = (name: string): boolean => /LIBCUDA$|LIBCUDNN$|LIBNVRTC$/.test(name);

const RULES: readonly Rule[] = [
  ({ addon }) =>
    addon.reason === null
      ? null
      : missing(
          'The native addon cannot be loaded.',
          'Nothing can be computed, on any device.',
          `${capital(addon.reason)}.`,
        ),

  ({ environment }) => {
    const wrong = Object.entries(environment).find(
      ([name, path]) => isFile(name) && path.includes('/') && !existsSync(path),
    );
    if (wrong === undefined) return null;
    const [name, path] = wrong;
    return missing(
      `${name} names a file that is not there: ${path}.`,
      'No other place is looked in while it is set.',
      'Correct the path, or unset the variable to have the usual places looked in.',
    );
  },

  ({ addon, driver, environment: { FRACSTRIDE_LIBCUDA: chosen } }) => {
    if (addon.reason !== null || driver.version !== null) return null;
    if (chosen !== undefined) {
      if (chosen.includes('/') && !existsSync(chosen)) return null;
      const next = 'Unset FRACSTRIDE_LIBCUDA to have the driver of this machine taken.';
      return missing('The library that FRACSTRIDE_LIBCUDA names cannot be used.', `${plain(driver.reason)}.`, next);
    }
    return missing(
      'No CUDA driver was found.',
      'Everything runs on the CPU.',
      "If this machine has an NVIDIA GPU, install NVIDIA's driver. A container gets the driver of its host when it is started with '--gpus all'.",
    );
  },

  ({ driver }) => {
    if (driver.version === null || driver.reason === null) return null;
    return missing(
      `The CUDA driver ${driver.version} is there, but no device can be used.`,
      `${plain(driver.reason)}.`,
      "See what 'nvidia-smi' reports, and whether CUDA_VISIBLE_DEVICES hides the devices.",
    );
  },

  ({ driver }) => {
    const old = driver.devices.find(({ arch }) => arch < OLDEST);
    if (driver.reason !== null || old === undefined) return null;
    return missing(
      `${old.name} has compute capability ${old.arch / 10}.`,
      `Kernels are made for ${OLDEST / 10} and newer, so this device runs none.`,
      'Use a newer GPU, or the CPU.',
    );
  },

  ({ driver, nvrtc, nvcc }) => {
    if (driver.reason !== null || nvrtc.version !== null || nvcc.version !== null) return null;
    return missing(
      'There is no compiler for kernels: neither NVRTC nor nvcc was found.',
      'Kernels that are built in or in the cache run; any other is an error when it is first needed.',
      "Install the CUDA toolkit, or its NVRTC library alone. Or run 'fracstride record -- node your_program.js' here, 'fracstride build' on a machine that has a toolkit, and copy its cache to this one.",
    );
  },

  ({ driver, nvrtc, nvcc }) => {
    const newest = Math.max(...nvrtc.architectures);
    const device = driver.reason === null ? driver.devices.find(({ arch }) => arch > newest) : undefined;
    if (device === undefined || nvrtc.version === null || nvcc.version !== null) return null;
    return note(
      `NVRTC ${nvrtc.version} is older than ${device.name}.`,
      `It makes PTX for sm_${newest}, which the driver finishes for this device: that takes longer the first time.`,
      'Install the NVRTC of the driver, or a newer one.',
    );
  },

  ({ driver, cudnn }) => {
    if (driver.reason !== null || cudnn.version !== null) return null;
    return note(
      'cuDNN cannot be used.',
      "Nothing is lost but a choice: this package's own kernels compute everything.",
      "To have cuDNN's algorithms compete with them, install cuDNN 9 for your CUDA version, or set FRACSTRIDE_LIBCUDNN.",
    );
  },

  ({ addon, driver, nvrtc, nvcc }) => {
    if (addon.reason !== null || driver.version !== null) return null;
    const compiler =
      nvrtc.version !== null ? `NVRTC ${nvrtc.version}` : nvcc.version !== null ? `nvcc ${nvcc.version}` : null;
    if (compiler === null) return null;
    return note(
      `${compiler} is here, so kernels for GPUs can be compiled without one.`,
      'They can be given to a machine that has a GPU and no toolkit.',
      "Run 'fracstride build full --target sm_80,sm_90' here, and copy the kernel cache there.",
    );
  },

  ({ cache }) => {
    if (cache.reason === null) return null;
    return missing(
      'The kernel cache is refused.',
      `${capital(cache.reason)}.`,
      `Make it yours alone ('chmod go-w ${cache.path}'), or choose another with FRACSTRIDE_CACHE_DIR.`,
    );
  },

  ({ cache }) => {
    if (cache.reason !== null || cache.writable) return null;
    return missing(
      'The kernel cache cannot be written to.',
      'A kernel that has to be compiled is compiled again by every process.',
      `Make ${cache.path} writable, or choose another place with FRACSTRIDE_CACHE_DIR.`,
    );
  },

  ({ environment }) =>
    environment.FRACSTRIDE_NO_JIT !== '1'
      ? null
      : note(
          'FRACSTRIDE_NO_JIT is 1.',
          'No kernel is compiled when it is needed: one that is neither built in nor in the cache is an error.',
          'Unset it to have kernels compiled.',
        ),
];

export function adviceFor(facts: Facts): Advice[] {
  return RULES.flatMap((rule) => rule(facts) ?? []);
}

/** One sentence: what runs here. */
export function verdictFor({ addon, driver, cudnn }: Facts): string {
  if (addon.reason !== null) return 'Nothing runs here yet.';
  const cpu = `the CPU (${addon.instructionSets[0]}, ${addon.threads === 1 ? '1 thread' : `${addon.threads} threads`})`;
  if (driver.reason !== null || driver.devices.length === 0) return `Ready on ${cpu}.`;
  const names = driver.devices.map(({ name }, i) => `cuda:${i} (${name})`).join(', ');
  return `Ready on ${cpu} and on ${names}, ${cudnn.version === null ? 'without' : 'with'} cuDNN. 'fracstride verify' checks that all of it computes what it should.`;
}

/** A reason without the advice in it, which is given here. */
function plain(reason: string | null): string {
  return capital((reason ?? '').replace(/; (install|set) .*$/, ''));
}

function capital(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1).replace(/\.$/, '');
}
