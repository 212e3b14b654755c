/** What peers are asked, and the model that onnxruntime is given. Times are the business of `npm run bench:peers`. */

import { expect } from 'chai';
import { convTransposeModel } from '../../bench/peers/onnx.js';
import { callsOf, layerCommand, pattern } from '../../bench/peers/peer.js';
import { parseProblem } from '../../codegen/problem_text.js';
import { BENCH_LAYERS } from '../../src/bench/layers.js';

describe('peers of benches', () => {
  it('are asked for a layer by the arguments of PyTorch', () => {
    const problem = parseProblem(BENCH_LAYERS['fsrcnn_n16_56-1_64x64_k9s3p4op2']!);
    expect(layerCommand(problem, 2, false)).to.deep.equal({
      ...{ do: 'layer', threads: 2, backward: false, channelsLast: false },
      ...{ x: [16, 56, 64, 64], weight: [56, 1, 9, 9], y: [16, 1, 192, 192] },
      options: { stride: [3, 3], padding: [4, 4], output_padding: [2, 2], groups: 1, dilation: [1, 1] },
    });
  });

  it('compute with the same values, in rounds that last', () => {
    const values = pattern([2, 505]);
    expect(values).to.have.length(1010);
    expect([values[0], values[1009]]).to.deep.equal([-0.5, -0.5]);
    expect(Math.max(...values)).to.be.below(0.5);
    for (const words of Object.values(BENCH_LAYERS)) expect(callsOf(parseProblem(words), true)).to.be.within(1, 50);
  });

  it('get an ONNX model whose parts are as long as they say', () => {
    const model = convTransposeModel({
      ...{ x: [1, 2, 3, 3], y: [1, 1, 300, 5], weightShape: [2, 1, 2, 2], weight: pattern([2, 1, 2, 2]) },
      ...{ bias: new Float32Array(1), strides: [2, 2], pads: [0, 0, 0, 0], outputPadding: [0, 0], dilations: [1, 1] },
      group: 1,
    });
    // ModelProto: ir_version 8, then the graph (field 7) and the operator set (field 8) that ends the file.
    expect([...model.subarray(0, 3)]).to.deep.equal([8, 8, 0x3a]);
    const length = model[3]! - 0x80 + 0x80 * model[4]!;
    expect([...model.subarray(5 + length)]).to.deep.equal([0x42, 2, 0x10, 17]);
    expect(Buffer.from(model).includes('ConvTranspose')).to.equal(true);
  });
});
