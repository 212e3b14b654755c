/** Tensors in files: `safetensors` (state dicts), `npy` (one array), `png` (one picture). */

export * as npy from './npy.js';
export * as png from './png.js';
export * as safetensors from './safetensors.js';
