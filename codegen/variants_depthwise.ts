/** The catalogue's rows of depthwise convolutions on the CPU. */

import { bytes, flops } from './passes.js';
import type { Problem } from './problem.js';
import { ONE_LAUNCH, type Variant } from './variant.js';

export const DEPTHWISE_VARIANT: Variant = {
  name: 'depthwise',
  device: 'cpu',
  forms: ['expand', 'contract', 'wgrad'],
  template: 'depthwise.cpp.njk',
  kind: 'general',
  tunables: () => [{}],
  legal: depthwiseLegal,
  cost: depthwiseCost,
  launch: () => ONE_LAUNCH,
};

function depthwiseLegal({ geometry: g }: Problem): string | null {
  const one = g.cs === g.groups && g.cl === g.groups;
  return one ? null : `it takes one channel a group on both sides, got ${g.cs / g.groups} and ${g.cl / g.groups}`;
}

/** Multiply-adds in the time that memory takes for a byte (117 GFLOP/s, 35 GB/s). */
const PER_BYTE = 1.7;

/** Memory's time beside that of two loads for each multiply-add of a vector. */
function depthwiseCost(problem: Problem): number {
  const products = Math.max(1, flops(problem) / 2);
  return 1 + (PER_BYTE * bytes(problem)) / products;
}
