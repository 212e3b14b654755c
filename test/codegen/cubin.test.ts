/** Machine code is read as it lies: a file made here by hand, and what nvcc makes of a kernel. */

import { expect } from 'chai';
import { machineCode } from '../../codegen/cubin.js';
import { textOf } from '../../codegen/kernel.js';
import { parseKernelName } from '../../codegen/spec.js';
import { findNvcc, nvcc } from '../../codegen/toolchain.js';

const [FFMA, LDS, BRA, EXIT] = [0x223, 0x984, 0x947, 0x94d];

/** A branch that goes back by this many instructions, as sm_80 and sm_90 have it. */
function branch(back: number, arch: number): readonly [bigint, bigint] {
  const words = BigInt(-(back + 1) * 4);
  const field = arch >= 90 ? words >> 8n : words;
  const low = arch >= 90 ? (words & 0xffn) << 16n : 0n;
  return [BigInt(BRA) | low | BigInt.asUintN(64, field << 34n), BigInt.asUintN(48, field) >> 30n];
}

/** The ELF file of a kernel `k`: a header, its code, the names of the sections, their headers. */
function cubin(arch: number, code: readonly (number | readonly [bigint, bigint])[]): Uint8Array {
  const names = new TextEncoder().encode('\0.shstrtab\0.text.k\0');
  const [text, strings] = [64, 64 + 16 * code.length];
  const headers = strings + names.length;
  const bytes = new Uint8Array(headers + 3 * 64);
  const file = new DataView(bytes.buffer);
  file.setUint32(0, 0x464c457f, true);
  file.setUint8(8, 8);
  file.setBigUint64(40, BigInt(headers), true);
  file.setUint32(48, arch << 8, true);
  for (const [i, value] of [64, 3, 1].entries()) file.setUint16(58 + 2 * i, value, true);
  for (const [i, instruction] of code.entries()) {
    const [low, high] = typeof instruction === 'number' ? [BigInt(instruction), 0n] : instruction;
    file.setBigUint64(text + 16 * i, low, true);
    file.setBigUint64(text + 16 * i + 8, high, true);
  }
  bytes.set(names, strings);
  const section = (i: number, [name, offset, size]: readonly [number, number, number]) => {
    file.setUint32(headers + 64 * i, name, true);
    file.setBigUint64(headers + 64 * i + 24, BigInt(offset), true);
    file.setBigUint64(headers + 64 * i + 32, BigInt(size), true);
  };
  section(1, [1, strings, names.length]);
  section(2, [11, text, 16 * code.length]);
  return bytes;
}

describe('the machine code of a cubin', function () {
  this.timeout(120_000);

  for (const arch of [80, 90]) {
    it(`sm_${arch}: the loop with most multiply-adds, and its mix`, () => {
      const code = [LDS, LDS, branch(2, arch), LDS, FFMA, FFMA, FFMA, branch(4, arch), FFMA, EXIT];
      const { whole, hottest } = machineCode(cubin(arch, code), 'k');
      expect(whole.instructions).equal(10);
      expect(whole.operations).deep.equal({ LDS: 3, BRA: 2, FFMA: 4, other: 1 });
      expect(hottest).deep.equal({
        instructions: 5,
        operations: { LDS: 1, FFMA: 3, BRA: 1 },
        work: 'FFMA',
        share: 0.6,
      });
    });
  }

  it('no loop, no such kernel, no ELF file', () => {
    expect(machineCode(cubin(80, [FFMA, EXIT]), 'k').hottest).equal(null);
    expect(() => machineCode(cubin(80, [EXIT]), 'other')).throw(/must hold machine code of other/);
    expect(() => machineCode(new Uint8Array(100), 'k')).throw(/got no ELF file/);
  });

  for (const arch of [80, 90]) {
    it(`head of three channels on sm_${arch}: at least 76 % of its loop are FFMA, no spills`, async function () {
      if (findNvcc() === null) this.skip();
      const { hottest, resources } = await compiled(`ct2d_fwd_f32_nchw_k4s2p1_bias_tanh__head_o3t4_b128x1__sm${arch}`);
      expect(hottest?.work).equal('FFMA');
      expect(hottest?.share).least(0.76);
      expect([resources?.spillLoads, resources?.spillStores]).deep.equal([0, 0]);
    });
  }

  for (const layout of ['nchw', 'nhwc'] as const) {
    it(`igemm's largest tile in ${layout}: at least 86 % of its loop are FFMA, at most 128 registers, no spills`, async function () {
      if (findNvcc() === null) this.skip();
      const name = `ct2d_fwd_f32_${layout}_k4s2p1_bias_relu__igemm_m128n128k16_t8x8__sm80`;
      const { hottest, resources } = await compiled(name);
      expect(hottest?.work).equal('FFMA');
      expect(hottest?.share).least(0.86);
      expect(resources?.registers).most(128);
      expect([resources?.spillLoads, resources?.spillStores]).deep.equal([0, 0]);
    });
  }

  for (const [tile, share, registers] of [
    ['m128n128k32_w64x64_s3', 0.41, 224],
    ['m256n128k64_w64x64_s3', 0.49, 255],
  ] as const) {
    it(`mma's ${tile}: at least ${100 * share} % of its loop are tensor-core products, at most ${registers} registers`, async function () {
      if (findNvcc() === null) this.skip();
      const { hottest, resources } = await compiled(`ct2d_fwd_bf16_nhwc_k4s2p1_bias_relu__mma_${tile}_c16__sm80`);
      expect(hottest?.work).equal('HMMA');
      expect(hottest?.share).least(share);
      expect(resources?.registers).most(registers);
      expect([resources?.spillLoads, resources?.spillStores]).deep.equal([0, 0]);
    });
  }
});

async function compiled(name: string) {
  const spec = parseKernelName(name);
  const request = { name, source: textOf(spec), target: spec.target, format: 'cubin' as const };
  const { bytes, resources } = await nvcc().compile(request);
  return { hottest: machineCode(bytes, name).hottest, resources };
}
