/** Launches over many tensors at once, in place: one for as many of one device and dtype as a kernel's tables hold. */

import { groupOf } from '../codegen/operations.js';
import { shortName } from './dtype.js';
import { NULL, type Pointer, runOperation } from './kernels.js';
import { pointer } from './pointwise.js';
import { elementCount } from './shape.js';
import { Tensor } from './tensor.js';

export type GroupName = 'sgd_group' | 'adam_group' | 'add_group' | 'zero_group';

/** The tensors of one entry in the order of the operation's roles; absent ones are null, those behind the last likewise. */
export type Entry = readonly [Tensor, ...(Tensor | null)[]];

/** Items in the order of their first appearance, as one launch each takes them; `tensorOf` an item says where it lies. */
export function inLaunches<Item>(name: GroupName, items: readonly Item[], tensorOf: (item: Item) => Tensor): Item[][] {
  const places = new Map<string, Item[]>();
  for (const item of items) {
    const { dtype, storage } = Tensor.window(tensorOf(item));
    const key = `${storage.device.name} ${dtype}`;
    const place = places.get(key);
    if (place === undefined) places.set(key, [item]);
    else place.push(item);
  }
  const { capacity } = groupOf(name);
  return [...places.values()].flatMap((place) =>
    Array.from({ length: Math.ceil(place.length / capacity) }, (_, i) => place.slice(i * capacity, (i + 1) * capacity)),
  );
}

/** One launch. Tensors of an entry lie in memory alike and without gaps; entries share a device and a dtype. */
export function runGroup(name: GroupName, entries: readonly Entry[], scalars: readonly number[] = []): void {
  const { roles } = groupOf(name);
  const { dtype, storage } = Tensor.window(entries[0]![0]);
  const pointers = entries.flatMap((entry) => roles.map((_, k) => pointerOf(entry[k] ?? null)));
  const counts = entries.map(([value]) => elementCount(Tensor.window(value).shape));
  const kernel = { name, type: shortName(dtype) };
  runOperation(storage.device, kernel, pointers, [entries.length, ...counts, ...scalars]);
}

function pointerOf(value: Tensor | null): Pointer {
  return value === null ? NULL : pointer(Tensor.window(value));
}
