/** What becomes one generated CPU source file an instruction set; cpu_sources.ts has the list. */

import { CPU_ISAS, type CpuIsa } from './target.js';

/** One kernel of a unit; its entry in the generated file has the kernel's own name. */
export interface CpuKernel {
  readonly name: string;
  /** One letter an argument, as codegen/passes.ts defines them. */
  readonly kinds: string;
  /** What its buffers must hold, as codegen/extents.ts writes it. */
  readonly extents: string;
}

/** One template that becomes one source file an instruction set. */
export interface CpuUnit {
  readonly what: string;
  /** All of them where nothing is said. */
  readonly isas?: readonly CpuIsa[];
  readonly template: string;
  context(isa: CpuIsa): Record<string, unknown>;
  kernels(isa: CpuIsa): readonly CpuKernel[];
}

export const isasOf = ({ isas = CPU_ISAS }: CpuUnit): readonly CpuIsa[] => isas;

export const isBuiltFor = (unit: CpuUnit, isa: CpuIsa): boolean => isasOf(unit).includes(isa);
