/** The rendered CUDA kernels, executed on the host as they stand, against the oracle. */

import { expect } from 'chai';
import { type Contraction, LAYOUTS } from '../../codegen/problem.js';
import { kernelName } from '../../codegen/spec.js';
import { DTYPE_TABLE, type Dtype, type Target } from '../../codegen/target.js';
import { decode, encode } from '../support/kernels.js';
import { type JobResult, runOnHost } from './host_program.js';
import {
  DTYPES,
  type Filling,
  GEOMETRIES,
  type KernelCase,
  makeCase,
  PLANES,
  problemFor,
  specsOf,
} from './kernel_cases.js';

const FORMS: readonly Contraction[] = ['expand', 'contract', 'wgrad', 'bgrad'];

/** Error allowed where the C library computes the activation and the result is rounded again; everything else is exact. */
const TRANSCENDENTAL = { float32: 4e-7, float64: 1e-15, float16: 1e-3, bfloat16: 8e-3 } as const;

const PTX: Target = { kind: 'ptx' };
/** Each variant, and where it is rendered for: the text of igemm and splitk depends on it, and the two take turns. */
const VARIANTS: Readonly<Record<string, readonly Target[]>> = {
  gather: [PTX],
  phase: [PTX],
  igemm: [PTX, { kind: 'cuda', arch: 90 }],
  splitk: [PTX, { kind: 'cuda', arch: 90 }],
  diagonal: [PTX, { kind: 'cuda', arch: 90 }],
  merged: [PTX],
  head: [PTX],
  depthwise: [PTX],
};

const HALVES_AND_FLOAT = DTYPES.filter((dtype) => dtype !== 'float64');
const dtypesOf = (variant: string): readonly Dtype[] =>
  ['igemm', 'splitk', 'diagonal', 'merged'].includes(variant)
    ? ['float32']
    : variant === 'head' || variant === 'depthwise'
      ? HALVES_AND_FLOAT
      : DTYPES;

/**
 * Every geometry through each form, layout and variant, two in three through splitk; element types, tiles and activations
 * take turns.
 */
function allCases(): KernelCase[] {
  const turns: Record<string, number> = {};
  return Object.entries(GEOMETRIES).flatMap(([title, geometry], turn) =>
    FORMS.flatMap((form) =>
      LAYOUTS.flatMap((layout, other) =>
        Object.entries(VARIANTS).flatMap(([variant, targets]) => {
          if (variant === 'splitk' && (turn + other) % 3 === 0) return [];
          const target = targets[Math.floor(turn / 4) % targets.length]!;
          const dtypes = dtypesOf(variant);
          const dtype = dtypes[(turn + other) % dtypes.length]!;
          const problem = problemFor({ form, geometry, dtype, layout, turn });
          const specs = specsOf(problem, variant, target);
          const kind = [form, layout, variant, target.kind].join(' ');
          turns[kind] = (turns[kind] ?? 0) + Math.min(1, specs.length);
          const spec = specs[turns[kind]! % specs.length];
          const filling: Filling = turn % 3 === 2 ? 'special' : 'exact';
          return spec === undefined ? [] : [makeCase({ title, problem, spec, filling, seed: turn + 1 })];
        }),
      ),
    ),
  );
}

/** Bias gradients of planes that one block does not sum alone, in every layout and element type. */
function planeCases(): KernelCase[] {
  return Object.entries(PLANES).flatMap(([title, geometry]) =>
    LAYOUTS.flatMap((layout) =>
      DTYPES.flatMap((dtype) => {
        const problem = problemFor({ form: 'bgrad', geometry, dtype, layout, turn: 0 });
        return specsOf(problem, 'gather').map((spec) => makeCase({ title, problem, spec, filling: 'exact', seed: 2 }));
      }),
    ),
  );
}

function check(each: KernelCase, results: readonly JobResult[]): void {
  const name = kernelName(each.spec);
  const { short } = DTYPE_TABLE[each.problem.dtype];
  const inexact = each.problem.activation === 'tanh' || each.problem.activation === 'sigmoid';
  for (const [i, result] of results.entries()) {
    const where = `${name}, threads ${each.jobs[i]!.order}`;
    expect(result.damaged, `${where}: bytes damaged`).equal(0);
    expect(result.missed, `${where}: threads missing at a barrier`).equal(0);
    const got = each.parts > 0 ? sumOfParts(result.output, each) : decode(short, typed(short, result.output));
    const tolerance = inexact ? TRANSCENDENTAL[each.problem.dtype] : 0;
    const wrong = got.findIndex((value, at) => !close(value, each.expected[at]!, tolerance));
    expect(wrong, `${where}: element ${wrong} is ${got[wrong]}, not ${each.expected[wrong]}`).equal(-1);
    expect(got.length, where).equal(each.expected.length);
  }
}

/** In float32, in order, as the launch that follows would. */
function sumOfParts(bytes: Uint8Array, { expected, parts, finish }: KernelCase): Float64Array {
  const sums = decode('f32', typed('f32', bytes));
  return expected.map((_, at) => {
    let sum = 0;
    for (let part = 0; part < parts; part++) sum = Math.fround(sum + sums[part * expected.length + at]!);
    return Math.fround(finish(sum, at));
  });
}

function typed(short: 'f32' | 'f64' | 'f16' | 'bf16', bytes: Uint8Array) {
  const copy = encode(short, new Float64Array(bytes.length / DTYPE_SIZES[short]));
  new Uint8Array(copy.buffer).set(bytes);
  return copy;
}

const DTYPE_SIZES = { f32: 4, f64: 8, f16: 2, bf16: 2 } as const;

function close(a: number, b: number, tolerance: number): boolean {
  return a === b || (Number.isNaN(a) && Number.isNaN(b)) || Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(b));
}

describe('rendered CUDA kernels on the host', function () {
  this.timeout(300_000);
  const cases = [...allCases(), ...planeCases()];
  const results = new Map<KernelCase, JobResult[]>();

  before(async () => {
    const done = await runOnHost(
      cases.flatMap((each) => each.jobs),
      2,
    );
    for (const [i, each] of cases.entries()) results.set(each, done.slice(2 * i, 2 * i + 2));
  });

  for (const title of Object.keys({ ...GEOMETRIES, ...PLANES })) {
    it(`agree with the oracle: ${title}`, () => {
      for (const each of cases) if (each.title === title) check(each, results.get(each)!);
    });
  }

  it('are of every variant, form, layout, element type and tile', () => {
    const covered = new Set<string>();
    for (const { spec } of cases) {
      const what = `${spec.form} ${spec.layout} ${spec.variant} ${spec.target.kind}`;
      covered.add(`${what} ${spec.dtype}`).add(`${what} ${Object.values(spec.tunables).join('_')}`);
    }
    const wanted = FORMS.flatMap((form) =>
      LAYOUTS.flatMap((layout) =>
        Object.entries(VARIANTS).flatMap(([variant, targets]) =>
          targets.flatMap((target) =>
            dtypesOf(variant).flatMap((dtype) => {
              const problem = problemFor({ form, geometry: GEOMETRIES['k4 s2 p1']!, dtype, layout, turn: 0 });
              const what = `${form} ${layout} ${variant} ${target.kind}`;
              return specsOf(problem, variant, target).flatMap((spec) => [
                `${what} ${dtype}`,
                `${what} ${Object.values(spec.tunables).join('_')}`,
              ]);
            }),
          ),
        ),
      ),
    );
    expect([...covered]).to.include.members(wanted);
  });
});
