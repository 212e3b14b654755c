/** The environment: the default device, and what FRACSTRIDE_DEBUG prints; each in a process of its own. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { cuda } from '../../src/index.js';

const ENTRY = new URL('../../src/index.js', import.meta.url).href;
const PROGRAM = `
  import { nn, ones } from '${ENTRY}';
  const [x, w] = [ones([1, 1, 2, 2]), ones([1, 1, 2, 2])];
  nn.functional.convTranspose2d(x, w);
  console.log(nn.functional.convTranspose2d(x, w).device);
`;

function run(env: Record<string, string>): { status: number | null; out: string; err: string } {
  const result = spawnSync(process.execPath, ['--input-type=module', '-e', PROGRAM], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    env: { ...process.env, FRACSTRIDE_DEVICE: '', FRACSTRIDE_DEBUG: '', ...env },
    encoding: 'utf8',
  });
  return { status: result.status, out: result.stdout, err: result.stderr };
}

describe('the environment', () => {
  it('says nothing unless asked', () => {
    const { status, err } = run({});
    expect([status, err]).deep.equals([0, '']);
  });

  it('debug level 1 tells the device that auto is, once, and each kernel', () => {
    const lines = run({ FRACSTRIDE_DEBUG: '1', FRACSTRIDE_DEVICE: 'auto' }).err.trim().split('\n');
    expect(lines.filter((line) => line.startsWith("fracstride: device 'auto' is ")).length).equals(1);
    const kernels = lines.filter((line) => /^fracstride: (cpu|cuda:0) ct2d_fwd_f32_nchw\w+$/.test(line));
    expect(kernels.length).equals(2);
  });

  it('level 2 adds times, level 3 the candidates of a choice, once', () => {
    const lines = run({ FRACSTRIDE_DEBUG: '3', FRACSTRIDE_DEVICE: 'cpu' }).err.trim().split('\n');
    expect(lines.filter((line) => /ct2d_fwd_f32_nchw\w+ [\d.]+ µs$/.test(line)).length).equals(2);
    expect(lines.filter((line) => line.startsWith('fracstride: chose ct2d_fwd_f32_nchw')).length).equals(1);
    expect(lines.filter((line) => /^fracstride: {3}\S.*: (cost [\d.]+|.{10,})$/.test(line)).length).greaterThan(1);
  });

  it('FRACSTRIDE_DEVICE is the default, and an unavailable one is an error, never the cpu', () => {
    expect(run({ FRACSTRIDE_DEVICE: 'cpu' }).out).equals('cpu\n');
    const wrong = run({ FRACSTRIDE_DEVICE: 'tpu' });
    expect(wrong.err).contains("ones: device must be 'cpu', 'cuda', 'cuda:N' or 'auto', got \"tpu\"");
    const missing = run({ FRACSTRIDE_DEVICE: 'cuda:99' });
    expect(missing.err).contains('ERR_DEVICE_UNAVAILABLE');
    expect(missing.status).equals(1);
    if (!cuda.isAvailable()) expect(missing.err).contains(cuda.unavailableReason()!);
  });
});
