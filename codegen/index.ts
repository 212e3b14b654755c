/** `fracstride/codegen`: problem → spec → text, for tools and tests. Knows no tensors and compiles nothing. */

export { type ErrorCode, FracstrideError } from './errors.js';
export { type Arg, type ArgKind, argumentTable, bytes, flops, OPERANDS, scalarArguments } from './passes.js';
export { type Axis, type AxisPhase, axisPhases, type Tap } from './phases.js';
export {
  ACTIVATIONS,
  type Activation,
  type Contraction,
  contraction,
  type Geometry,
  LAYOUTS,
  type Layout,
  makeProblem,
  OPS,
  type Op,
  PASSES,
  type Pair,
  type Pass,
  type Problem,
  problemKey,
} from './problem.js';
export { formatProblem, parseProblem } from './problem_text.js';
export { renderKernel } from './render.js';
export {
  type Baked,
  type Candidate,
  candidates,
  choose,
  kernelName,
  type LaunchGeometry,
  launchGeometry,
  parseKernelName,
  type Spec,
  specArguments,
} from './spec.js';
export { CPU_ISAS, CUDA_ARCHITECTURES, DTYPE_TABLE, DTYPES, type Dtype, type Target, targetFlag } from './target.js';
