/**
 * Infinities and NaN go exactly where the definition sends them: 0 · ∞ is NaN inside the kernel's footprint, and no tap
 * that does not exist may bring one in. The kind of every element (NaN, ±∞, finite) is the oracle's, whatever the order
 * of summation.
 */

import fc from 'fast-check';
import { grad, nn, scope, type Tensor, tensor } from 'fracstride';
import { reference } from '../../src/verify/reference.js';
import { generate, product } from '../support/cases.js';
import { isaLevels, testRuns, testSeed, withIsa } from '../support/devices.js';
import { draws } from '../support/hostile.js';
import { type RandomProblem, randomProblems } from '../support/random_problems.js';

const SPECIAL = [Infinity, -Infinity, Number.NaN, 0, 0];

describe('infinities and NaN', function () {
  const runs = testRuns(300);
  this.timeout(600 * runs + 60_000);

  it(`are where the oracle has them in ${runs} random problems`, () => {
    const seed = testSeed();
    console.log(`      seed ${seed}`);
    fc.assert(fc.property(randomProblems, fc.boolean(), check), {
      seed,
      numRuns: runs,
      includeErrorInReport: true,
    } as never);
  });
});

function check(p: RandomProblem, channelsLast: boolean): void {
  const ref = reference(p.call);
  const d = draws(p.seed);
  const shapes = { x: p.call.x, weight: p.call.weight, gy: ref.shape };
  const special = (name: keyof typeof shapes): Float64Array => {
    const values = generate({ seed: p.seed, tag: name, count: product(shapes[name]), bits: 8 });
    // a few in each, so that they meet finite numbers and zeros of the others
    for (let i = 0; i < 3; i++) if (values.length > 0) values[d.below(values.length)] = d.pick(SPECIAL);
    return values;
  };
  const v = { x: special('x'), weight: special('weight'), gy: special('gy') };
  const want = { y: ref.fwd(v.x, v.weight), gx: ref.dgrad(v.gy, v.weight), gw: ref.wgrad(v.x, v.gy) };
  for (const isa of isaLevels()) {
    const got = withIsa(isa, () => scope(() => compute(p, v, { shapes, channelsLast })));
    for (const [name, values] of Object.entries(got)) {
      const exact = want[name as keyof typeof want];
      const at = exact.findIndex((e, i) => kind(e) !== kind(values[i]!));
      if (at >= 0) throw new Error(`${isa} ${name}[${at}] is ${values[at]} instead of ${exact[at]}`);
    }
  }
}

interface Setting {
  readonly shapes: Record<'x' | 'weight' | 'gy', readonly number[]>;
  readonly channelsLast: boolean;
}

function compute(p: RandomProblem, v: Record<'x' | 'weight' | 'gy', Float64Array>, s: Setting) {
  const put = (name: keyof typeof v, requiresGrad: boolean): Tensor =>
    tensor(v[name], { shape: [...s.shapes[name]], dtype: p.dtype, device: 'cpu', requiresGrad });
  const laid = (t: Tensor) => (s.channelsLast && t.shape.length === 4 ? t.to({ layout: 'nhwc' }) : t);
  const [x, weight, gy] = [put('x', true), put('weight', true), put('gy', false)];
  const { stride, padding, outputPadding, dilation, groups } = p.call;
  const y =
    p.call.op === 'conv2d'
      ? nn.functional.conv2d(laid(x), weight, null, { stride, padding, dilation, groups } as never)
      : nn.functional.convTranspose2d(laid(x), weight, null, {
          stride,
          padding,
          outputPadding,
          dilation,
          groups,
        } as never);
  const [gx, gw] = grad([y], [x, weight], { gradOutputs: [laid(gy)] }) as [Tensor, Tensor];
  return { y: y.dataSync(), gx: gx.dataSync(), gw: gw.dataSync() };
}

function kind(value: number): string {
  return Number.isFinite(value) ? 'finite' : String(value);
}
