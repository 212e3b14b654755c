/** The addon's verbs for cuDNN on the simulator's driver and its stand-in for libcudnn, which computes. */

import { expect } from 'chai';
import { CUDNN_SIMULATOR, simulatedReport, simulatorOnly } from '../support/simulated.js';

async function report(what: string): Promise<Record<string, unknown>> {
  const env = { FRACSTRIDE_LIBCUDNN: CUDNN_SIMULATOR };
  return simulatedReport({ program: 'cudnn_child', args: [what], env });
}

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
