/** Which of the CPU's Winograd kernels may be chosen: a setting of the back end that the choice of kernels asks for. */

import type { WinogradMode } from '../codegen/variant.js';
import { changeChoice } from './device.js';

let mode: WinogradMode = 'accurate';

export function winogradMode(): WinogradMode {
  return mode;
}

export function setWinogradMode(value: WinogradMode): void {
  if (value !== mode) changeChoice();
  mode = value;
}
