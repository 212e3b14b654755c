/**
 * How a square of WIDTH × WIDTH elements is turned: stages that each take two rows to two others, unpacked within the
 * 16 bytes that shuffles of one operation stay in, then whole ones of those exchanged.
 */

const UNPACKED_BYTES = 16;

export interface TurnStage {
  /** Distance of the two rows. */
  readonly step: number;
  /** Lanes of both rows, those of the second from WIDTH on, that become the first and the second. */
  readonly first: string;
  readonly second: string;
}

/** The stages, and the row that holds each column after them. */
export function turnStages(width: number, bytes: number): { stages: readonly TurnStage[]; order: string } {
  const block = Math.min(width, UNPACKED_BYTES / bytes);
  const lanes = range(width);
  // Row i of the square holds elements i · width + column.
  let rows = lanes.map((row) => lanes.map((column) => row * width + column));
  const stages: TurnStage[] = [];
  for (let step = 1; step < width; step *= 2) {
    const [first, second] = step < block ? unpacked(width, block, step) : exchanged(width, block);
    stages.push({ step, first: first.join(', '), second: second.join(', ') });
    const next = rows.map((row) => [...row]);
    for (const i of lanes.filter((row) => (row & step) === 0)) {
      const both = [...rows[i]!, ...rows[i + step]!];
      next[i] = first.map((lane) => both[lane]!);
      next[i + step] = second.map((lane) => both[lane]!);
    }
    rows = next;
  }
  return { stages, order: lanes.map((column) => rows.findIndex((row) => row[0] === column)).join(', ') };
}

type Lanes = readonly number[];

/** In each block, runs of `unit` lanes of both rows in turn: of the block's first half, and of its second. */
function unpacked(width: number, block: number, unit: number): readonly [Lanes, Lanes] {
  const half = (begin: number) =>
    range(width).map((lane) => {
      const [at, inside] = [lane % block, lane % unit];
      const run = Math.floor(at / unit);
      return lane - at + begin + (run >> 1) * unit + inside + (run % 2) * width;
    });
  return [half(0), half(block / 2)];
}

/** Every second block of the first row and then of the second: the even ones, and the odd ones. */
function exchanged(width: number, block: number): readonly [Lanes, Lanes] {
  const every = (begin: number) =>
    range(width).map((lane) => {
      const inside = lane % block;
      const at = 2 * (lane - inside) + inside;
      return at + begin;
    });
  return [every(0), every(block)];
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
