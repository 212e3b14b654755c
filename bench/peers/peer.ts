/** What a peer is asked, and the values that all of them compute with. */

import { flops } from '../../codegen/passes.js';
import type { Problem } from '../../codegen/problem.js';

export interface LayerCommand {
  readonly do: 'layer';
  readonly threads: number;
  /** Forward and all gradients instead of forward. */
  readonly backward: boolean;
  readonly channelsLast: boolean;
  readonly x: readonly number[];
  readonly weight: readonly number[];
  readonly y: readonly number[];
  readonly options: {
    readonly stride: readonly number[];
    readonly padding: readonly number[];
    readonly output_padding: readonly number[];
    readonly groups: number;
    readonly dilation: readonly number[];
  };
}

/** A transposed convolution as a command, by PyTorch's names. */
export function layerCommand(problem: Problem, threads: number, backward: boolean): LayerCommand {
  const { n, cs, hs, ws, cl, hl, wl, r, s, stride, padding, dilation, groups } = problem.geometry;
  const rest = (size: number, large: number, k: number, axis: 0 | 1): number =>
    large - ((size - 1) * stride[axis] - 2 * padding[axis] + dilation[axis] * (k - 1) + 1);
  return {
    ...{ do: 'layer', threads, backward, channelsLast: false },
    ...{ x: [n, cs, hs, ws], weight: [cs, cl / groups, r, s], y: [n, cl, hl, wl] },
    options: { stride, padding, output_padding: [rest(hs, hl, r, 0), rest(ws, wl, s, 1)], groups, dilation },
  };
}

/** ((7919 i) mod 1009) / 1009 − 1/2 for element i. */
export function pattern(shape: readonly number[]): Float32Array {
  const count = shape.reduce((product, size) => product * size, 1);
  return Float32Array.from({ length: count }, (_, i) => Math.fround(((i * 7919) % 1009) / 1009) - 0.5);
}

/** Calls that one round makes, so that it lasts about 30 ms at 100 GFLOP/s. */
export function callsOf(problem: Problem, backward: boolean): number {
  const ms = ((backward ? 3 : 1) * flops(problem)) / 1e8;
  return Math.max(1, Math.min(50, Math.round(30 / ms)));
}
