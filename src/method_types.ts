/**
 * The methods of tensors as a type: one for each operation, of its name. The functions stand above the class, so
 * `methods.ts` puts them on its prototype; this file only says what will be there.
 */

import type { Dtype, TensorData } from './dtype.js';
import type { Layout } from './shape.js';

export interface ToOptions {
  device?: string;
  dtype?: Dtype;
  /** 'nchw': row-major; 'nhwc': channels last (4-D tensors only). The shape stays. */
  layout?: Layout;
}

export interface ReduceOptions {
  /** Dimensions to reduce; all when left out. */
  dim?: number | readonly number[];
  /** Keep them with size 1. Default false. */
  keepdim?: boolean;
}

export interface BackwardOptions {
  /** Record the backward pass itself, so that gradients have gradients. Default false. */
  createGraph?: boolean;
  /** Keep what the graph saved, for another backward. Default: createGraph. */
  retainGraph?: boolean;
}

/** T is the tensor itself. */
export interface Methods<T> {
  /** The elements in row-major order, without blocking while the device is busy. */
  data(): Promise<TensorData>;
  /** The elements in row-major order, waiting for the device. float16 and bfloat16 come out as float32. */
  dataSync(): TensorData;
  /** The number in a tensor of one element. @throws ERR_SHAPE for any other */
  item(): number;
  /** Nested arrays of numbers; a number for no dimensions. */
  toArray(): unknown;
  to(target: ToOptions): T;
  /** The same memory outside of the graph. */
  detach(): T;
  clone(): T;
  contiguous(layout?: Layout): T;
  /** Copies the elements of `source` (broadcast, converted) into this tensor's memory; returns this. Not recorded. */
  copy_(source: T): T;
  /** Adds this tensor's gradients to `.grad` of the leaves it depends on; `gradient` may be left out for one element. */
  backward(gradient?: T | null, options?: BackwardOptions): void;

  permute(dims: readonly number[]): T;
  transpose(dim0?: number, dim1?: number): T;
  narrow(dim: number, start: number, length: number): T;
  select(dim: number, index: number): T;
  expand(shape: number | readonly number[]): T;
  reshape(shape: number | readonly number[]): T;
  flatten(startDim?: number, endDim?: number): T;
  unsqueeze(dim: number): T;
  squeeze(dim?: number): T;

  add(other: T | number): T;
  sub(other: T | number): T;
  mul(other: T | number): T;
  div(other: T | number): T;
  maximum(other: T | number): T;
  minimum(other: T | number): T;
  gt(other: T | number): T;
  eq(other: T | number): T;
  neg(): T;
  abs(): T;
  exp(): T;
  log(): T;
  sqrt(): T;
  square(): T;
  pow(exponent: number): T;
  relu(): T;
  leakyRelu(negativeSlope?: number): T;
  tanh(): T;
  sigmoid(): T;
  clamp(bounds: { min?: number; max?: number }): T;
  sum(options?: ReduceOptions): T;
  mean(options?: ReduceOptions): T;
  max(options?: ReduceOptions): T;

  toString(): string;
}
