/**
 * Runs golden cases through an adapter: the implementation under test, the oracle, or anything else with this surface
 * (test/goldens/FORMAT.md describes it for people who bring their own).
 */

import type { Dtype } from '../../codegen/target.js';
import type { IntOrPair } from '../../src/verify/reference.js';
import { type GoldenCase, inputOf, type PlainTensor, product, type ResultName, shapesOf } from './cases.js';
import { compareSummary, GOLDEN_TOLERANCE } from './close.js';

export interface Result {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

export interface AdapterCall {
  readonly op: GoldenCase['op'];
  readonly x: PlainTensor;
  readonly weight: PlainTensor;
  readonly bias: PlainTensor | null;
  readonly stride: IntOrPair;
  readonly padding: IntOrPair | 'same' | 'valid';
  readonly outputPadding?: IntOrPair;
  readonly dilation: IntOrPair;
  readonly groups: number;
  readonly dtype: Dtype;
}
export type BackwardCall = AdapterCall & { readonly gradOutput: PlainTensor };
export type DoubleBackwardCall = BackwardCall & {
  readonly vx: PlainTensor;
  readonly vw: PlainTensor;
  readonly vb: PlainTensor | null;
};
export interface ModuleCall {
  readonly op: GoldenCase['op'];
  readonly ctor: Readonly<Record<string, unknown>>;
  readonly weight: PlainTensor | null;
  readonly bias: PlainTensor | null;
  readonly x: PlainTensor;
  readonly outputSize: readonly number[] | undefined;
  readonly dtype: Dtype;
}

type Maybe<T> = T | Promise<T>;
export interface Gradients {
  readonly gradInput: Result;
  readonly gradWeight: Result;
  readonly gradBias: Result | null;
}
export type SecondGradients = Readonly<Record<'ggy' | 'ggx' | 'ggw', Result>>;

export interface Adapter {
  convTranspose2d(a: AdapterCall): Maybe<Result>;
  conv2d(a: AdapterCall): Maybe<Result>;
  convTranspose2dBackward(a: BackwardCall): Maybe<Gradients>;
  conv2dBackward(a: BackwardCall): Maybe<Gradients>;
  convTranspose2dDoubleBackward(a: DoubleBackwardCall): Maybe<SecondGradients>;
  conv2dDoubleBackward(a: DoubleBackwardCall): Maybe<SecondGradients>;
  module(m: ModuleCall): Maybe<Result>;
}

export interface RunOptions {
  /** `case`: each entry in the element type of its own test. */
  readonly dtype: Dtype | 'case';
  readonly filter?: RegExp;
  /** Only entries whose generated inputs have this many bits. */
  readonly bits?: 8 | 24;
  readonly tolerance?: number;
}

export interface RunReport {
  readonly passed: number;
  readonly failures: readonly { readonly id: string; readonly bad: readonly string[] }[];
  /** Largest error of each tensor kind, with its case. */
  readonly worst: ReadonlyMap<string, { readonly error: number; readonly id: string }>;
  /** Refusals whose sentence names none of the case's key words. */
  readonly vague: readonly string[];
}

export function selectCases(cases: readonly GoldenCase[], o: RunOptions): GoldenCase[] {
  return cases.filter((c) => (!o.filter || o.filter.test(c.id)) && (!o.bits || (c.bits === o.bits && !c.data)));
}

export async function runGoldens(cases: readonly GoldenCase[], adapter: Adapter, o: RunOptions): Promise<RunReport> {
  const failures: { id: string; bad: string[] }[] = [];
  const judge = new Judge(o);
  const selected = selectCases(cases, o);
  for (const c of selected) {
    judge.start(c);
    try {
      if (c.expect === 'error') await checkRefusal(c, adapter, judge);
      else await checkResult(c, adapter, judge);
    } catch (e) {
      judge.bad.push(`threw ${e instanceof Error ? e.stack : String(e)}`);
    }
    if (judge.bad.length > 0) failures.push({ id: c.id, bad: judge.bad });
  }
  return { passed: selected.length - failures.length, failures, worst: judge.worst, vague: judge.vague };
}

/** Collects what is wrong with the case at hand. */
class Judge {
  bad: string[] = [];
  dtype: Dtype = 'float64';
  readonly worst = new Map<string, { error: number; id: string }>();
  readonly vague: string[] = [];
  private current!: GoldenCase;

  constructor(private readonly options: RunOptions) {}

  start(c: GoldenCase): void {
    this.bad = [];
    this.current = c;
    const asked = this.options.dtype === 'case' ? (c.dtype ?? 'float64') : this.options.dtype;
    this.dtype = c.dtypes ? 'float64' : asked;
  }

  tensor(name: ResultName, got: Result | null, shape: readonly number[]): void {
    const golden = this.current.golden[name];
    if (!got || !golden) return void this.bad.push(`${name}: missing`);
    if (String(got.shape) !== String(shape)) this.bad.push(`${name}: shape [${got.shape}] instead of [${shape}]`);
    const { error, where } = compareSummary({ name, seed: this.current.seed ?? 1, got: got.data, golden });
    const known = this.worst.get(name);
    if (!known || error > known.error) this.worst.set(name, { error, id: this.current.id });
    const tolerance = this.options.tolerance ?? GOLDEN_TOLERANCE[this.dtype];
    if (error <= tolerance) return;
    this.bad.push(`${name}: error ${error.toExponential(2)} at ${where}, allowed ${tolerance}`);
  }
}

async function checkResult(c: GoldenCase, adapter: Adapter, judge: Judge): Promise<void> {
  const args = argumentsOf(c, judge.dtype);
  const transposed = c.op === 'conv_transpose2d';
  const forward = () => (transposed ? adapter.convTranspose2d(args) : adapter.conv2d(args));
  const out = c.level === 'module' ? await adapter.module(moduleCall(c, args)) : await forward();
  judge.tensor('out', out, c.golden.shape);
  if (judge.bad.length > 0) return;
  const resolved = c.effective_output_padding ? { ...args, outputPadding: c.effective_output_padding } : args;
  const back = { ...resolved, gradOutput: inputOf(c, 'gy', c.golden.shape, judge.dtype) };
  const g = await (transposed ? adapter.convTranspose2dBackward(back) : adapter.conv2dBackward(back));
  judge.tensor('gx', g.gradInput, args.x.shape);
  judge.tensor('gw', g.gradWeight, args.weight.shape);
  if (args.bias) judge.tensor('gb', g.gradBias, args.bias.shape);
  if (c.double_backward) await checkSecond(c, adapter, judge, back);
}

async function checkSecond(c: GoldenCase, adapter: Adapter, judge: Judge, back: BackwardCall): Promise<void> {
  const call = {
    ...back,
    vx: inputOf(c, 'vx', back.x.shape, judge.dtype),
    vw: inputOf(c, 'vw', back.weight.shape, judge.dtype),
    vb: back.bias && inputOf(c, 'vb', back.bias.shape, judge.dtype),
  };
  const transposed = c.op === 'conv_transpose2d';
  const second = await (transposed ? adapter.convTranspose2dDoubleBackward(call) : adapter.conv2dDoubleBackward(call));
  judge.tensor('ggy', second.ggy, c.golden.shape);
  judge.tensor('ggx', second.ggx, back.x.shape);
  judge.tensor('ggw', second.ggw, back.weight.shape);
}

const ACCIDENTS =
  /call stack|Invalid (typed )?array length|Cannot (read|set) propert|is not a function|is not iterable|is not defined/i;

async function checkRefusal(c: GoldenCase, adapter: Adapter, judge: Judge): Promise<void> {
  const error = await refusalOf(c, adapter, judge.dtype);
  if (!error) return void judge.bad.push('no error thrown');
  const message = error instanceof Error ? error.message : String(error);
  const accident = error instanceof ReferenceError || ACCIDENTS.test(message);
  if (accident) judge.bad.push(`an error, but not a deliberate one: ${error instanceof Error ? error.stack : message}`);
  const known = c.error_keywords?.some((word) => message.toLowerCase().includes(word)) ?? true;
  if (!known) judge.vague.push(`${c.id}: "${message}" says nothing of ${c.error_keywords?.join(' / ')}`);
}

async function refusalOf(c: GoldenCase, adapter: Adapter, dtype: Dtype): Promise<unknown> {
  try {
    if (c.level === 'module') await adapter.module(moduleCall(c, null, zeroInput(c, dtype)));
    else await (c.op === 'conv_transpose2d' ? adapter.convTranspose2d : adapter.conv2d)(argumentsOf(c, dtype));
    return null;
  } catch (error) {
    return error;
  }
}

function argumentsOf(c: GoldenCase, dtype: Dtype): AdapterCall {
  const shapes = shapesOf(c);
  return {
    op: c.op,
    x: inputOf(c, 'x', shapes.x, dtype),
    weight: inputOf(c, 'weight', shapes.weight, dtype),
    bias: shapes.bias && inputOf(c, 'bias', shapes.bias, dtype),
    stride: c.stride,
    padding: c.padding,
    dilation: c.dilation,
    groups: c.groups,
    dtype,
    ...(c.output_padding === undefined ? {} : { outputPadding: c.output_padding }),
  };
}

function zeroInput(c: GoldenCase, dtype: Dtype): PlainTensor {
  const shape = c.x_shape ?? [1, Math.max(1, Number(c.ctor?.in_channels)), 5, 5];
  const count = product(shape);
  return { shape, data: dtype === 'float64' ? new Float64Array(count) : new Float32Array(count), dtype };
}

function moduleCall(c: GoldenCase, args: AdapterCall | null, zero?: PlainTensor): ModuleCall {
  const x = args?.x ?? zero!;
  return {
    op: c.op,
    ctor: constructorOf(c),
    weight: args?.weight ?? null,
    bias: args?.bias ?? null,
    x,
    outputSize: c.output_size,
    dtype: x.dtype,
  };
}

function constructorOf(c: GoldenCase): Record<string, unknown> {
  const given = c.ctor ?? {
    in_channels: c.cin,
    out_channels: c.cout,
    kernel_size: c.kernel,
    stride: c.stride,
    padding: c.padding,
    output_padding: c.output_padding,
    groups: c.groups,
    bias: c.bias,
    dilation: c.dilation,
    padding_mode: 'zeros',
  };
  const camel = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  const entries = Object.entries(given).filter(([name]) => c.op !== 'conv2d' || name !== 'output_padding');
  return Object.fromEntries(entries.map(([name, value]) => [camel(name), value]));
}
