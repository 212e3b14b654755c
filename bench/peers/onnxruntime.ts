/** onnxruntime-node as its users call it, in a process of its own: the commands of pytorch.py, forward only. */

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { convTransposeModel } from './onnx.js';
import type { LayerCommand } from './peer.js';
import { pattern } from './peer.js';
import { PACKAGE } from './places.js';

interface Tensor {
  readonly data: Float32Array;
}
interface Session {
  run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}
interface Runtime {
  readonly Tensor: new (type: string, data: Float32Array, dims: readonly number[]) => Tensor;
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
}

const require = createRequire(PACKAGE);
const runtime = require('onnxruntime-node') as Runtime;
const { version } = require('onnxruntime-node/package.json') as { version: string };
let session: Session | null = null;
let feeds: Record<string, Tensor> = {};

async function layer(command: LayerCommand): Promise<object> {
  await session?.release();
  const { stride, padding, output_padding: outputPadding, dilation, groups } = command.options;
  const y = command.y;
  const model = convTransposeModel({
    ...{ x: command.x, y, weightShape: command.weight, weight: pattern(command.weight) },
    ...{ bias: new Float32Array(y[1]!), strides: stride, pads: [...padding, ...padding] },
    ...{ outputPadding, dilations: dilation, group: groups },
  });
  session = await runtime.InferenceSession.create(model, {
    ...{ executionProviders: ['cpu'], intraOpNumThreads: command.threads, interOpNumThreads: 1 },
  });
  feeds = { x: new runtime.Tensor('float32', pattern(command.x), command.x) };
  const found = (await session.run(feeds)).y!;
  return { checksum: found.data.reduce((sum, value) => sum + Math.abs(value), 0) };
}

async function times(calls: number): Promise<object> {
  const found: number[] = [];
  for (let i = 0; i < calls; i++) {
    const start = performance.now();
    await session!.run(feeds);
    found.push(1000 * (performance.now() - start));
  }
  return { times: found };
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Omit<LayerCommand, 'do'> & { do: string; calls: number };
  let answer: object;
  try {
    if (command.do === 'versions') answer = { version };
    else answer = command.do === 'layer' ? await layer(command as LayerCommand) : await times(command.calls);
  } catch (error) {
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  console.log(JSON.stringify(answer));
}
