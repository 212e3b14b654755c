/** Spec → the full text of its kernel. */

import { kernelContext } from './context.js';
import { CPU_UNITS, cpuSource } from './cpu_sources.js';
import { isBuiltFor } from './cpu_unit.js';
import { FracstrideError } from './errors.js';
import { kernelName, type Spec, variantOf } from './spec.js';
import type { CpuIsa } from './target.js';
import { renderTemplate } from './template.js';
import { withoutUnused } from './unused.js';

export { renderTemplate } from './template.js';

/**
 * The self-contained text of a kernel, the same bytes each time. For a CPU it is the generated file that holds the
 * kernel, which needs the headers of `cpu/`.
 *
 * @throws FracstrideError ERR_ARGUMENT for a spec that is not of the catalogue, or that a library computes
 */
export function renderKernel(spec: Spec): string {
  if (spec.target.kind === 'cpu') return cpuText(kernelName(spec), spec.target.isa);
  const { template, name } = variantOf(spec);
  if (template === null) {
    const sentence = `kernel: a kernel that has a text must be named, got ${kernelName(spec)}, which ${name} computes`;
    throw new FracstrideError('ERR_ARGUMENT', sentence);
  }
  return withoutUnused(renderTemplate(template, kernelContext(spec, template)));
}

/** The generated file that holds a CPU kernel. */
export function cpuText(name: string, isa: CpuIsa): string {
  const unit = CPU_UNITS.find(
    (candidate) => isBuiltFor(candidate, isa) && candidate.kernels(isa).some((kernel) => kernel.name === name),
  );
  if (unit !== undefined) return cpuSource(unit, isa).text;
  throw new FracstrideError('ERR_ARGUMENT', `render: a CPU source must define the kernel, got ${name}`);
}
