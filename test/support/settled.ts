/**
 * Loaded before all tests of a process: looks for the driver and its libraries as a program would. A test that opens a
 * stand-in in its own process comes after; otherwise the loader would find that by its name for every test behind it.
 */

import { native } from '../../src/native.js';

const { cudaInfo, cudnnInfo, nvrtcInfo } = native();
for (const look of [cudaInfo, cudnnInfo, nvrtcInfo]) look();
