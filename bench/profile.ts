/** A profile from what FRACSTRIDE_DEBUG=2 tells: each launch, and the time until it had ended. */

export interface Launch {
  readonly kernel: string;
  readonly us: number;
}

export interface Share {
  readonly what: string;
  /** Launches a step. */
  readonly calls: number;
  readonly ms: number;
  /** Of the step. */
  readonly share: number;
}

/**
 * The launches of the fastest step and its milliseconds. Between steps the text has lines `step <index> <milliseconds>`;
 * the first step loads kernels and is left out where there are others.
 */
export function launchesOf(text: string): { launches: Launch[]; stepMs: number } {
  const steps: { at: number; launches: Launch[] }[] = [];
  for (const line of text.split('\n')) {
    const step = /^step \d+ ([\d.]+)$/.exec(line);
    if (step !== null) steps.push({ at: Number(step[1]), launches: [] });
    const launch = /^fracstride: \S+ (\S+) ([\d.]+) µs$/.exec(line);
    if (launch !== null) steps.at(-1)?.launches.push({ kernel: launch[1]!, us: Number(launch[2]) });
  }
  const whole = steps.slice(0, -1).map(({ at, launches }, i) => ({ launches, stepMs: steps[i + 1]!.at - at }));
  const warm = whole.length > 1 ? whole.slice(1) : whole;
  return warm.reduce((best, each) => (each.stepMs < best.stepMs ? each : best), warm[0] ?? { launches: [], stepMs: 0 });
}

/** Time by kernel, most first; in the end what the step spent outside of kernels. */
export function shares(launches: readonly Launch[], stepMs: number): Share[] {
  const found = new Map<string, { calls: number; us: number }>();
  for (const { kernel, us } of launches) {
    const row = found.get(kernel) ?? { calls: 0, us: 0 };
    found.set(kernel, { calls: row.calls + 1, us: row.us + us });
  }
  const share = (what: string, calls: number, ms: number): Share => ({
    ...{ what, calls, ms: Number(ms.toFixed(3)) },
    share: Number((ms / stepMs).toFixed(4)),
  });
  const rows = [...found].map(([kernel, { calls, us }]) => share(kernel, calls, us / 1e3));
  const inside = launches.reduce((sum, { us }) => sum + us / 1e3, 0);
  return [...rows.sort((a, b) => b.ms - a.ms), share('outside of kernels', 0, stepMs - inside)];
}
