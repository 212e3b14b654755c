/** What the template of the tensor-core kernels takes: its schema, and its values from a spec. */

import { z } from 'zod';
import { PLAN_SCHEMA, planOf, planValues } from './context_igemm.js';
import { isAsynchronous } from './igemm_tiles.js';
import { chunkOf, type MmaTile, mmaMemory, parseMmaTile, parseReading } from './mma_tiles.js';
import { type Baked, type Spec, variantOf } from './spec.js';

const count = z.int().min(1).max(0x7fffffff);
const size = z.literal([2, 4, 8, 16]);

export const MMA_SCHEMA = {
  ...PLAN_SCHEMA,
  asynchronous: z.boolean(),
  staged: z.boolean(),
  reader: z.enum(['carry', 'copy', 'fold']),
  piece_bytes: size,
  tile_m: count,
  tile_n: count,
  tile_k: count,
  warp_m: count,
  warp_n: count,
  stages: count,
  turn_rows: count,
  line: count,
  depths: count,
  unit: count,
  planes: z.enum(['true', 'false']),
} as const;

export function mmaValues(spec: Spec, form: 'expand' | 'contract', baked: Baked) {
  const { tunables, layout, target, dtype } = spec;
  const tile = parseMmaTile(tunables);
  const plan = planOf(spec, form, baked);
  const { stages, resident } = mmaMemory(tunables, dtype, target, plan.mostTaps);
  const { staged, bytes } = parseReading(tunables);
  const { folds } = variantOf(spec);
  return {
    ...planValues(spec, plan, baked),
    asynchronous: isAsynchronous(target),
    staged,
    reader: folds === true ? 'fold' : staged ? 'carry' : 'copy',
    piece_bytes: bytes,
    resident: Math.max(1, resident),
    threads: tile.threads,
    tile_m: tile.m,
    tile_n: tile.n,
    tile_k: tile.k,
    warp_m: tile.warpM,
    warp_n: tile.warpN,
    stages,
    ...lanesOf(spec, tile),
    planes: String(layout === 'nchw'),
    /** Neighbouring lanes write to neighbouring positions, or to every second channel. */
    turn_rows: layout === 'nchw' ? 2 : 1,
  };
}

/**
 * Threads that read NCHW side by side: `line` positions of one depth, then as many of the next of `depths`, each of `unit`
 * elements. Through registers a thread carries a chunk of channels of one position; copies of single elements have eight
 * positions, a sector, of four channels a warp, which arrive in different banks.
 */
function lanesOf(spec: Spec, { k, threads }: MmaTile) {
  const chunk = chunkOf(spec.dtype);
  const depths = parseReading(spec.tunables).staged ? k / chunk : 4;
  const staged = { line: threads / depths, depths, unit: chunk };
  return parseReading(spec.tunables).staged ? staged : { line: 8, depths, unit: 1 };
}
