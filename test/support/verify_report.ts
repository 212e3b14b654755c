/** What `fracstride verify --json` reports, and that it leaves nothing out. */

import { expect } from 'chai';
import { POINTWISE } from '../../codegen/pointwise.js';
import { ALL_DTYPES } from '../../src/dtype.js';
import type { Row } from '../../src/verify/run.js';

export interface Report {
  readonly ok: boolean;
  readonly summary: Readonly<Record<'results' | 'ok' | 'failed' | 'notCompiled', number>> & { readonly said: string };
  readonly seconds: number;
  readonly devices: readonly { readonly device: string; readonly model: string }[];
  readonly rows: readonly Row[];
}

export const distinct = (rows: readonly Row[], of: (row: Row) => string | null): string[] =>
  [...new Set(rows.map((row) => String(of(row))))].sort();

/** Every operation in every type and layout is in the report, with a kernel of the device. */
export function expectWhole({ rows, ok, summary }: Report, device: string): void {
  const own = rows.filter((row) => row.device === device);
  expect(own.filter(({ status }) => status !== 'ok')).to.deep.equal([]);
  expect(ok).to.equal(true);
  expect(summary.ok).to.equal(rows.length);
  const operations = distinct(own, (row) => row.operation);
  const convolutions = ['conv2d', 'convTranspose2d'].flatMap((name) =>
    ['forward', 'input gradient', 'weight gradient', 'bias gradient'].map((pass) => `${name} ${pass}`),
  );
  const others = ['sum', 'mean', 'max', 'SGD', 'Adam', 'AdamW', 'rand', 'randn', 'full', 'arange', 'mse loss'];
  expect(operations).to.include.members([...convolutions, ...Object.keys(POINTWISE), ...others]);
  expect(operations).to.include.members(ALL_DTYPES.map((dtype) => `to ${dtype}`));
  for (const name of convolutions) {
    const kinds = distinct(
      own.filter((row) => row.operation === name),
      ({ dtype, layout }) => `${dtype} ${layout}`,
    );
    expect(kinds, name).to.have.length(8);
  }
  for (const { kernel, share } of own) {
    expect(kernel).to.match(/^\w+__\w+__(avx512|avx2|baseline|ptx|sm\d+)$/);
    expect(share).to.be.within(0, 1);
  }
  expect(distinct(own, ({ dtype }) => dtype)).to.deep.equal(['bfloat16', 'float16', 'float32', 'float64']);
}
