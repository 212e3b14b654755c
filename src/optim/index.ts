/** Optimisers, as torch.optim has them. */

export { Adam, type AdamOptions, AdamW } from './adam.js';
export { Optimizer, type ParamGroup, type ParamsOrGroups } from './optimizer.js';
export { SGD, type SGDOptions } from './sgd.js';
export type { OptimizerStateDict, ParameterState } from './state.js';
