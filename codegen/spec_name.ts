/** Kernel names as text: the grammar of the three zones, both ways, with no word about which names exist. */

import { ACTIVATIONS, type Activation, type Contraction, LAYOUTS, type Layout, type Pair } from './problem.js';
import { CPU_ISAS, CUDA_ARCHITECTURES, DTYPE_TABLE, DTYPES, type Dtype, type Target, targetName } from './target.js';
import type { BakedShape } from './tiles.js';
import type { Tunables } from './variant.js';

interface BakedName extends BakedShape {
  readonly bias: boolean;
  readonly activation: Activation;
}

/** The parts of a name; tunables are still words. */
export interface SpecName {
  readonly form: Contraction;
  readonly dtype: Dtype;
  readonly layout: Layout;
  readonly baked: BakedName | null;
  readonly variant: string;
  readonly tunables: string;
  readonly target: Target;
}

/** Contractions are named after the pass of the transposed convolution that they are. */
export const PASS_NAMES: Readonly<Record<Contraction, string>> = {
  expand: 'fwd',
  contract: 'dgrad',
  wgrad: 'wgrad',
  bgrad: 'bgrad',
};

export function formatSpecName(spec: Omit<SpecName, 'tunables'> & { readonly tunables: Tunables }): string {
  const what = ['ct2d', PASS_NAMES[spec.form], DTYPE_TABLE[spec.dtype].short, spec.layout, ...bakedWords(spec.baked)];
  return `${what.join('_')}__${wordsOf(spec)}__${targetName(spec.target)}`;
}

/** A variant and its settings as they stand in names: `phase_t4x8_b32x4`. */
export function wordsOf({ variant, tunables }: { readonly variant: string; readonly tunables: Tunables }): string {
  return [variant, ...Object.values(tunables)].join('_');
}

function bakedWords(baked: BakedName | null): string[] {
  if (baked === null) return [];
  const { r, s, stride, padding, dilation, groups, bias, activation } = baked;
  const spread = dilation[0] === 1 && dilation[1] === 1 ? '' : `d${pairText(dilation)}`;
  const grouped = groups === 1 ? '' : `g${groups}`;
  const shape = `k${pairText([r, s])}s${pairText(stride)}p${pairText(padding)}${spread}${grouped}`;
  return [shape, ...(bias ? ['bias'] : []), ...(activation === 'none' ? [] : [activation])];
}

const pairText = (pair: Pair) => (pair[0] === pair[1] ? `${pair[0]}` : `${pair[0]}x${pair[1]}`);

const PAIR = '(\\d{1,10}(?:x\\d{1,10})?)';
const SHAPE = `_k${PAIR}s${PAIR}p${PAIR}(?:d${PAIR})?(?:g(\\d{1,10}))?(_bias)?(?:_(${ACTIVATIONS.slice(1).join('|')}))?`;
const WHAT = new RegExp(`^ct2d_([a-z]+)_([a-z]+\\d+)_([a-z]+)(?:${SHAPE})?$`);

/** The parts of a name, or null when it does not follow the grammar. */
export function parseSpecName(name: string): SpecName | null {
  const [what = '', how = '', where = '', ...rest] = name.split('__');
  const match = WHAT.exec(what);
  const [variant = '', ...tunables] = how.split('_');
  const target = targetOfZone(where);
  if (match === null || target === null || variant === '' || rest.length > 0) return null;
  const form = (Object.keys(PASS_NAMES) as Contraction[]).find((key) => PASS_NAMES[key] === match[1]);
  const dtype = DTYPES.find((key) => DTYPE_TABLE[key].short === match[2]);
  const layout = LAYOUTS.find((word) => word === match[3]);
  if (form === undefined || dtype === undefined || layout === undefined) return null;
  return { form, dtype, layout, baked: bakedOf(match.slice(4)), variant, tunables: tunables.join('_'), target };
}

function bakedOf(groups: readonly (string | undefined)[]): BakedName | null {
  const [kernel, stride, padding, dilation = '1', count = '1', bias, activation = 'none'] = groups;
  if (kernel === undefined) return null;
  const [r, s] = pairOf(kernel);
  const baked = {
    r,
    s,
    stride: pairOf(stride!),
    padding: pairOf(padding!),
    dilation: pairOf(dilation),
    groups: Number(count),
    bias: bias !== undefined,
    activation: activation as Activation,
  };
  return Math.min(r, s, ...baked.stride, ...baked.dilation, baked.groups) < 1 ? null : baked;
}

function pairOf(text: string): Pair {
  const [first, second = first] = text.split('x').map(Number);
  return [first!, second!];
}

/** The target that a name's last zone stands for, or null. */
export function targetOfZone(name: string): Target | null {
  if (name === 'ptx') return { kind: 'ptx' };
  const isa = CPU_ISAS.find((word) => word === name);
  if (isa !== undefined) return { kind: 'cpu', isa };
  const arch = CUDA_ARCHITECTURES.find((number) => `sm${number}` === name);
  return arch === undefined ? null : { kind: 'cuda', arch };
}
