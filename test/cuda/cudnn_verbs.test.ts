/** The addon's verbs for cuDNN on the simulator's driver and its stand-in for libcudnn, which computes. */

import { expect } from 'chai';
import { CUDNN_SIMULATOR, simulatedReport, simulatorOnly } from '../support/simulated.js';

async function report(what: string, words: readonly string[] = [], cudnn = ''): Promise<Record<string, unknown>> {
  const env = { FRACSTRIDE_LIBCUDNN: CUDNN_SIMULATOR, CUDNN_SIMULATOR: cudnn };
  return simulatedReport({ program: 'cudnn_child', args: [what, ...words], env });
}

/** cudnnStatus_t of version 9 and of version 8, by value. */
const STATUSES = {
  91002: {
    1001: 'NOT_INITIALIZED',
    1002: 'SUBLIBRARY_VERSION_MISMATCH',
    1007: 'RUNTIME_FP_OVERFLOW',
    1008: 'SUBLIBRARY_LOADING_FAILED',
    2000: 'BAD_PARAM',
    2002: 'BAD_PARAM_NULL_POINTER',
    2003: 'BAD_PARAM_MISALIGNED_POINTER',
    2008: 'BAD_PARAM_SHAPE_MISMATCH',
    3000: 'NOT_SUPPORTED',
    3002: 'NOT_SUPPORTED_SHAPE',
    3007: 'NOT_SUPPORTED_ARCH_MISMATCH',
    4000: 'INTERNAL_ERROR',
    4003: 'INTERNAL_ERROR_HOST_ALLOCATION_FAILED',
    4004: 'INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED',
    5000: 'EXECUTION_FAILED',
    5003: 'EXECUTION_FAILED_CUDART',
  },
  8907: {
    1: 'NOT_INITIALIZED',
    2: 'ALLOC_FAILED',
    3: 'BAD_PARAM',
    4: 'INTERNAL_ERROR',
    6: 'ARCH_MISMATCH',
    8: 'EXECUTION_FAILED',
    9: 'NOT_SUPPORTED',
  },
} as const;

describe("cuda: cuDNN's verbs", function () {
  this.timeout(180_000);

  simulatorOnly('compute every direction, type and layout by every algorithm', async () => {
    expect(await report('everything')).to.deep.equal({
      wrong: [],
      runs: true,
      refused: ['contract f64 nhwc: no algorithm', 'expand f64 nhwc: no algorithm', 'wgrad f64 nhwc: no algorithm'],
      live: 0,
    });
  });

  simulatorOnly('measure algorithms', async () => {
    expect(await report('measured')).to.deep.equal({ sorted: true, timed: true, right: true });
  });

  simulatorOnly('record runs into graphs, in which nothing can be measured', async () => {
    expect(await report('graph')).to.deep.equal({
      find: 'ERR_ARGUMENT cudnnFind: measuring algorithms must be done outside of cuda.graph, got it while a graph is recorded',
      before: false,
      after: true,
      own: true,
    });
  });

  simulatorOnly('end with their environment, which waits for what they run', async () => {
    const own = { handles: 1, tensors: 2, filters: 1, convolutions: 1 };
    expect(await report('workers')).to.deep.equal({
      results: [true, true, true],
      mine: own,
      left: own,
      right: true,
      fault: null,
    });
  });

  for (const [version, statuses] of Object.entries(STATUSES)) {
    simulatorOnly(`tell of every status of version ${version} by its name, and go on`, async () => {
      const { said, right } = await report('statuses', Object.keys(statuses), `version=${version}`);
      const last = (code: string): string =>
        version === '91002' ? `: cudnnConvolutionBackwardData was made to return ${code}` : '';
      expect(said).to.deep.equal(
        Object.entries(statuses).map(
          ([code, name]) =>
            `ERR_CUDNN cudnnRun: cudnnConvolutionBackwardData of algo 0 of a test must succeed, got CUDNN_STATUS_${name} (${code})${last(code)}`,
        ),
      );
      expect(right).to.equal(true);
    });
  }

  simulatorOnly('refuse arguments of the wrong kind, handles of nothing, and memory that is too small', async () => {
    const { said, bgrad } = await report('hostile');
    expect(bgrad).to.equal(true);
    const plan = (verb: string, got: string): string =>
      `ERR_ARGUMENT ${verb}: plan must be a handle that cudnnPlan returned for this device, got ${got}`;
    const operand = (verb: string, rule: string): string =>
      `ERR_ARGUMENT ${verb}: small of algo 0 of a test must be ${rule}`;
    expect(said).to.deep.equal({
      'no device': 'ERR_DEVICE_UNAVAILABLE device: cuda:29 must be one of 1 CUDA devices, got none of them',
      'the CPU': 'ERR_ARGUMENT cudnnPlan: device must be one that cuDNN can use, got cpu',
      form: 'ERR_ARGUMENT cudnnPlan: form must be an integer from 0 to 3, got 4',
      sizes: 'ERR_ARGUMENT cudnnPlan: problem must be an Int32Array of 16 sizes, got 60 bytes',
      'other array': 'ERR_ARGUMENT cudnnPlan: problem must be an Int32Array of 16 sizes, got an object',
      'no array': 'ERR_ARGUMENT cudnnPlan: problem must be an Int32Array of 16 sizes, got an object',
      dtype: 'ERR_ARGUMENT cudnnPlan: dtype must be an integer from 0 to 3, got 1.5',
      layout: 'ERR_ARGUMENT cudnnPlan: layout must be an integer from 0 to 1, got 2',
      flags: 'ERR_ARGUMENT cudnnPlan: flags must be an integer from 0 to 7, got 8',
      op: 'ERR_ARGUMENT cudnnPlan: height of the problem must be the one size that symmetric padding gives, with an output padding below the stride, got 3 and 8',
      handle: plan('cudnnAlgorithms', '101'),
      fraction: plan('cudnnAlgorithms', '1.5'),
      NaN: plan('cudnnAlgorithms', 'NaN'),
      text: 'ERR_ARGUMENT cudnnAlgorithms: plan must be a number, got a string',
      'device of plan': plan('cudnnRun', '1'),
      algorithm: 'ERR_ARGUMENT cudnnChoose: algorithm must be one of cudnnAlgorithms, got 99',
      math: 'ERR_ARGUMENT cudnnChoose: math type must be an integer from 0 to 3, got 7',
      TF32: "ERR_ARGUMENT cudnnChoose: math type must be one that the plan's flags allow (FMA, 3, without TF32), got 0",
      name: 'ERR_ARGUMENT cudnnChoose: name must be a string, got a number',
      contract:
        'ERR_NONDETERMINISTIC cudnnChoose: the algorithm of cudnnConvolutionBackwardData must be deterministic, got algorithm 0',
      'no choice':
        'ERR_ARGUMENT cudnnRun: plan must be one that cudnnChoose was called for, got one without an algorithm',
      nulls: operand('cudnnRun', 'a buffer of 720 bytes, got handle 0'),
      short: operand('cudnnRun', 'at least 720 bytes, got 16'),
      dead: 'ERR_ARGUMENT cudnnRun: argument 0 must be a live buffer of cuda:0, got handle 12345',
      outside: 'ERR_ARGUMENT cudnnRun: argument 0 must lie inside its buffer of 16 bytes, got 16 bytes at offset 8',
      bytes: 'ERR_ARGUMENT cudnnRun: argument 0 must lie inside its buffer of 16 bytes, got NaN bytes at offset 0',
      find: operand('cudnnFind', 'at least 720 bytes, got 16'),
      freed: plan('cudnnRun', '1'),
    });
  });
});
