/**
 * A stand-in for nvcc that every machine can run: a shell script that tells a version, writes an image made of its
 * input, reports resources like ptxas, and keeps a log of what it compiled. For tests of what happens around a compiler.
 */

import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { CUDA_ARCHITECTURES } from '../../codegen/target.js';

export interface FakeNvcc {
  /** An environment in which it is the nvcc that is found. */
  readonly environment: Record<string, string | undefined>;
  /** Names of the kernels it compiled since the last call. */
  compiled(): string[];
}

/** `refuses`: a pattern of kernel names that do not compile; `seconds`: what one compilation takes; `architectures`: those it knows. */
export function fakeNvcc(
  folder: string,
  options: { version?: string; refuses?: string; seconds?: number; architectures?: readonly number[] } = {},
): FakeNvcc {
  const { version = '99.0.1', refuses = '', seconds = 0, architectures = CUDA_ARCHITECTURES } = options;
  mkdirSync(folder, { recursive: true });
  const log = join(folder, 'log');
  writeFileSync(join(folder, 'nvcc'), script({ version, refuses, seconds, architectures, log }));
  chmodSync(join(folder, 'nvcc'), 0o755);
  return {
    environment: { ...process.env, PATH: `${folder}${delimiter}${process.env.PATH}`, CUDA_HOME: '', CUDA_PATH: '' },
    compiled: () => {
      const names = existsSync(log) ? readFileSync(log, 'utf8').split('\n').filter(Boolean) : [];
      writeFileSync(log, '');
      return names.sort();
    },
  };
}

function script(a: {
  version: string;
  architectures: readonly number[];
  refuses: string;
  seconds: number;
  log: string;
}): string {
  return `#!/bin/sh
if [ "$1" = --version ]; then echo "Cuda compilation tools, release 99, V${a.version}"; exit 0; fi
if [ "$1" = --list-gpu-code ]; then for arch in ${a.architectures.join(' ')}; do echo "sm_$arch"; done; exit 0; fi
while [ $# -gt 0 ]; do
  case "$1" in
    -o) output="$2"; shift ;;
    *.cu) input="$1" ;;
    -cubin|-ptx) format="\${1#-}" ;;
  esac
  shift
done
name=$(basename "$input" .cu)
sleep ${a.seconds}
case "$name" in
  ${a.refuses === '' ? '"no name"' : a.refuses}) echo "$input(7): error: the fake refuses" >&2; exit 2 ;;
esac
{ echo "fake $format"; cat "$input"; } > "$output"
echo "ptxas info    : Compiling entry function '$name' for 'sm_90'" >&2
echo "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" >&2
echo "ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 400 bytes cmem[0], 8 bytes cmem[2]" >&2
echo "$name" >> "${a.log}"
`;
}
