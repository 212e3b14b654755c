/** `cuda.graph`: a recorded step gives what the steps themselves give, and what cannot be recorded is refused. */

import { expect } from 'chai';
import { describeCuda, simulatedReport, simulatorOnly } from '../support/simulated.js';

interface Training {
  losses: number[];
  state: number[][];
  launches: number[];
}

interface Report {
  eager: Training;
  replayed: Training;
  inputs: { values: number[][]; escaped: number[]; dead: string; kept: number[] };
  refusals: Record<string, { code: string; message: string; left: number }>;
  left: number;
}

describeCuda('cuda.graph', function () {
  this.timeout(240_000);
  let report: Report;
  before(async () => {
    report = await simulatedReport<Report>({ program: 'graph_child' });
  });

  it('replays a training step bit for bit: losses, parameters, running averages', () => {
    const { eager, replayed } = report;
    expect(eager.losses).to.have.length(6);
    expect(new Set(eager.losses).size).equals(6);
    expect(replayed.losses).deep.equals(eager.losses);
    expect(replayed.state).deep.equals(eager.state);
  });

  simulatorOnly('runs nothing while it records, and the same kernels in each replay', () => {
    const [, , recording, ...replays] = report.replayed.launches;
    expect(recording).equals(0);
    expect(replays).to.have.length(4);
    expect(new Set(replays).size).equals(1);
    expect(replays[0]).above(10);
    expect(replays[0]).equals(report.eager.launches.at(-1)!);
  });

  it('reads its inputs anew, keeps its memory to itself, and leaves its outputs', () => {
    const { values, escaped, dead } = report.inputs;
    const rows = [1, 10, 100].flatMap((first) => {
      const x = [first, first + 1, first + 2];
      return [x.map((v) => 2 * v), x.map((v) => 4 * v), [0, 0, 0]];
    });
    expect(values).deep.equals([...rows, [222, 228, 234]]);
    expect(escaped).deep.equals([200, 202, 204]);
    expect(dead).equals('ERR_DISPOSED');
  });

  it('tells what it keeps for itself, the sum on the way', () => {
    const [before, recorded, disposed] = report.inputs.kept;
    expect([before, disposed]).deep.equals([0, 0]);
    expect(recorded).above(0);
  });

  for (const [name, code, sentence] of [
    ['read', 'ERR_ARGUMENT', /^cuda.graph: reading a tensor must be done outside of fn, got /],
    ['item', 'ERR_ARGUMENT', /^cuda.graph: reading a tensor must be done outside of fn, got /],
    ['upload', 'ERR_ARGUMENT', /^cuda.graph: making a tensor from data must be done outside of fn, got .*copy_/],
    ['random', 'ERR_ARGUMENT', /^cuda.graph: drawing random numbers must be done outside of fn, got /],
    ['wait', 'ERR_ARGUMENT', /^cuda.graph: waiting for the device must be done outside of fn, got /],
    ['nested', 'ERR_ARGUMENT', /^cuda.graph: a graph must be recorded by itself, got one inside another/],
    ['async', 'ERR_ARGUMENT', /^cuda.graph: fn must be synchronous, got one that returns a promise/],
    ['thrown', 'MINE', /^of the user$/],
    ['cpu', 'ERR_ARGUMENT', /^graph: device must be a CUDA device, got cpu/],
    ['elsewhere', 'ERR_ARGUMENT', /graph.* must .* got /],
    ['noFunction', 'ERR_ARGUMENT', /^cuda.graph: fn must be a function, got null/],
    ['newState', 'ERR_ARGUMENT', / must .* got /],
    ['hostCount', 'ERR_ARGUMENT', /capturable must be true for a step that a graph records, got false/],
  ] as const) {
    it(`ends with an error and leaves nothing behind: ${name}`, () => {
      const found = report.refusals[name]!;
      expect(found.message).to.match(sentence);
      expect(found.code).equals(code);
      expect(found.left).equals(0);
    });
  }

  it('gives all memory back', () => {
    expect(report.left).equals(0);
  });
});
