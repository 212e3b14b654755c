/** The table of element types, and the places a kernel can run: CUDA architectures, PTX, CPU instruction sets. */

export const DTYPES = ['float32', 'float64', 'float16', 'bfloat16'] as const;
/** Element types that kernels compute in; sums of the 16-bit types are accumulated in float32. */
export type Dtype = (typeof DTYPES)[number];

export interface DtypeRow {
  /** Name inside kernel names. */
  short: 'f32' | 'f64' | 'f16' | 'bf16';
  /** Bytes of one stored element. */
  bytes: 2 | 4 | 8;
  /** C type of the accumulator. */
  accumulator: 'float' | 'double';
  /** C type of a stored element (16-bit types are stored as raw bits). */
  storage: 'float' | 'double' | 'unsigned short';
}

export const DTYPE_TABLE: Readonly<Record<Dtype, DtypeRow>> = {
  float32: { short: 'f32', bytes: 4, accumulator: 'float', storage: 'float' },
  float64: { short: 'f64', bytes: 8, accumulator: 'double', storage: 'double' },
  float16: { short: 'f16', bytes: 2, accumulator: 'float', storage: 'unsigned short' },
  bfloat16: { short: 'bf16', bytes: 2, accumulator: 'float', storage: 'unsigned short' },
};

export const CUDA_ARCHITECTURES = [75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121] as const;
export type CudaArchitecture = (typeof CUDA_ARCHITECTURES)[number];

/** CPU instruction sets, best first. `baseline` assumes nothing of the machine. */
export const CPU_ISAS = ['avx512', 'avx2', 'baseline'] as const;
export type CpuIsa = (typeof CPU_ISAS)[number];

/** Where a kernel runs. `ptx` is the portable image for architectures newer than every cubin. */
export type Target = { kind: 'cuda'; arch: CudaArchitecture } | { kind: 'ptx' } | { kind: 'cpu'; isa: CpuIsa };

/** Register tile of the CPU matrix micro-kernel: `m` broadcast rows by `n` vector lanes. */
export const CPU_TILES: Readonly<
  Record<CpuIsa, Readonly<Record<'float' | 'double', readonly [m: number, n: number]>>>
> = {
  avx512: { float: [14, 32], double: [14, 16] },
  avx2: { float: [6, 16], double: [6, 8] },
  baseline: { float: [4, 8], double: [4, 4] },
};

/** Vector bytes of each instruction set; the baseline's vectors are what GCC and Clang make of them anywhere. */
export const CPU_VECTOR_BYTES: Readonly<Record<CpuIsa, number>> = { avx512: 64, avx2: 32, baseline: 16 };
export const ACCUMULATOR_BYTES: Readonly<Record<DtypeRow['accumulator'], number>> = { float: 4, double: 8 };

/** Sizes of a CPU register tile, in elements. */
export interface CpuTile {
  readonly rows: number;
  readonly lanes: number;
  /** Lanes of one vector. */
  readonly width: number;
  /** From one k to the next of the operand that is broadcast, where it is packed by k. */
  readonly a_pitch: number;
}

export function cpuTileOf(isa: CpuIsa, accumulator: DtypeRow['accumulator']): CpuTile {
  const [rows, lanes] = CPU_TILES[isa][accumulator];
  const width = CPU_VECTOR_BYTES[isa] / ACCUMULATOR_BYTES[accumulator];
  return { rows, lanes, width, a_pitch: Math.ceil(rows / width) * width };
}

/** `sm_90`, `ptx`, or `cpu_avx512`: the spelling of flags and reports; `targetName` gives the zone of a kernel name. */
export function targetFlag(target: Target): string {
  return target.kind === 'cuda' ? `sm_${target.arch}` : target.kind === 'ptx' ? 'ptx' : `cpu_${target.isa}`;
}

/** The last zone of a kernel name: `sm90`, `ptx`, `avx512`. */
export function targetName(target: Target): string {
  return target.kind === 'cuda' ? `sm${target.arch}` : target.kind === 'ptx' ? 'ptx' : target.isa;
}

/** The GPU whose shared memory a kernel of a target may count on: PTX is for any, so the oldest. */
export function oldestOf(target: Target): Target {
  return target.kind === 'ptx' ? { kind: 'cuda', arch: 75 } : target;
}
