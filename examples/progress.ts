/** Shows how far a training is: one line that redraws itself on a terminal, a plain line every few seconds elsewhere. */

const LONGEST_BAR = 24;
const LINE_EVERY_MS = 5000;
const REDRAW_EVERY_MS = 100;

export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressOptions {
  readonly total: number;
  /** Pictures a step, for the rate. */
  readonly batch: number;
  readonly output: Output;
  /** Milliseconds; a test hands in its own clock. */
  readonly now?: () => number;
}

export class Progress {
  readonly #total: number;
  readonly #batch: number;
  readonly #output: Output;
  readonly #now: () => number;
  readonly #start: number;
  #shown = Number.NEGATIVE_INFINITY;
  /** Time at the end of the first step: it pays for set-up, so the rate leaves it out. */
  #first = 0;

  constructor({ total, batch, output, now = () => performance.now() }: ProgressOptions) {
    this.#total = total;
    this.#batch = batch;
    this.#output = output;
    this.#now = now;
    this.#start = now();
  }

  /** Call after every step, with what to show beside it, e.g. { loss: 0.0123 }. */
  update(step: number, numbers: Readonly<Record<string, number>>): void {
    const time = this.#now();
    if (step === 1) this.#first = time;
    const last = step === this.#total;
    if (!last && time - this.#shown < (this.#output.isTTY ? REDRAW_EVERY_MS : LINE_EVERY_MS)) return;
    this.#shown = time;
    const text = this.#text(step, numbers, time);
    if (!this.#output.isTTY) this.#output.write(`${text}\n`);
    else this.#output.write(`\r\u001b[K${this.#withBar(text, step / this.#total)}${last ? '\n' : ''}`);
  }

  /** The bar takes what the text leaves of the line. */
  #withBar(text: string, share: number): string {
    const room = (this.#output.columns ?? 80) - 1;
    const length = Math.max(0, Math.min(LONGEST_BAR, room - text.length - 1));
    const filled = Math.round(share * length);
    return `${'█'.repeat(filled)}${'░'.repeat(length - filled)} ${text}`.slice(0, room);
  }

  #text(step: number, numbers: Readonly<Record<string, number>>, time: number): string {
    const perStep = step > 1 ? (time - this.#first) / (step - 1) : time - this.#start;
    return [
      `${Math.floor((100 * step) / this.#total)}%`.padStart(4),
      `step ${step}/${this.#total}`,
      ...Object.entries(numbers).map(([name, value]) => `${name} ${value.toFixed(4)}`),
      `${Math.round((this.#batch * 1000) / Math.max(perStep, 1e-6))} pictures/s`,
      step === this.#total ? `in ${duration(time - this.#start)}` : `${duration((this.#total - step) * perStep)} left`,
    ].join('  ');
  }
}

/** 75,300 ms → '1:15'. */
export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}
