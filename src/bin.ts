#!/usr/bin/env node

/** The program `fracstride`: codegen's command line, with what only the addon and the library have. */

import { OWN_TOOLS } from '../codegen/cli/tools.js';
import { main } from '../codegen/cli.js';
import { addBench } from './cli/bench.js';
import { addDoctor } from './cli/doctor.js';
import { addTune } from './cli/tune.js';
import { addVerify } from './cli/verify.js';
import { libraryUse } from './libraries.js';
import { nvrtc } from './nvrtc.js';

const tools = {
  compilers: { ...OWN_TOOLS.compilers, nvrtc },
  recorder: new URL('./record_hook.js', import.meta.url).href,
  library: libraryUse,
  groups: [addVerify, addDoctor, addBench, addTune],
};

// A reader that has seen enough (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
// What nobody reads of the messages changes nothing else.
process.stderr.on('error', () => {});
process.exitCode = await main(process.argv.slice(2), { tools });
