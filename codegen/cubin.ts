/**
 * What machine code holds: the instructions of a cubin and of its hottest loop, by operation. Reads the ELF file itself,
 * so that no disassembler is needed.
 *
 * From sm_70 on an instruction has 16 bytes, and the low 9 bits of it are its operation (bits 9 to 11 say where operands
 * come from). A branch has its distance in bits 34 to 81; from sm_90 on another 8 bits, the low ones, in 16 to 23. It
 * counts from the next instruction.
 */

import { FracstrideError } from './errors.js';

/** Operations by the low 9 bits, as far as anybody asks for them; the others count as `other`. */
const OPERATIONS: Readonly<Record<number, string>> = {
  2: 'MOV',
  7: 'SEL',
  11: 'FSETP',
  12: 'ISETP',
  16: 'IADD3',
  17: 'LEA',
  18: 'LOP3',
  22: 'PRMT',
  25: 'SHF',
  32: 'FMUL',
  33: 'FADD',
  35: 'FFMA',
  36: 'IMAD',
  37: 'IMAD.WIDE',
  43: 'DFMA',
  59: 'LDSM',
  60: 'HMMA',
  282: 'DEPBAR',
  285: 'BAR',
  327: 'BRA',
  385: 'LDG',
  386: 'LDC',
  387: 'LDL',
  388: 'LDS',
  390: 'STG',
  391: 'STL',
  392: 'STS',
  430: 'LDGSTS',
  431: 'LDGDEPBAR',
};

const INSTRUCTION_BYTES = 16;
const BRANCH = 0x147;
/** Operations that are a kernel's work; everything else in a loop is what it costs to get there. */
const WORK = ['FFMA', 'HMMA', 'DFMA'] as const;

export interface Mix {
  readonly instructions: number;
  readonly operations: Readonly<Record<string, number>>;
}

export interface Loop extends Mix {
  /** The operation that the loop has most of, among the multiply-adds. */
  readonly work: (typeof WORK)[number];
  /** Its share of the loop's instructions. */
  readonly share: number;
}

export interface MachineCode {
  readonly whole: Mix;
  /** Of the innermost loops that multiply the one with most multiply-adds, the shortest of those; null where none does. */
  readonly hottest: Loop | null;
}

/**
 * The instructions of one kernel.
 *
 * @throws FracstrideError ERR_ARGUMENT when the image is no cubin that holds the kernel
 */
export function machineCode(cubin: Uint8Array, kernel: string): MachineCode {
  const { arch, code } = textSection(cubin, kernel);
  const count = Math.floor(code.byteLength / INSTRUCTION_BYTES);
  const loops = Array.from({ length: count }, (_, at) => loopEndingAt(code, at, arch)).filter((loop) => loop !== null);
  const working = loops
    .map((range) => ({ range, loop: loopOf(mixOf(code, range[0], range[1] + 1)) }))
    .filter(({ loop }) => multiplyAdds(loop) > 0);
  const innermost = working.filter(({ range }) => !working.some((other) => isInside(other.range, range)));
  const mixes = innermost.map(({ loop }) => loop);
  const best = mixes.sort((a, b) => multiplyAdds(b) - multiplyAdds(a) || a.instructions - b.instructions)[0];
  return {
    whole: mixOf(code, 0, count),
    hottest: best ?? null,
  };
}

type Range = readonly [first: number, last: number];

/** Whether a loop lies in another one; ways back to one beginning are one loop. */
function isInside(inner: Range, outer: Range): boolean {
  return inner[0] > outer[0] && inner[1] <= outer[1];
}

function multiplyAdds(loop: Loop): number {
  return loop.operations[loop.work] ?? 0;
}

function loopOf(mix: Mix): Loop {
  const count = (name: string) => mix.operations[name] ?? 0;
  const work = [...WORK].sort((a, b) => count(b) - count(a))[0]!;
  return { ...mix, work, share: count(work) / mix.instructions };
}

/** First and last instruction of the loop that a branch backwards closes; null for anything else. */
function loopEndingAt(code: DataView, at: number, arch: number): Range | null {
  if (operationAt(code, at) !== BRANCH) return null;
  const low = code.getBigUint64(at * INSTRUCTION_BYTES, true);
  const high = code.getBigUint64(at * INSTRUCTION_BYTES + 8, true);
  const field = BigInt.asIntN(48, (low >> 34n) | (high << 30n));
  const words = arch >= 90 ? (field << 8n) | ((low >> 16n) & 0xffn) : field;
  const target = at + 1 + Number(words * 4n) / INSTRUCTION_BYTES;
  return Number.isInteger(target) && target >= 0 && target < at ? [target, at] : null;
}

function operationAt(code: DataView, at: number): number {
  return code.getUint16(at * INSTRUCTION_BYTES, true) & 0x1ff;
}

function mixOf(code: DataView, first: number, end: number): Mix {
  const operations: Record<string, number> = {};
  for (let at = first; at < end; at++) {
    const name = OPERATIONS[operationAt(code, at)] ?? 'other';
    operations[name] = (operations[name] ?? 0) + 1;
  }
  return { instructions: end - first, operations };
}

/** Section `.text.<kernel>` of a 64-bit little-endian ELF file, and the architecture that the file is for. */
function textSection(cubin: Uint8Array, kernel: string): { arch: number; code: DataView } {
  const file = new DataView(cubin.buffer, cubin.byteOffset, cubin.byteLength);
  const refuse = (got: string) =>
    new FracstrideError('ERR_ARGUMENT', `cubin: the image must hold machine code of ${kernel}, got ${got}`);
  if (file.byteLength < 64 || file.getUint32(0, true) !== 0x464c457f) throw refuse('no ELF file');
  const headers = Number(file.getBigUint64(40, true));
  const [size, count, names] = [file.getUint16(58, true), file.getUint16(60, true), file.getUint16(62, true)];
  const section = (i: number) => {
    const at = headers + i * size;
    const offset = Number(file.getBigUint64(at + 24, true));
    return { name: file.getUint32(at, true), offset, bytes: Number(file.getBigUint64(at + 32, true)) };
  };
  const strings = section(names).offset;
  const nameOf = (from: number) => {
    const end = cubin.indexOf(0, strings + from);
    return new TextDecoder().decode(cubin.subarray(strings + from, end));
  };
  const found = Array.from({ length: count }, (_, i) => section(i)).find(
    ({ name }) => nameOf(name) === `.text.${kernel}`,
  );
  if (found === undefined) throw refuse('an ELF file without it');
  return { arch: archOf(file), code: new DataView(cubin.buffer, cubin.byteOffset + found.offset, found.bytes) };
}

/** The flags of the header: the architecture is in their low byte, in newer files (ELF ABI 8) in the second. */
function archOf(file: DataView): number {
  const flags = file.getUint32(48, true);
  return file.getUint8(8) >= 8 ? (flags >> 8) & 0xff : flags & 0xff;
}
