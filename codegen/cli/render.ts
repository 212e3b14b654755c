/** `fracstride render`: the exact text of a kernel, on stdout. */

import type { Command } from 'commander';
import { textOf } from '../kernel.js';
import { specFor } from '../presets.js';
import type { Target } from '../target.js';
import { targetOption } from './arguments.js';
import type { Session } from './session.js';

export function addRender(program: Command, session: Session): void {
  program
    .command('render')
    .description('print the exact source of a kernel')
    .argument('<problem...>', 'a problem, or a kernel name with or without its target')
    .addOption(targetOption())
    .addHelpText('after', HELP)
    .action((words: string[], { target }: { target: Target }) => {
      session.write(textOf(specFor(words.join(' '), target)));
    });
}

const HELP = `
Examples:
  fracstride render 'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1' --target sm_90
  fracstride render ct2d_wgrad_f16_nhwc__gather__sm80
  fracstride render add_f32__pointwise__sm90`;
