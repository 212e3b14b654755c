/** How many kernels something launches, on all devices. */

import { native } from '../../src/native.js';

export function launchesDuring(fn: () => void): number {
  const addon = native();
  const original = addon.launch;
  let launches = 0;
  addon.launch = (...args) => {
    launches++;
    original.apply(addon, args);
  };
  try {
    fn();
  } finally {
    addon.launch = original;
  }
  return launches;
}
