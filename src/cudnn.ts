/**
 * Contractions on cuDNN: its settings, which of its algorithms computes a problem, and what has to happen around it. An
 * algorithm is settled on when a problem comes first; a plan keeps it, and moves on to one that needs less memory when
 * there is no room for its workspace. Knows buffers, no tensors.
 */

import { stridedScalars } from '../codegen/pointwise.js';
import { type Contraction, contraction, type Geometry, LAYOUTS, type Problem } from '../codegen/problem.js';
import { kernelName, type LibraryUse, type Spec, settled } from '../codegen/spec.js';
import { DTYPE_TABLE, DTYPES } from '../codegen/target.js';
import { contractHolds, refuseNondeterminism } from './determinism.js';
import { allocate, changeChoice, type Device, debug, release, totalMemoryOf, translate, verbs } from './device.js';
import { FracstrideError } from './errors.js';
import type { CudnnAlgorithm } from './native.js';
import { type LaunchOperation, type LibraryPlan, NULL, type PlanRequest, type Pointer, setPointers } from './plan.js';

/** PyTorch's torch.backends.cudnn. */
export interface CudnnSettings {
  enabled: boolean;
  deterministic: boolean;
  benchmark: boolean;
  allowTf32: boolean;
}

const settings: CudnnSettings = { enabled: true, deterministic: false, benchmark: false, allowTf32: true };

export function cudnnSettings(): Readonly<CudnnSettings> {
  return settings;
}

/** Takes effect with the next call of an operation. */
export function changeCudnn(next: Partial<CudnnSettings>): void {
  Object.assign(settings, next);
  changeChoice();
}

/** One sentence that says why cuDNN cannot be opened, or null. */
export function cudnnUnavailableReason(): string | null {
  const info = verbs().cudnnInfo();
  return info.available ? null : (info.reason ?? 'libcudnn could not be opened');
}

/** cuDNN's version, e.g. 91002; null where it cannot be opened. */
export function cudnnVersion(): number | null {
  const { available, version } = verbs().cudnnInfo();
  return available ? version : null;
}

/** What the catalogue's row may do here and now. */
export function libraryUse(): LibraryUse {
  const reason = settings.enabled ? cudnnUnavailableReason() : 'backends.cudnn.enabled is false';
  return { reason, deterministic: onlyDeterministic(), allowTf32: settings.allowTf32 };
}

/** Whether the fastest way is to be found by trying. */
export function libraryTimes(): boolean {
  return settings.enabled && settings.benchmark;
}

/** What the choice depends on, as a word. */
export function libraryChoice(): string {
  const { enabled, benchmark, allowTf32 } = settings;
  return [enabled, onlyDeterministic(), contractHolds(), benchmark, allowTf32].map(Number).join('');
}

/** What measurements depend on beside the device and the problem. */
export function libraryIdentity(): string {
  const [tf32, deterministic] = [settings.allowTf32, onlyDeterministic()].map(Number);
  return `cudnn ${cudnnVersion() ?? 'none'} tf32 ${tf32} deterministic ${deterministic}`;
}

/** As PyTorch: either of the two settings asks for it. */
function onlyDeterministic(): boolean {
  return settings.deterministic || contractHolds();
}

/**
 * A plan for a problem that the catalogue's row takes, or the reason why this cuDNN has none.
 *
 * @throws FracstrideError ERR_CUDNN, ERR_NONDETERMINISTIC for an algorithm that was named and is not
 */
export function planContraction(request: PlanRequest): LibraryPlan | string {
  const { device, problem, algorithm } = request;
  // An algorithm that somebody names is looked for among all, and then judged.
  const flags = flagsOf(problem, algorithm === null && onlyDeterministic());
  let plan: Plan | null = null;
  let reason: string | null = null;
  try {
    const handle = translate(() => verbs().cudnnPlan(device.index, ...descriptionOf(problem), flags));
    plan = new Plan(request, handle);
    reason = plan.begin();
    if (reason === null) return plan;
  } catch (error) {
    plan?.free();
    if (!isUnsupported(error) && !isUnavailable(error)) throw error;
    return error.message;
  }
  plan.free();
  return reason;
}

const FORMS: readonly Contraction[] = ['expand', 'contract', 'wgrad', 'bgrad'];

function descriptionOf(problem: Problem): [form: number, sizes: Int32Array, dtype: number, layout: number] {
  const form = contraction(problem.op, problem.pass);
  const sizes = Int32Array.from(sizesOf(problem.geometry, form === 'bgrad' && problem.op === 'conv2d'));
  return [FORMS.indexOf(form), sizes, DTYPES.indexOf(problem.dtype), LAYOUTS.indexOf(problem.layout)];
}

/** The gradient that bgrad sums lies on the large side; `swapped` where it is the small one. */
function sizesOf(g: Geometry, swapped: boolean): number[] {
  const small = [g.cs, g.hs, g.ws];
  const large = swapped ? small : [g.cl, g.hl, g.wl];
  return [g.n, ...small, ...large, g.r, g.s, ...g.stride, ...g.padding, ...g.dilation, g.groups];
}

function flagsOf(problem: Problem, deterministic: boolean): number {
  return Number(deterministic) + 2 * Number(settings.allowTf32) + 4 * Number(problem.bias);
}

/** The algorithm that PyTorch takes for each form where it must be deterministic and is not searched for. */
const PLAIN_ALGORITHM = 1;
const MOST_WORKSPACE = 2 ** 30;
const VECTOR = 16;

function workspaceLimit(device: Device): number {
  return Math.min(MOST_WORKSPACE, Math.floor(totalMemoryOf(device) / 4));
}

class Plan implements LibraryPlan {
  readonly #request: PlanRequest;
  readonly #handle: number;
  readonly #around: Around;
  /** Those left to try, best first, the current one at the front. */
  #left: CudnnAlgorithm[] = [];
  #workspace = 0;
  #proven = false;
  name = '';

  constructor(request: PlanRequest, handle: number) {
    this.#request = request;
    this.#handle = handle;
    this.#around = aroundOf(request.problem);
  }

  get deterministic(): boolean {
    return this.#left[0]?.deterministic ?? true;
  }

  get settled(): string {
    const first = this.#left[0];
    return first === undefined ? '' : settledWords(this.#request.spec, first);
  }

  /** cuDNN reads whole vectors. */
  takes(pointers: readonly Pointer[]): boolean {
    for (const { byteOffset } of pointers) if (byteOffset % VECTOR !== 0) return false;
    return true;
  }

  /** Settles on an algorithm; the reason when there is none. */
  begin(): string | null {
    const { device, algorithm, spec } = this.#request;
    const all = translate(() => verbs().cudnnAlgorithms(device.index, this.#handle));
    const named = all.filter((row) => algorithm === null || settledWords(spec, row) === algorithm);
    const working = named.filter((row) => row.status === 0);
    if (working.length === 0)
      return algorithm === null ? 'it has no algorithm for this' : `it has no ${algorithm} here`;
    const limit = workspaceLimit(device);
    const fitting = working.filter((row) => {
      if (row.memory <= limit) return true;
      debug(
        3,
        `  cudnn ${settledWords(spec, row)}: its workspace of ${row.memory} bytes is above the limit of ${limit}`,
      );
      return false;
    });
    this.#left = algorithm === null && onlyDeterministic() ? plainFirst(fitting) : fitting;
    const why = this.#settle();
    if (why !== null) return why;
    if (onlyDeterministic() && !this.deterministic) this.#refuse();
    return null;
  }

  /** Measures on these operands, the last of which is overwritten; the best algorithms first, as words. */
  find(pointers: readonly Pointer[]): string[] {
    const { device, spec, problem } = this.#request;
    if (contraction(problem.op, problem.pass) === 'bgrad') return [''];
    const limit = workspaceLimit(device);
    const wanted = Math.max(0, ...this.#left.map((row) => row.memory));
    const found = this.#within(pointers, Math.min(wanted, limit), () =>
      translate(() => verbs().cudnnFind(device.index, this.#handle)),
    );
    const usable = found.filter((row) => row.status === 0 && row.memory <= limit);
    return usable
      .filter((row) => row.deterministic || !onlyDeterministic())
      .sort((a, b) => a.time - b.time)
      .map((row) => settledWords(spec, row));
  }

  /** False when no algorithm is left that can run. */
  run(pointers: readonly Pointer[], slope: number): boolean {
    const { device, launch } = this.#request;
    while (this.#left.length > 0) {
      try {
        this.#within(pointers, this.#workspace, () => translate(() => verbs().cudnnRun(device.index, this.#handle)));
        this.#around.activate(launch, pointers, slope);
        this.#proven = true;
        return true;
      } catch (error) {
        this.#giveUp(error);
      }
    }
    return false;
  }

  free(): void {
    verbs().cudnnFree(this.#handle);
  }

  /** Runs `work` with the staging area filled: operands, the weight turned where it must be, a workspace. */
  #within<R>(pointers: readonly Pointer[], workspace: number, work: () => R): R {
    const { device, launch } = this.#request;
    const buffers: number[] = [];
    const scratch = (bytes: number): Pointer => {
      const handle = allocate(device, bytes);
      buffers.push(handle);
      return { handle, byteOffset: 0, bytes };
    };
    try {
      const operands = [...pointers];
      this.#around.turnIn(launch, operands, scratch);
      const space = workspace === 0 ? NULL : scratch(workspace);
      setPointers(verbs().args, 0, [...operands, space]);
      const result = work();
      this.#around.turnOut(launch, operands, pointers);
      return result;
    } finally {
      // In the order of the stream: what is queued still has them.
      for (const handle of buffers) release(device, handle);
    }
  }

  /** Takes the first of those left that the library agrees to; the reason when none is. */
  #settle(): string | null {
    const { device, spec } = this.#request;
    let why = 'the workspace of each of its algorithms is above the limit';
    for (let first = this.#left[0]; first !== undefined; first = this.#left[0]) {
      const { algo, mathType } = first;
      this.name = kernelName(nameable(spec, first));
      try {
        this.#workspace = translate(() => verbs().cudnnChoose(device.index, this.#handle, algo, mathType, this.name));
        if (this.#workspace <= workspaceLimit(device)) return null;
        debug(3, `  ${this.name}: its workspace of ${this.#workspace} bytes is above the limit`);
      } catch (error) {
        if (!isUnsupported(error)) throw error;
        why = error.message;
        debug(3, `  ${this.name}: ${why}`);
      }
      this.#left.shift();
    }
    return why;
  }

  /** Goes on to the next algorithm where that helps, else throws. */
  #giveUp(error: unknown): void {
    const failed = this.#left[0]!;
    const tooLarge = error instanceof FracstrideError && error.code === 'ERR_OUT_OF_MEMORY' && this.#workspace > 0;
    if (!tooLarge && (this.#proven || !isUnsupported(error))) throw error;
    // Another algorithm rounds otherwise, and how much memory is free is not the same in every run.
    if (tooLarge && contractHolds()) throw error;
    debug(3, `  ${this.name} cannot run: ${(error as Error).message}`);
    const rest = this.#left.slice(1);
    this.#left = tooLarge ? rest.filter((row) => row.memory < failed.memory) : rest;
    this.#settle();
  }

  #refuse(): void {
    const { problem } = this.#request;
    const advice =
      'leave the choice to the library, or end the contract with useDeterministicAlgorithms(false) and backends.cudnn.deterministic = false';
    refuseNondeterminism({ where: `${problem.op} ${problem.pass}`, got: this.name, advice });
  }
}

/** PyTorch's plain algorithm first, the others in the library's order. */
function plainFirst(rows: readonly CudnnAlgorithm[]): CudnnAlgorithm[] {
  const plain = (row: CudnnAlgorithm) => row.algo === PLAIN_ALGORITHM;
  return [...rows.filter(plain), ...rows.filter((row) => !plain(row))];
}

function settledWords({ form }: Spec, { algo }: CudnnAlgorithm): string {
  return form === 'bgrad' ? '' : `algo${algo}`;
}

function nameable(spec: Spec, row: CudnnAlgorithm): Spec {
  const words = settledWords(spec, row);
  return words === '' ? spec : settled(spec, words);
}

/** What cuDNN says of a problem that it does not compute. */
function isUnsupported(error: unknown): error is FracstrideError {
  return error instanceof FracstrideError && error.code === 'ERR_CUDNN' && /NOT_SUPPORTED/.test(error.message);
}

/** A library that was found, and does not start. */
function isUnavailable(error: unknown): error is FracstrideError {
  return error instanceof FracstrideError && error.code === 'ERR_DEVICE_UNAVAILABLE';
}

/** What is done before and after cuDNN, by kernels of this package. */
interface Around {
  /** Replaces the weight among the operands by one that lies as cuDNN reads it, or by room for it. */
  turnIn(launch: LaunchOperation, operands: Pointer[], scratch: (bytes: number) => Pointer): void;
  /** Copies a weight that was computed to where it belongs. */
  turnOut(launch: LaunchOperation, operands: readonly Pointer[], pointers: readonly Pointer[]): void;
  activate(launch: LaunchOperation, pointers: readonly Pointer[], slope: number): void;
}

/** In channels-last problems the weight is [Cs, R, S, Cl/G]; ours is [Cs, Cl/G, R, S]. */
function aroundOf(problem: Problem): Around {
  const { geometry: g, layout, activation, dtype } = problem;
  const form = contraction(problem.op, problem.pass);
  const { short } = DTYPE_TABLE[dtype];
  const [channels, taps] = [g.cl / g.groups, g.r * g.s];
  const turns = layout === 'nhwc' && form !== 'bgrad' && channels > 1 && taps > 1;
  const at = form === 'wgrad' ? 2 : 1;
  const copy = (launch: LaunchOperation, out: Pointer, source: Pointer, [inner, outer]: readonly [number, number]) =>
    launch({ name: 'copy', type: short }, [out, source], turned(g.cs, inner, outer));
  return {
    turnIn(launch, operands, scratch) {
      if (!turns) return;
      const weight = operands[at]!;
      operands[at] = scratch(weight.bytes);
      if (form !== 'wgrad') copy(launch, operands[at], weight, [channels, taps]);
    },
    turnOut(launch, operands, pointers) {
      if (turns && form === 'wgrad') copy(launch, pointers[at]!, operands[at]!, [taps, channels]);
    },
    activate(launch, pointers, slope) {
      if (activation === 'none') return;
      const out = pointers.at(-1)!;
      const scalars = activation === 'leaky_relu' ? [slope] : [];
      const dense = { size: out.bytes / DTYPE_TABLE[dtype].bytes, strides: [1, 1] };
      launch({ name: activation, type: short }, [out, out], stridedScalars(scalars, [dense], 2));
    },
  };
}

/** What a copy that reads [count, inner, outer] as [count, outer, inner] takes. */
function turned(count: number, inner: number, outer: number): number[] {
  const size = inner * outer;
  const dims = [
    { size: count, strides: [size, size] },
    { size: outer, strides: [inner, 1] },
    { size: inner, strides: [1, outer] },
  ];
  return stridedScalars([], dims, 2);
}
