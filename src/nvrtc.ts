/** NVRTC, the compiler that is a library, as a compiler of codegen/toolchain.ts. It is opened when it is first asked for. */

import { FracstrideError } from '../codegen/errors.js';
import { type Target, targetFlag } from '../codegen/target.js';
import {
  architectureFor,
  type CompileRequest,
  type Compiler,
  formatsFor,
  type Image,
  type ImageFormat,
  parseResources,
} from '../codegen/toolchain.js';
import { translate } from './device.js';
import { native } from './native.js';

/** @throws FracstrideError ERR_KERNEL_COMPILE with the reason when there is none */
export function nvrtc(): Compiler {
  const { available, reason, major, minor, architectures } = native().nvrtcInfo();
  if (!available)
    throw new FracstrideError('ERR_KERNEL_COMPILE', `toolchain: NVRTC must be there, got none: ${reason}`);
  const compileSync = (request: CompileRequest) =>
    compile(request, flagsFor(request.target, request.format, architectures));
  return {
    id: `nvrtc ${major}.${minor}`,
    formats: (target) => formatsFor(target, architectures),
    flags: (target, format) => flagsFor(target, format, architectures),
    compile: async (request) => compileSync(request),
    compileSync,
  };
}

function flagsFor(target: Target, format: ImageFormat, known: readonly number[]): string[] {
  const architecture = architectureFor(target, format, known);
  if (architecture === null) {
    const sentence = `toolchain: target must be one that this NVRTC makes ${format} for, got ${targetFlag(target)}`;
    throw new FracstrideError('ERR_ARGUMENT', sentence);
  }
  return [`--gpu-architecture=${architecture}`, '--std=c++17'];
}

function compile({ name, source, format }: CompileRequest, flags: string[]): Image {
  const { image, log } = translate(() => native().nvrtcCompile(name, source, flags, format === 'cubin'));
  return { format, bytes: image, resources: parseResources(log) };
}
