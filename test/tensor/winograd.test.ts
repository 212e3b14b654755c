/**
 * Winograd kernels beside the direct one: how large their rounding errors are, which of them a setting allows, and what
 * happens where their intermediate values overflow. That they are exact for integers, keep to their buffers and give the
 * same bits for any number of threads is seen in engine.test.ts, that they agree with the oracle in random.test.ts.
 */

import { expect } from 'chai';
import { backends, grad, lastKernel, nn, scope, tensor, zeros } from 'fracstride';
import { CPU_TILES } from '../../codegen/target.js';
import { type WinogradForm, winogradWords } from '../../codegen/variants_winograd.js';
import { preferVariant } from '../../src/kernels.js';
import { contract, expand, wgrad } from '../../src/verify/oracle.js';
import { isaLevels, withIsa } from '../support/devices.js';
import { noise } from '../support/kernels.js';

type Geometry = Parameters<typeof expand>[0];
type NumberArray = Float32Array | Float64Array;

interface Case {
  readonly name: string;
  readonly form: WinogradForm;
  readonly geometry: Geometry;
  readonly options: { readonly stride: number; readonly padding: number };
}

function caseOf(form: Case['form'], kernel: number, stride: number, padding: number, hs: number, hl: number): Case {
  const sizes = { n: 2, cs: 64, hs, ws: hs, cl: 40, hl, wl: hl, r: kernel, s: kernel, groups: 1 };
  const pair = (value: number) => [value, value] as const;
  const geometry = { ...sizes, stride: pair(stride), padding: pair(padding), dilation: pair(1) };
  return { name: `${form} k${kernel} s${stride}`, form, geometry, options: { stride, padding } };
}

const CASES: readonly Case[] = [
  caseOf('expand', 4, 2, 1, 12, 24),
  caseOf('expand', 3, 1, 1, 12, 12),
  caseOf('expand', 5, 2, 2, 12, 23),
  caseOf('contract', 4, 2, 1, 12, 24),
  caseOf('contract', 3, 1, 1, 12, 12),
  caseOf('contract', 3, 2, 1, 12, 24),
  caseOf('wgrad', 4, 2, 1, 12, 24),
  caseOf('wgrad', 3, 1, 1, 12, 12),
  caseOf('wgrad', 5, 2, 2, 12, 23),
];

/** Elements of the two operands of a form. */
function countsOf({ form, geometry: g }: Case): [first: number, second: number] {
  const [small, large] = [g.n * g.cs * g.hs * g.ws, g.n * g.cl * g.hl * g.wl];
  return form === 'wgrad' ? [small, large] : [form === 'expand' ? small : large, g.cs * g.cl * g.r * g.s];
}

const WANTED = { expand, contract, wgrad };

/** The result, and the kernel that made it. */
function run(each: Case, first: NumberArray, second: NumberArray): [Float64Array, string] {
  return each.form === 'wgrad' ? gradient(each, first, second) : filtered(each, first, second);
}

/** The weight's gradient of a transposed convolution whose input and output gradient these are. */
function gradient({ geometry: g, options }: Case, small: NumberArray, large: NumberArray): [Float64Array, string] {
  return scope(() => {
    const w = zeros([g.cs, g.cl, g.r, g.s], { requiresGrad: true });
    const x = tensor(small, { dtype: 'float32', shape: [g.n, g.cs, g.hs, g.ws] });
    const y = nn.functional.convTranspose2d(x, w, null, options);
    const seed = tensor(large, { dtype: 'float32', shape: [g.n, g.cl, g.hl, g.wl] });
    const found = grad(y, w, { gradOutputs: seed });
    const kernel = lastKernel();
    return [Float64Array.from(found.dataSync() as Float32Array), kernel];
  });
}

function filtered(
  { form, geometry: g, options }: Case,
  input: NumberArray,
  weight: NumberArray,
): [Float64Array, string] {
  return scope(() => {
    const w = tensor(weight, { dtype: 'float32', shape: [g.cs, g.cl, g.r, g.s] });
    const shape = form === 'expand' ? [g.n, g.cs, g.hs, g.ws] : [g.n, g.cl, g.hl, g.wl];
    const x = tensor(input, { dtype: 'float32', shape });
    const y = (form === 'expand' ? nn.functional.convTranspose2d : nn.functional.conv2d)(x, w, null, options);
    const kernel = lastKernel();
    return [Float64Array.from(y.dataSync() as Float32Array), kernel];
  });
}

/** The largest error and the root of the mean square, both relative to the result's root of the mean square. */
function errorsOf(got: Float64Array, want: Float64Array): { most: number; rms: number } {
  const size = Math.sqrt(want.reduce((sum, value) => sum + value * value, 0) / want.length);
  const differences = got.map((value, i) => Math.abs(value - want[i]!) / size);
  const square = differences.reduce((sum, value) => sum + value * value, 0);
  return { most: Math.max(...differences), rms: Math.sqrt(square / want.length) };
}

describe('Winograd kernels', function () {
  this.timeout(60_000);
  afterEach(() => {
    preferVariant(null);
    backends.cpu.winograd = 'accurate';
  });

  for (const isa of isaLevels()) {
    for (const each of CASES) {
      it(`${each.name}, ${isa}: accurate ones err as little as the direct kernel, fast ones not much more`, () => {
        const { geometry: g, form } = each;
        const single = (count: number, seed: number) => Float64Array.from(noise(count, seed), Math.fround);
        const [firsts, seconds] = countsOf(each);
        const [input, weight] = [single(firsts, 1), single(seconds, 2)];
        const want = WANTED[form](g, input, weight);
        withIsa(isa, () => {
          const errorOf = (variant: string) => {
            preferVariant(variant === 'igemm' ? variant : `${variant}_t${CPU_TILES[isa].float.join('x')}`);
            const [got, kernel] = run(each, input, weight);
            return kernel.includes(`__${variant}_`) ? [errorsOf(got, want)] : [];
          };
          const [direct] = errorOf('igemm');
          for (const [mode, rms, most] of [
            ['accurate', 1.3, 2],
            ['fast', 12, 40],
          ] as const) {
            backends.cpu.winograd = mode;
            const found = winogradWords(form).flatMap((word) => errorOf(`winograd_${word}`));
            expect(found).not.to.deep.equal([]);
            for (const errors of found) {
              expect(errors.rms, mode).to.be.below(rms * direct!.rms);
              expect(errors.most, mode).to.be.below(most * direct!.most);
            }
          }
        });
      });
    }
  }

  it('the setting says which of them run', () => {
    const nothing = (count: number) => new Float32Array(count);
    const narrow = caseOf('expand', 4, 2, 1, 16, 32);
    const each = { ...narrow, geometry: { ...narrow.geometry, cs: 128, cl: 128 } };
    const { n, cs, hs, ws, cl, r, s } = each.geometry;
    const kernelUnder = (mode: (typeof backends.cpu)['winograd'], variant: string | null) => {
      backends.cpu.winograd = mode;
      preferVariant(variant);
      return run(each, nothing(n * cs * hs * ws), nothing(cs * cl * r * s))[1];
    };
    expect(kernelUnder('accurate', null)).to.match(/__winograd_f[23][su]_/);
    expect(kernelUnder('fast', null)).to.match(/__winograd_f/);
    expect(kernelUnder('off', null)).not.to.match(/winograd/);
    const tile = `t${CPU_TILES[isaLevels()[0]!].float.join('x')}`;
    expect(kernelUnder('fast', `winograd_f5s_${tile}`)).to.match(/__winograd_f5s_/);
    expect(kernelUnder('accurate', `winograd_f5s_${tile}`)).not.to.match(/winograd_f5s/);
    expect(kernelUnder('off', 'winograd')).not.to.match(/winograd/);
  });

  for (const each of CASES) {
    it(`${each.name}: where only their own values overflow, the direct kernel's result comes out`, () => {
      const { geometry: g, form } = each;
      const [firsts, seconds] = countsOf(each);
      const input = noise(firsts, 3).map((value) => (value < 0 ? -3e38 : 3e38));
      const weight = noise(seconds, 4).map((value) => value * 1e-6);
      preferVariant(form === 'wgrad' ? 'igemm' : 'igemm_ch');
      const [direct] = run(each, input, weight);
      expect(direct.every(Number.isFinite)).to.equal(true);
      preferVariant('winograd');
      const [got, kernel] = run(each, input, weight);
      expect(kernel).to.match(/__winograd_/);
      expect(got.every(Number.isFinite)).to.equal(true);
      const want = WANTED[form](g, Float64Array.from(input, Math.fround), Float64Array.from(weight, Math.fround));
      expect(errorsOf(got, want).most).to.be.below(1e-4);
    });
  }
});
