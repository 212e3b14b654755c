/**
 * Both convolutions and all their gradients, on every variant of the catalogue that is legal here: small problems that
 * reach gaps in the output, output paddings, groups, dilations and kernels that are not square.
 */

import { ACTIVATIONS, type Activation, type Op, type Pass } from '../../codegen/problem.js';
import { formatProblem } from '../../codegen/problem_text.js';
import { grad } from '../gradients.js';
import { lastKernel } from '../kernels.js';
import { convTranspose2d } from '../ops/conv_transpose2d.js';
import { conv2d } from '../ops/conv2d.js';
import type { Layout } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { ACTIVATE, SLOPE } from './activations.js';
import { elementBound } from './bounds.js';
import type { Check, Place, Result } from './check.js';
import { type Input, input } from './inputs.js';
import { absolute } from './numbers.js';
import { type ConvCall, type Reference, reference } from './reference.js';
import { UNIT_ROUNDOFF } from './rounding.js';
import { type LegalVariant, variantsOf, withVariant } from './variants.js';

const COMMON = { padding: 1, outputPadding: 0, dilation: 1, groups: 1 } as const;

/** The first problem runs in every type on every variant; kernels with a shape in their text have to be compiled. */
const CALLS: readonly ConvCall[] = [
  { ...COMMON, op: 'convT2d', x: [2, 6, 5, 4], weight: [6, 5, 4, 4], stride: 2 },
  { ...COMMON, op: 'conv2d', x: [2, 5, 9, 8], weight: [6, 5, 4, 4], stride: 2 },
  { ...COMMON, op: 'convT2d', x: [1, 8, 4, 5], weight: [8, 3, 3, 3], stride: 2, outputPadding: 1, groups: 2 },
  {
    ...COMMON,
    op: 'convT2d',
    x: [2, 3, 6, 5],
    weight: [3, 4, 3, 5],
    stride: [2, 1],
    padding: [1, 2],
    dilation: [2, 1],
  },
  { ...COMMON, op: 'convT2d', x: [1, 4, 4, 3], weight: [4, 4, 2, 2], stride: 3, padding: 0 },
  { ...COMMON, op: 'conv2d', x: [1, 4, 9, 9], weight: [8, 2, 3, 3], stride: 1, padding: 2, dilation: 2, groups: 2 },
];
const NAMES: Readonly<Record<Op, string>> = { convT2d: 'convTranspose2d', conv2d: 'conv2d' };
const PASS_NAMES: Readonly<Record<Pass, string>> = {
  fwd: 'forward',
  dgrad: 'input gradient',
  wgrad: 'weight gradient',
  bgrad: 'bias gradient',
};
const PASSES = ['fwd', 'dgrad', 'wgrad', 'bgrad'] as const;
const LAYOUTS = ['nchw', 'nhwc'] as const;
const FUSED = ACTIVATIONS.filter((name) => name !== 'none');

export const CONVOLUTIONS: readonly Check[] = CALLS.flatMap((call, i) =>
  LAYOUTS.flatMap((layout) => [
    ...PASSES.map((pass) => checkOf(call, { pass, layout, activation: 'none', every: i === 0 })),
    ...(i > 1 ? [] : FUSED.map((activation) => checkOf(call, { pass: 'fwd', layout, activation, every: false }))),
  ]),
);

interface Asked {
  readonly pass: Pass;
  readonly layout: Layout;
  /** Fused into the forward. */
  readonly activation: Activation;
  /** Whether every variant computes it in every type, or those in whose text it stands only in float32. */
  readonly every: boolean;
}

function checkOf(call: ConvCall, asked: Asked): Check {
  const { geometry } = reference(call);
  const { pass, layout, activation } = asked;
  const problem = { op: call.op, pass, layout, geometry, activation } as const;
  const bias = pass === 'fwd';
  const title = formatProblem({ ...problem, dtype: 'float32', bias });
  const operation = `${NAMES[call.op]} ${PASS_NAMES[pass]}${activation === 'none' ? '' : `, fused ${activation}`}`;
  const run: Check['run'] = (place, tell) => {
    const wanted = variantsOf(place.device, { ...problem, dtype: place.dtype, bias });
    const offered = wanted.filter(({ kind }) => asked.every || kind !== 'specialised' || place.dtype === 'float32');
    const setting = settingOf(place, call, layout);
    const failures: unknown[] = [];
    for (const variant of offered) {
      try {
        withVariant(variant.name, () => {
          const result = resultOf(setting, asked);
          const kernel = lastKernel();
          if (!isVariant(kernel, variant)) return;
          const facts = { operation, problem: title, layout, kernel };
          tell({ ...facts, shape: result.shape, got: result.dataSync(), ...expected(setting, asked, variant.kind) });
        });
      } catch (error) {
        // The other variants are checked all the same.
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  };
  return { operation, problem: title, layout, run };
}

interface Setting {
  readonly call: ConvCall;
  readonly place: Place;
  readonly ref: Reference;
  readonly x: Input;
  readonly weight: Input;
  readonly bias: Input;
  readonly gy: Input;
}

function settingOf(place: Place, call: ConvCall, layout: Layout): Setting {
  const ref = reference(call);
  const channels = ref.shape[1]!;
  return {
    ...{ call, place, ref },
    x: input(place, call.x, 1, { layout }),
    weight: input(place, call.weight, 2),
    bias: input(place, [channels], 3),
    gy: input(place, ref.shape, 4, { layout }),
  };
}

function resultOf({ call, x, weight, bias, gy }: Setting, { pass, activation }: Asked): Tensor {
  const { stride, padding, outputPadding, dilation, groups } = call as ConvCall & { padding: number };
  const fused = { activation, negativeSlope: SLOPE };
  const options = { stride, padding, dilation, groups, ...fused } as { stride: number; padding: number };
  const y =
    call.op === 'conv2d'
      ? conv2d(x.tensor, weight.tensor, bias.tensor, options)
      : convTranspose2d(x.tensor, weight.tensor, bias.tensor, { ...options, outputPadding: outputPadding as number });
  if (pass === 'fwd') return y;
  const leaf = { dgrad: x, wgrad: weight, bgrad: bias }[pass].tensor;
  return grad([y], leaf, { gradOutputs: [gy.tensor.detach()] });
}

/** Exact results, and bounds by the same sums over absolute values. */
function expected(
  { ref, place, x, weight, bias, gy }: Setting,
  { pass, activation }: Asked,
  kind: LegalVariant['kind'],
): Pick<Result, 'exact' | 'allowed'> {
  const g = ref.geometry;
  const of = (f: (values: Float64Array) => Float64Array): Float64Array => {
    const [vx, vw, vb, vg] = [x, weight, bias, gy].map(({ values }) => f(values)) as [
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    if (pass === 'fwd') return ref.fwd(vx, vw, vb);
    if (pass === 'dgrad') return ref.dgrad(vg, vw);
    return pass === 'wgrad' ? ref.wgrad(vx, vg) : ref.bgrad(vg);
  };
  const [before, magnitude] = [of((values) => values), of(absolute)];
  const exact = before.map(ACTIVATE[activation]);
  const plane = g.n * Math.max(g.hs * g.ws, g.hl * g.wl);
  const isVolume = pass === 'fwd' || pass === 'dgrad';
  const length = isVolume ? (Math.max(g.cs, g.cl) / g.groups) * g.r * g.s + 1 : plane;
  const { dtype } = place;
  // A library stores its sums before a bias is added to them, and those before an activation is applied.
  const sums = kind === 'library' && pass === 'fwd' ? ref.fwd(x.values, weight.values) : null;
  const stored = (i: number): number =>
    sums === null ? 0 : Math.abs(sums[i]!) + (activation === 'none' ? 0 : Math.abs(before[i]!));
  // No activation is steeper than 1; its own arithmetic is good to a few units.
  const fused = activation === 'none' ? 0 : 8 * UNIT_ROUNDOFF[dtype === 'float64' ? 'float64' : 'float32'];
  const allowed = (i: number): number =>
    elementBound({ dtype, length, magnitude: magnitude[i]!, exact: exact[i]! }) +
    UNIT_ROUNDOFF[dtype] * stored(i) +
    fused;
  return { exact, allowed };
}

/**
 * Whether what ran is what was asked for; a library may have no algorithm for what it does not refuse.
 *
 * @throws Error where another kernel ran: its result would say nothing
 */
function isVariant(kernel: string, { name, kind }: LegalVariant): boolean {
  const ran = kernel.split('__')[1]?.split('_')[0];
  if (ran === name || kind === 'library') return ran === name;
  throw new Error(`verify: the kernel must be of the variant ${name}, got ${kernel}`);
}
