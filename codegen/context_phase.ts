/** What the templates of the phase kernels take: their schemas, and their values from a spec. */

import { z } from 'zod';
import { axisSteps, axisTable } from './context_igemm.js';
import type { AxisPhase } from './phases.js';
import { ACTIVATIONS } from './problem.js';
import type { Baked, Spec } from './spec.js';
import { DTYPE_TABLE } from './target.js';
import { type PhasePlan, parseTile, phasePlan, wgradSegments } from './tiles.js';

const count = z.int().min(1).max(0x7fffffff);
const index = z.int().min(0).max(0x7fffffff);
const offset = z.int().min(-0x7fffffff).max(0x7fffffff);
/** Integers, commas and braces: the inside of an initialiser. */
const list = z.string().regex(/^[-\d, {}]*$/);
const read = z.strictObject({
  bit: index.max(31),
  delta: offset,
  uses: z.array(z.strictObject({ phase: index, column: index })),
});

export const PHASE_SCHEMA = {
  taps: count,
  kernel_width: count,
  has_bias: z.enum(['true', 'false']),
  activation: index,
  positions: count,
  channels: count,
  block_positions: count,
  block_channels: count,
  block_tile: count,
  width: count,
  together: count,
  phases: count,
  columns: count,
  depth: count,
  row_start: list,
  row_taps: list,
  row_deltas: list,
  column_counts: list,
  column_taps: list,
  column_groups: z.array(z.strictObject({ index, residues: list, reads: z.array(read) })),
} as const;

export const PHASE_WGRAD_SCHEMA = {
  kernel_height: count,
  kernel_width: count,
  small_channels: count,
  large_channels: count,
  block_positions: count,
  block_channels: count,
  block_tile: count,
  segment: count,
  segments: count,
} as const;

/** Bytes of shared memory for staged weights: few enough that blocks, not memory, limit how many run together. */
const STAGED_BYTES = 16384;

/** `run`: neighbouring outputs of a thread. */
export function phaseValues(spec: Spec, form: 'expand' | 'contract', baked: Baked) {
  const tile = parseTile(spec.tunables);
  const plan = phasePlan(form, baked, tile, spec.dtype);
  const width = tile.channels * tile.blockChannels;
  const groups = columnGroups(plan);
  const columns = Math.max(1, ...groups.map((group) => group.taps.length));
  const bytes = DTYPE_TABLE[spec.dtype].accumulator === 'double' ? 8 : 4;
  const depth = Math.max(1, Math.min(64, Math.floor(STAGED_BYTES / (columns * width * bytes))));
  return {
    ...axisTable('row', plan.rows),
    run: spec.layout === 'nchw' ? plan.together : tile.channels,
    ...axisSteps(plan),
    taps: baked.r * baked.s,
    kernel_width: baked.s,
    has_bias: String(baked.bias),
    activation: ACTIVATIONS.indexOf(baked.activation),
    positions: tile.first,
    channels: tile.channels,
    block_positions: tile.blockPositions,
    block_channels: tile.blockChannels,
    block_tile: tile.first * tile.blockPositions,
    threads: tile.blockPositions * tile.blockChannels,
    width,
    together: plan.together,
    phases: plan.blocks,
    columns,
    depth,
    column_counts: groups.map((group) => group.taps.length).join(', '),
    column_taps: groups.map((group) => `{${group.taps.join(', ') || '0'}}`).join(', '),
    column_groups: groups.map(({ index: at, residues, reads }) => ({ index: at, residues, reads })),
  };
}

interface ColumnGroup {
  readonly index: number;
  readonly residues: string;
  /** Columns of the kernel in the order of their reads. */
  readonly taps: readonly number[];
  readonly reads: readonly { bit: number; delta: number; uses: readonly { phase: number; column: number }[] }[];
}

/** Column phases in groups of `together`, with what each source column is used for. */
function columnGroups({ columns, together }: PhasePlan): ColumnGroup[] {
  const groups = Array.from({ length: columns.phases.length / together }, (_, i) =>
    columns.phases.slice(i * together, (i + 1) * together),
  );
  return groups.map((phases, at) => {
    const uses = usesOf(phases);
    const deltas = [...new Set(uses.map((use) => use.delta))];
    const reads = deltas.map((delta, bit) => ({
      bit,
      delta,
      uses: uses.flatMap((use, column) => (use.delta === delta ? [{ phase: use.phase, column }] : [])),
    }));
    const residues = phases.map((phase) => phase.residue).join(', ');
    return { index: at, residues, taps: uses.map((use) => use.tap), reads };
  });
}

function usesOf(phases: readonly AxisPhase[]): { tap: number; delta: number; phase: number }[] {
  return phases
    .flatMap(({ taps }, phase) => taps.map(({ tap, delta }) => ({ tap, delta, phase })))
    .sort((a, b) => a.delta - b.delta || a.phase - b.phase);
}

export function phaseWgradValues(spec: Spec, baked: Baked) {
  const tile = parseTile(spec.tunables);
  const segments = wgradSegments(baked.s, tile, spec.dtype);
  return {
    threads: tile.blockPositions * tile.blockChannels,
    kernel_height: baked.r,
    kernel_width: baked.s,
    small_channels: tile.first,
    large_channels: tile.channels,
    block_positions: tile.blockPositions,
    block_channels: tile.blockChannels,
    block_tile: tile.channels * tile.blockChannels,
    segment: segments.width,
    segments: segments.count,
  };
}
