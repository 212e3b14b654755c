/**
 * The golden cases of test/goldens/visible.json.gz: 456 entries taken from the tests of PyTorch, ONNX, tfjs, WebNN and
 * others, with results of PyTorch 1.13.1 in float64 (test/goldens/FORMAT.md). Inputs are made by a 32-bit hash, so the
 * file holds only seeds and summaries.
 */

import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { Dtype } from '../../codegen/target.js';
import type { IntOrPair } from '../../src/verify/reference.js';

/** Either every element, or 16 signed sums, 32 samples, the norm and the largest magnitude. */
export interface Summary {
  readonly full?: readonly number[];
  readonly n?: number;
  readonly proj?: readonly number[];
  readonly idx?: readonly number[];
  readonly val?: readonly number[];
  readonly l2?: number;
  readonly max?: number;
}

export type ResultName = 'out' | 'gx' | 'gw' | 'gb' | 'ggy' | 'ggx' | 'ggw';

export interface GoldenCase {
  readonly id: string;
  readonly op: 'conv_transpose2d' | 'conv2d';
  readonly level?: 'module' | 'functional';
  readonly dtype?: Dtype;
  readonly dtypes?: Readonly<Record<string, Dtype>>;
  readonly seed?: number;
  readonly bits?: 8 | 24;
  readonly n: number;
  readonly cin: number;
  readonly cout: number;
  readonly h: number;
  readonly w: number;
  readonly unbatched?: boolean;
  readonly kernel: IntOrPair;
  readonly stride: IntOrPair;
  readonly padding: IntOrPair | 'same' | 'valid';
  readonly output_padding?: IntOrPair;
  readonly dilation: IntOrPair;
  readonly groups: number;
  readonly bias?: boolean;
  readonly data?: Readonly<Record<string, readonly number[]>>;
  readonly x_shape?: readonly number[] | null;
  readonly weight_shape?: readonly number[];
  readonly bias_shape?: readonly number[] | null;
  readonly ctor?: Readonly<Record<string, unknown>>;
  readonly output_size?: readonly number[];
  readonly effective_output_padding?: IntOrPair;
  readonly double_backward?: boolean;
  readonly expect: 'ok' | 'error';
  readonly error_keywords?: readonly string[];
  readonly golden: { readonly shape: readonly number[] } & Readonly<Partial<Record<ResultName, Summary>>>;
}

/** A tensor as the goldens hand it over: float64 data for float64, else float32 data. */
export interface PlainTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array | Float32Array;
  readonly dtype: Dtype;
}

export function goldenCases(): readonly GoldenCase[] {
  const packed = readFileSync(new URL('../../../test/goldens/visible.json.gz', import.meta.url));
  return (JSON.parse(gunzipSync(packed).toString('utf8')) as { cases: GoldenCase[] }).cases;
}

export const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export function fmix32(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

export function fnv1a(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

export const hashKey = (seed: number, tag: string): number => fmix32(seed ^ fnv1a(tag));
export const hashAt = (key: number, i: number): number => fmix32((key + Math.imul(i, 0x9e3779b9)) | 0);

/** `count` values in [−1, 1), multiples of 2^−7 (`bits` 8) or 2^−23 (`bits` 24). */
export function generate(a: { seed: number; tag: string; count: number; bits: 8 | 24 }): Float64Array {
  const key = hashKey(a.seed, a.tag);
  const [shift, scale] = a.bits === 8 ? [24, 2 ** 7] : [8, 2 ** 23];
  const values = new Float64Array(a.count);
  for (let i = 0; i < a.count; i++) values[i] = (hashAt(key, i) >>> shift) / scale - 1;
  return values;
}

const TAGS = { x: 'x', weight: 'w', bias: 'b', gy: 'gy', vx: 'vx', vw: 'vw', vb: 'vb' } as const;
export type InputName = keyof typeof TAGS;

/** The input called `name` of a case, literal or generated. */
export function inputOf(c: GoldenCase, name: InputName, shape: readonly number[], dtype: Dtype): PlainTensor {
  const count = product(shape);
  const literal = c.data?.[name];
  const type = c.dtypes?.[name] ?? dtype;
  const values = literal
    ? Float64Array.from(literal)
    : generate({ seed: c.seed ?? 1, tag: TAGS[name], count, bits: c.bits ?? 24 });
  if (values.length !== count) throw new Error(`${c.id}: ${name} has ${values.length} values for [${shape}]`);
  return { shape: [...shape], data: type === 'float64' ? values : Float32Array.from(values), dtype: type };
}

export function shapesOf(c: GoldenCase): {
  x: readonly number[];
  weight: readonly number[];
  bias: readonly number[] | null;
} {
  if (c.x_shape && c.weight_shape) return { x: c.x_shape, weight: c.weight_shape, bias: c.bias_shape ?? null };
  const [r, s] = typeof c.kernel === 'number' ? [c.kernel, c.kernel] : [c.kernel[0]!, c.kernel[1]!];
  return {
    x: c.unbatched ? [c.cin, c.h, c.w] : [c.n, c.cin, c.h, c.w],
    weight: c.op === 'conv_transpose2d' ? [c.cin, c.cout / c.groups, r, s] : [c.cout, c.cin / c.groups, r, s],
    bias: c.bias ? [c.cout] : null,
  };
}
