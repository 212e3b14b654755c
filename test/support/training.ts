/** A small autoencoder with every kind of layer, trained on random pictures: what determinism and memory are tested on. */

import { createHash } from 'node:crypto';
import { backends, manualSeed, memory, nn, optim, rand, scope, type Tensor } from 'fracstride';

export interface Training {
  readonly model: nn.Sequential;
  readonly optimiser: optim.Adam;
  /** One step on the whole batch; returns the loss. */
  step(): number;
  /** SHA-256 over every parameter, buffer and piece of optimiser state, bit for bit. */
  digest(): string;
  /** Bytes of everything that outlives a step. */
  lastingBytes(): number;
  dispose(): void;
}

export function startTraining(seed: number, device = 'cpu'): Training {
  manualSeed(seed);
  const model = new nn.Sequential(
    new nn.Conv2d(3, 8, 4, { stride: 2, padding: 1, device }),
    new nn.BatchNorm2d(8, { device }),
    new nn.LeakyReLU(0.2),
    new nn.Conv2d(8, 20, 3, { stride: 2, padding: 1, device }),
    new nn.ReLU(),
    new nn.ConvTranspose2d(20, 8, 4, { stride: 2, padding: 1, device }),
    new nn.BatchNorm2d(8, { device }),
    new nn.Tanh(),
    new nn.ConvTranspose2d(8, 3, 4, { stride: 2, padding: 1, device }),
    new nn.Sigmoid(),
  );
  const pictures = rand([6, 3, 20, 20], { device });
  const optimiser = new optim.Adam(model.parameters(), { lr: 2e-3, betas: [0.5, 0.999] });
  const tensors = () => [...Object.values(model.stateDict()), ...stateTensors(optimiser), pictures];
  return {
    model,
    optimiser,
    step: () =>
      scope(() => {
        optimiser.zeroGrad();
        const loss = new nn.MSELoss().forward(model.forward(pictures), pictures);
        loss.backward();
        optimiser.step();
        return loss.item();
      }),
    digest: () =>
      tensors()
        .reduce((hash, t) => hash.update(bytesOf(t)), createHash('sha256'))
        .digest('hex'),
    lastingBytes: () => tensors().reduce((sum, t) => sum + t.numel() * elementBytes(t), 0),
    dispose: () => {
      optimiser.zeroGrad();
      optimiser.dispose();
      for (const t of [...Object.values(model.stateDict()), pictures]) t.dispose();
    },
  };
}

/** The digest after `steps` steps, with this many CPU threads. */
export function trainedDigest(a: { seed: number; steps: number; threads: number }): string {
  const before = backends.cpu.threads;
  backends.cpu.threads = a.threads;
  const training = startTraining(a.seed);
  try {
    const losses = Array.from({ length: a.steps }, () => training.step());
    return createHash('sha256').update(Float64Array.from(losses)).update(training.digest()).digest('hex');
  } finally {
    training.dispose();
    backends.cpu.threads = before;
  }
}

export const liveBytes = (device = 'cpu'): number => memory()[device]!.live;

function stateTensors(optimiser: optim.Adam): Tensor[] {
  const entries = Object.values(optimiser.stateDict().state) as Record<string, unknown>[];
  return entries.flatMap((entry) => Object.values(entry).filter((v): v is Tensor => typeof v === 'object'));
}

function bytesOf(t: Tensor): Uint8Array {
  const data = t.dataSync();
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function elementBytes(t: Tensor): number {
  return { float64: 8, float32: 4, int32: 4, float16: 2, bfloat16: 2 }[t.dtype];
}
