/** Work of a CUDA device recorded once and launched again as one: `cuda.graph`. */

import { options as readOptions } from './checks.js';
import { reach } from './context.js';
import { contractHolds, refuseNondeterminism, takeNondeterminism } from './determinism.js';
import {
  abortCapture,
  beginCapture,
  type Device,
  endCapture,
  freeGraph,
  recording,
  replayGraph,
  resolveDevice,
} from './device.js';
import { FracstrideError, show } from './errors.js';
import { distrustPackings } from './packings.js';
import { scope } from './scope.js';
import { markWritten, Tensor } from './tensor.js';

export interface GraphOptions {
  /** 'cuda' (the first, default) or 'cuda:N'. */
  readonly device?: string;
}

/** Recorded work. What it was recorded with (inputs, parameters, optimiser state) has to live as long as it does. */
export interface Graph<R> {
  /** What the recorded function returned. Its tensors hold values after the first `replay`, new ones after each. */
  readonly outputs: R;
  /**
   * Runs the recorded work, after what was launched before. Returns at once. @throws ERR_DISPOSED, and
   * ERR_NONDETERMINISTIC under useDeterministicAlgorithms for work that was recorded without and is not
   */
  replay(): void;
  /** Gives the graph and the memory of its intermediate tensors back; `outputs` stay until they are disposed. */
  dispose(): void;
  [Symbol.dispose](): void;
}

interface Lease {
  readonly device: Device;
  readonly handle: number;
  /** A kernel in it that is not deterministic, or null. */
  readonly varies: string | null;
  open: boolean;
}

function end(lease: Lease): void {
  if (!lease.open) return;
  lease.open = false;
  freeGraph(lease.device, lease.handle);
}

const forgotten = new FinalizationRegistry<Lease>(end);

/**
 * Records what `fn` launches on a CUDA device, without running it, as torch.cuda.graph does. `replay()` then launches
 * all of it at once, for a fraction of the cost of launching each kernel from JavaScript:
 *
 * ```ts
 * const x = zeros([64, 3, 32, 32], { device: 'cuda' });       // static inputs
 * step(x);                                                     // warm-up: makes gradients and optimiser state
 * const recorded = cuda.graph(() => step(x));                  // e.g. zeroGrad, forward, backward, optimiser step
 * for (const batch of batches) {
 *   x.copy_(batch);
 *   recorded.replay();
 *   console.log(await recorded.outputs.loss.data());
 * }
 * recorded.dispose();
 * ```
 *
 * The same kernels run on the same memory each time: new inputs are written into the tensors that `fn` used (`copy_`),
 * results are read from `outputs` and from what `fn` wrote in place. Tensors made in `fn` and not returned are disposed;
 * their memory is set aside for the graph. Numbers that JavaScript computed are those of the recording.
 *
 * What a graph cannot hold throws ERR_ARGUMENT while it is recorded: reading values (`data`, `item`, …), tensors made
 * from data of JavaScript, random numbers, waiting, kernels on another device, a graph within a graph, an async `fn`.
 * Whatever is thrown, by `fn` too, recording has ended then and what `fn` made is disposed.
 *
 * @throws FracstrideError ERR_ARGUMENT for all this and for a device that is not CUDA's, ERR_DEVICE_UNAVAILABLE
 */
export function graph<R>(fn: () => R, options: GraphOptions = {}): Graph<R> {
  if (typeof fn !== 'function')
    throw new FracstrideError('ERR_ARGUMENT', `cuda.graph: fn must be a function, got ${show(fn)}`);
  const found = readOptions('cuda.graph', options, ['device']);
  const device = resolveDevice('cuda.graph', found.device ?? 'cuda');
  if (recording() !== null)
    throw new FracstrideError('ERR_ARGUMENT', 'cuda.graph: a graph must be recorded by itself, got one inside another');
  beginCapture(device);
  takeNondeterminism();
  let handle = 0;
  try {
    const outputs = scope(() => {
      const result = fn();
      refusePromise(result);
      handle = endCapture(device);
      return result;
    });
    return made({ device, handle, varies: takeNondeterminism(), open: true }, outputs);
  } catch (error) {
    abortCapture(device);
    throw error;
  }
}

function refusePromise(value: unknown): void {
  if (typeof (value as { then?: unknown } | null | undefined)?.then !== 'function') return;
  Promise.resolve(value).catch(() => undefined);
  throw new FracstrideError('ERR_ARGUMENT', 'cuda.graph: fn must be synchronous, got one that returns a promise');
}

function refuseReplay(varies: string): void {
  refuseNondeterminism({ where: 'cuda.graph replay', got: varies, advice: 'record it again under the contract' });
}

function made<R>(lease: Lease, outputs: R): Graph<R> {
  const tensors = [...reach(outputs)].filter((value) => Tensor.isTensor(value));
  const result: Graph<R> = {
    outputs,
    replay(): void {
      if (!lease.open)
        throw new FracstrideError(
          'ERR_DISPOSED',
          'replay: a graph must be used before it is disposed, got one that is',
        );
      if (lease.varies !== null && contractHolds()) refuseReplay(lease.varies);
      replayGraph(lease.device, lease.handle);
      distrustPackings();
      for (const value of tensors) if (!value.isDisposed) markWritten(value);
    },
    dispose(): void {
      forgotten.unregister(lease);
      end(lease);
    },
    [Symbol.dispose](): void {
      result.dispose();
    },
  };
  forgotten.register(result, lease, lease);
  return result;
}
