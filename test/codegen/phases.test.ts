/** The residue classes of outputs, against their definition: which (output, tap) pairs meet which source position. */

import { expect } from 'chai';
import fc from 'fast-check';
import { type AxisShape, axisPhases, positionsOf } from '../../codegen/phases.js';

const shapes: fc.Arbitrary<AxisShape> = fc.record({
  kernel: fc.integer({ min: 1, max: 12 }),
  stride: fc.integer({ min: 1, max: 9 }),
  padding: fc.integer({ min: 0, max: 12 }),
  dilation: fc.integer({ min: 1, max: 6 }),
});

/** `output tap source` of every pair that meets, sources from −40 to 40, by the phases. */
function byPhases(form: 'expand' | 'contract', shape: AxisShape, size: number): string[] {
  const { phases, outputStep, sourceStep } = axisPhases(form, shape);
  const found: string[] = [];
  for (const { residue, taps } of phases)
    for (let q = 0; q * outputStep + residue < size; q++)
      for (const { tap, delta } of taps) found.push(`${q * outputStep + residue} ${tap} ${q * sourceStep + delta}`);
  return found.sort();
}

/** The same by trying every source position. */
function byDefinition(form: 'expand' | 'contract', { kernel, stride, padding, dilation }: AxisShape, size: number) {
  const found: string[] = [];
  for (let output = 0; output < size; output++)
    for (let tap = 0; tap < kernel; tap++)
      for (let source = -100; source <= 300; source++) {
        const [small, large] = form === 'expand' ? [source, output] : [output, source];
        if (large === small * stride - padding + tap * dilation) found.push(`${output} ${tap} ${source}`);
      }
  return found.sort();
}

describe('phases', () => {
  it('list each pair of output and tap once, with the source that it meets', () => {
    fc.assert(
      fc.property(shapes, fc.constantFrom('expand' as const, 'contract' as const), (shape, form) => {
        expect(byPhases(form, shape, 20)).deep.equal(byDefinition(form, shape, 20));
      }),
      { seed: 1, numRuns: 200 },
    );
  });

  it('of k4 s2 p1 have two taps each', () => {
    const { phases } = axisPhases('expand', { kernel: 4, stride: 2, padding: 1, dilation: 1 });
    expect(phases).deep.equal([
      {
        residue: 0,
        taps: [
          { tap: 1, delta: 0 },
          { tap: 3, delta: -1 },
        ],
      },
      {
        residue: 1,
        taps: [
          { tap: 0, delta: 1 },
          { tap: 2, delta: 0 },
        ],
      },
    ]);
  });

  it('are without taps where stride and dilation share a factor', () => {
    const { phases } = axisPhases('expand', { kernel: 3, stride: 2, padding: 1, dilation: 2 });
    expect(phases.map((phase) => phase.taps.length)).deep.equal([0, 3]);
  });

  it('are without taps where the stride is above the kernel', () => {
    const { phases } = axisPhases('expand', { kernel: 1, stride: 3, padding: 0, dilation: 1 });
    expect(phases.map((phase) => phase.taps.length)).deep.equal([1, 0, 0]);
  });

  it('cover as many positions as their most populous one', () => {
    expect([0, 1, 4, 5].map((size) => positionsOf(size, 4))).deep.equal([0, 1, 1, 2]);
  });
});
