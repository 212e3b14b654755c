/** Which CPU this is, for what is kept of it: measured rows, winners of tuning. */

import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/**
 * The CPU's name, and on Linux the numbers that its maker gives the core's design: virtual machines call every
 * generation the same, such as `AMD EPYC (family 25 model 17)` and `AMD EPYC (family 26 model 2)`.
 */
export function cpuModel(): string {
  known ??= [cpus()[0]?.model.trim() || 'unknown', designNumbers()].join(' ').trimEnd();
  return known;
}

let known: string | undefined;

/** Empty where the kernel does not tell, as on other systems and on ARM. */
function designNumbers(): string {
  try {
    const text = readFileSync('/proc/cpuinfo', 'latin1');
    const [family, model] = ['cpu family', 'model'].map(
      (name) => new RegExp(`^${name}\\s*: (\\d+)$`, 'm').exec(text)?.[1],
    );
    return family === undefined || model === undefined ? '' : `(family ${family} model ${model})`;
  } catch {
    return '';
  }
}
