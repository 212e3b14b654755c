/**
 * The cases of test/kernels/operation_cases.ts on a CUDA device, each with its buffers at the beginning of an allocation
 * and one element further, where no access of 16 bytes is aligned. usage: operation_cli <type>,<type>…; prints JSON.
 */

import { argv } from 'node:process';
import { argumentsOf } from '../../codegen/kernel.js';
import { allDevices, synchronize, targetOf } from '../../src/device.js';
import { loadKernel } from '../../src/images.js';
import { native } from '../../src/native.js';
import type { OperationCase } from '../kernels/operation_cases.js';
import { checkOutput, GROUPS } from '../kernels/operation_check.js';
import { BYTES } from './kernels.js';

export interface OperationSummary {
  readonly ran: number;
  /** Names of the kernels that ran. */
  readonly kernels: readonly string[];
  readonly wrong: readonly string[];
  readonly damaged: number;
}

function main(types: readonly string[]): OperationSummary {
  native().debugMemory(true);
  const cases = Object.values(GROUPS).flatMap((make) => make().filter(({ spec }) => types.includes(spec.type)));
  const kernels = new Set<string>();
  const wrong: string[] = [];
  for (const each of cases) {
    for (const skipped of [0, 1]) {
      try {
        const [name, output] = runOnDevice(each, skipped);
        kernels.add(name);
        checkOutput(each, output, `${skipped} elements further`);
      } catch (error) {
        wrong.push(String(error));
      }
    }
  }
  return { ran: 2 * cases.length, kernels: [...kernels], wrong, damaged: native().checkGuards() };
}

/** The kernel that ran, and the bytes of its output; what it does not write to holds 0xFF. */
function runOnDevice({ spec, jobs }: OperationCase, skipped: number): [string, Uint8Array] {
  const addon = native();
  const device = allDevices()[1]!;
  const { name, handle } = loadKernel(device, { ...spec, target: targetOf(device) });
  const { operands, scalars, launch } = jobs[0]!;
  const buffers: number[] = [];
  let slot = 0;
  let output: { handle: number; bytes: Uint8Array } = { handle: 0, bytes: new Uint8Array() };
  for (const arg of argumentsOf(spec)) {
    if (arg.kind !== 'p') {
      addon.args[slot++] = scalars[arg.name]!;
      continue;
    }
    const operand = operands[arg.name] as Uint8Array | number;
    const contents = typeof operand === 'number' ? new Uint8Array(operand).fill(0xff) : operand;
    const skippedBytes =
      skipped * (arg.name === 'in' ? BYTES[spec.operation.slice(5) as keyof typeof BYTES] : BYTES[spec.type]);
    const buffer = addon.alloc(device.index, contents.length + skippedBytes);
    buffers.push(buffer);
    addon.copyIn(device.index, buffer, skippedBytes, contents);
    addon.args.set([buffer, skippedBytes, contents.length], slot);
    slot += 3;
    if (typeof operand === 'number') output = { handle: buffer, bytes: contents };
  }
  addon.grid.set([...launch.grid, ...launch.block, launch.sharedBytes]);
  addon.launch(device.index, handle);
  synchronize(device);
  const skippedBytes = skipped * BYTES[spec.type];
  addon.copyOut(device.index, output.handle, skippedBytes, output.bytes);
  for (const buffer of buffers) addon.free(device.index, buffer);
  return [name, output.bytes];
}

process.stdout.write(`${JSON.stringify(main((argv[2] ?? 'f32').split(',')))}\n`);
