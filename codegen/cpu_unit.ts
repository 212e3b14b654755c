/** What becomes one generated CPU source file an instruction set; cpu_sources.ts has the list. */

import type { CpuIsa } from './target.js';

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
  readonly template: string;
  context(isa: CpuIsa): Record<string, unknown>;
  kernels(isa: CpuIsa): readonly CpuKernel[];
}
