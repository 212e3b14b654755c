/** Kernels that take a table of pointers, or of counts, as one argument. */

import { expect } from 'chai';
import { simulatedReport } from '../support/simulated.js';

describe('cuda: tables as arguments', function () {
  this.timeout(60_000);
  let report: Record<string, unknown>;
  before(async () => {
    report = (await simulatedReport({ program: 'tables_child' })) as Record<string, unknown>;
  });

  it('arrive by value, with zeros behind the last entry', () => {
    const expected = [
      [-5, 2 ** 40, 0],
      [0, 0, 7],
    ];
    expect(report.written).to.deep.equal(expected);
  });

  it('may be empty and may hold null pointers', () => {
    const expected = [
      [0, 0, 0],
      [0, 0, 9],
    ];
    expect(report.nulls).to.deep.equal(expected);
  });

  it('are refused with more entries than they hold, or with one that is wrong', () => {
    const start = 'ERR_ARGUMENT launch: argument';
    expect(report.tooMany).to.equal(`${start} 0 of tables must be an integer from 0 to 4, got 5`);
    expect(report.tooManyCounts).to.equal(`${start} 1 of tables must be an integer from 0 to 3, got 4`);
    expect(report.dead).to.equal(`${start} 0 must be a live buffer of cuda:0, got handle 12345`);
    expect(report.outside).to.equal(`${start} 0 must lie inside its buffer of 32 bytes, got 24 bytes at offset 16`);
    expect(report.fraction).to.match(
      /^ERR_ARGUMENT launch: argument 1 of tables must be an integer from .*, got 0\.5$/,
    );
  });

  it('have a capacity that a kernel can take', () => {
    for (const text of report.kinds as string[])
      expect(text).to.match(/^ERR_ARGUMENT load: kinds must be at most 128 letters/);
    expect(report.kinds).to.have.length(8);
  });
});
