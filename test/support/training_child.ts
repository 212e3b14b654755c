/** `node training_child.js SEED STEPS THREADS`: prints the digest of a training run in a process of its own. */

import { trainedDigest } from './training.js';

const [seed, steps, threads] = process.argv.slice(2).map(Number);
console.log(trainedDigest({ seed: seed!, steps: steps!, threads: threads! }));
