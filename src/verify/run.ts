/** The self-check of an installed package: every group of checks in every float type on one device. */

import '../methods.js';

import { DTYPES } from '../../codegen/target.js';
import { scope } from '../scope.js';
import { type Check, type Row, rowsOf } from './check.js';
import { CONVOLUTIONS } from './convolutions.js';
import { ELEMENTWISE } from './elementwise.js';
import { BATCH_NORMS, LOSSES } from './layers.js';
import { CASTS, CREATIONS, LAYOUTS } from './moves.js';
import { REDUCTIONS } from './reductions.js';
import { OPTIMIZERS } from './steps.js';

export type { Fault, Row, Status } from './check.js';

export const GROUPS: Readonly<Record<string, readonly Check[]>> = {
  convolutions: CONVOLUTIONS,
  'element-wise operations': ELEMENTWISE,
  reductions: REDUCTIONS,
  'batch normalisation': BATCH_NORMS,
  losses: LOSSES,
  'optimiser steps': OPTIMIZERS,
  'constants and random numbers': CREATIONS,
  casts: CASTS,
  'layouts and copies': LAYOUTS,
};

/** The rows of a device, group by group as they come. */
export function* verify(device: string): Generator<{ group: string; rows: Row[] }> {
  for (const [group, checks] of Object.entries(GROUPS)) {
    const rows = DTYPES.flatMap((dtype) =>
      checks.flatMap((check) => scope(() => rowsOf(group, check, { device, dtype }))),
    );
    yield { group, rows };
  }
}
