/** Choosing among the catalogue, and names that stand for exactly one spec. */

import { expect } from 'chai';
import fc from 'fast-check';
import { FracstrideError } from '../../codegen/errors.js';
import { ACTIVATIONS, makeProblem, type Problem } from '../../codegen/problem.js';
import { formatProblem, parseProblem } from '../../codegen/problem_text.js';
import { renderKernel } from '../../codegen/render.js';
import {
  candidates,
  choose,
  isLibrary,
  kernelName,
  type LibraryUse,
  launchGeometry,
  parseKernelName,
  settled,
  specArguments,
} from '../../codegen/spec.js';
import { CPU_ISAS, CUDA_ARCHITECTURES, DTYPES, type Target } from '../../codegen/target.js';

const LAYER = 'convT2d n=16 c=256 k=128 h=8 w=8 r=4 stride=2 padding=1';

const up = (max: number, min = 1) => fc.integer({ min, max });
const pair = (max: number, min = 1) => fc.tuple(up(max, min), up(max, min));

const targets: fc.Arbitrary<Target> = fc.oneof(
  fc.constantFrom(...CUDA_ARCHITECTURES).map((arch): Target => ({ kind: 'cuda', arch })),
  fc.constant<Target>({ kind: 'ptx' }),
  fc.constantFrom(...CPU_ISAS).map((isa): Target => ({ kind: 'cpu', isa })),
);

const problems: fc.Arbitrary<Problem> = fc
  .record({
    op: fc.constantFrom('convT2d' as const, 'conv2d' as const),
    pass: fc.constantFrom('fwd' as const, 'dgrad' as const, 'wgrad' as const, 'bgrad' as const),
    dtype: fc.constantFrom(...DTYPES),
    layout: fc.constantFrom('nchw' as const, 'nhwc' as const),
    sizes: fc.tuple(up(40, 0), up(70), up(70), up(70), up(70), up(70), up(70)),
    kernel: pair(40),
    stride: pair(80),
    padding: pair(9, 0),
    dilation: pair(5),
    groups: up(5),
    bias: fc.boolean(),
    activation: fc.constantFrom(...ACTIVATIONS),
  })
  .map(({ op, pass, dtype, layout, sizes, kernel, stride, padding, dilation, groups, bias, activation }) => {
    const [n, cs, hs, ws, cl, hl, wl] = sizes;
    const [r, s] = kernel;
    const geometry = { n, cs: cs * groups, hs, ws, cl: cl * groups, hl, wl, r, s, stride, padding, dilation, groups };
    const forward = pass === 'fwd';
    const epilogue = { bias: forward && bias, activation: forward ? activation : 'none' } as const;
    return makeProblem({ op, pass, dtype, layout, geometry, ...epilogue });
  });

const library: LibraryUse = { reason: null, deterministic: false, allowTf32: true };
const sm90: Target = { kind: 'cuda', arch: 90 };

/** The library's row for a problem. */
function libraryRow(text: string, use: Partial<LibraryUse> = {}, target: Target = sm90) {
  return candidates(parseProblem(text), target, { ...library, ...use }).find(({ variant }) => variant === 'cudnn')!;
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof FracstrideError && error.code === 'ERR_ARGUMENT') return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('spec', () => {
  it('is chosen for every problem, and its name parses back to it', () => {
    fc.assert(
      fc.property(problems, targets, fc.boolean(), (problem, target, withLibrary) => {
        const use = withLibrary ? [library] : [];
        for (const { spec, cost, reason } of candidates(problem, target, ...use)) {
          expect(spec === null)
            .equal(cost === null)
            .equal(reason !== null);
          if (spec !== null) expect(parseKernelName(kernelName(spec))).deep.equal(spec);
          if (cost !== null) expect(cost).least(0).below(Infinity);
        }
        const chosen = choose(problem, target, ...use);
        const rows = candidates(problem, target, ...use);
        const cheapest = Math.min(...rows.map((row) => row.cost ?? Infinity));
        const row = rows.find(({ spec }) => spec && kernelName(spec) === kernelName(chosen));
        expect(row?.cost).equal(cheapest);
        if (!withLibrary) expect(isLibrary(chosen)).equal(false);
      }),
      { seed: 2, numRuns: 300 },
    );
  });

  it('launches within the limits of a GPU', () => {
    fc.assert(
      fc.property(problems, (problem) => {
        const targets: Target[] = [{ kind: 'ptx' }, { kind: 'cuda', arch: 89 }];
        for (const { spec } of targets.flatMap((target) => candidates(problem, target))) {
          if (spec === null) continue;
          const { grid, block, sharedBytes } = launchGeometry(spec, problem);
          expect(grid[0]).within(1, 2 ** 31 - 1);
          expect(grid[1]).within(1, 65535);
          expect(block[0] * block[1] * block[2]).within(1, 1024);
          expect(block[0] % 32).equal(0);
          expect(sharedBytes).within(0, spec.target.kind === 'ptx' ? 64 * 1024 : 99 * 1024);
        }
      }),
      { seed: 3, numRuns: 300 },
    );
  });

  it('a CPU computes the last layer of a discriminator, whose maps are points, by the kernels for few positions', () => {
    const variantOf = (pass: string): string =>
      choose(parseProblem(`conv2d n=64 c=512 k=1 h=4 w=4 r=4 pass=${pass}`), { kind: 'cpu', isa: 'avx512' }).variant;
    expect(['fwd', 'dgrad', 'wgrad'].map(variantOf)).deep.equal(['point', 'gemm', 'point']);
  });

  it('has the names of the grammar', () => {
    const name = (text: string, target: Target) => kernelName(choose(parseProblem(text), target));
    expect(name(LAYER, { kind: 'cuda', arch: 90 })).match(/^ct2d_fwd_f32_nchw_k4s2p1__igemm_m\d+n\d+k16_t8x\d__sm90$/);
    const pairs = 'convT2d n=8 c=64 k=64 h=32 w=32 r=3x5 stride=2x1 padding=4x2 dilation=3x1 groups=2 bias=true';
    expect(name(`${pairs} activation=leaky_relu dtype=bfloat16 layout=nhwc`, { kind: 'ptx' })).match(
      /^ct2d_fwd_bf16_nhwc_k3x5s2x1p4x2d3x1g2_bias_leaky_relu__phase_[a-z0-9_]+__ptx$/,
    );
    const far = 'convT2d n=1 c=1 k=1 h=2 w=2 r=40';
    expect(name(`${far} pass=dgrad dtype=float16`, { kind: 'cuda', arch: 75 })).equal(
      'ct2d_dgrad_f16_nchw__gather__sm75',
    );
    expect(name(`${LAYER} pass=bgrad`, { kind: 'ptx' })).equal('ct2d_bgrad_f32_nchw__gather__ptx');
    const onCpu = candidates(parseProblem(LAYER), { kind: 'cpu', isa: 'avx512' });
    const igemm = onCpu.find(({ variant }) => variant === 'igemm')!.spec!;
    expect(kernelName(igemm)).equal('ct2d_fwd_f32_nchw__igemm_px_t14x32__avx512');
  });

  it('states a map of one pixel with a residue for every output, each of one tap', () => {
    const named = (text: string) => {
      const of = candidates(parseProblem(text), { kind: 'cuda', arch: 90 });
      return kernelName(of.find(({ variant, spec }) => variant === 'igemm' && spec !== null)!.spec!).split('__')[0];
    };
    expect(named('convT2d n=16 c=100 k=512 h=1 w=1 r=4')).equal('ct2d_fwd_f32_nchw_k4s4p0');
    expect(named('convT2d n=2 c=8 k=8 h=1 w=5 r=3x4 stride=1x2 dilation=2x1')).equal(
      'ct2d_fwd_f32_nchw_k3x4s5x2p0d2x1',
    );
    // What the other passes read is no other, and a stride of all outputs cannot be larger.
    expect(named('convT2d n=16 c=100 k=512 h=1 w=1 r=4 pass=dgrad')).equal('ct2d_dgrad_f32_nchw_k4s1p0');
    expect(named('convT2d n=2 c=8 k=8 h=1 w=1 r=4 stride=2 padding=1')).equal('ct2d_fwd_f32_nchw_k4s2p1');
  });

  it('tells why a candidate is refused', () => {
    const reasons = (text: string) => [
      ...new Set(
        candidates(parseProblem(text), { kind: 'ptx' })
          .filter(({ variant }) => variant === 'phase')
          .flatMap(({ reason }) => reason ?? []),
      ),
    ];
    expect(reasons(LAYER)).deep.equal([]);
    expect(reasons('convT2d n=1 c=1 k=1 h=2 w=2 r=33')).deep.equal(['it takes kernels of at most 32 by 32 taps']);
    expect(reasons('convT2d n=1 c=1 k=1 h=2 w=2 r=3 stride=65')).deep.equal(['it takes strides of at most 64']);
    expect(reasons('convT2d n=1 c=1 k=1 h=40000 w=40000 r=4 stride=2 padding=1')).deep.equal([
      'it indexes with 32 bits, and a tensor or what its taps reach has 2^31 elements or more',
    ]);
    expect(reasons('convT2d n=1 c=70000 k=70000 h=2 w=2 r=2 groups=70000')).deep.equal([
      'its grid has at most 65535 tiles of channels, and these are more',
    ]);
  });

  describe('cudnn', () => {
    it('is refused ahead of time, and with the reason that the place has', () => {
      const row = candidates(parseProblem(LAYER), sm90).find(({ variant }) => variant === 'cudnn');
      expect(row?.reason).match(/^libraries are chosen on the machine/);
      expect(libraryRow(LAYER, { reason: 'there is none' })).include({
        reason: 'there is none',
        cost: null,
        spec: null,
      });
      expect(
        candidates(parseProblem(LAYER), { kind: 'cpu', isa: 'avx2' }, library).map(({ variant }) => variant),
      ).not.include('cudnn');
    });

    it('takes what cuDNN can describe', () => {
      for (const pass of ['fwd', 'dgrad', 'wgrad', 'bgrad']) {
        expect(libraryRow(`${LAYER} pass=${pass}`).reason, pass).equal(null);
        expect(libraryRow(`${LAYER} pass=${pass} outputPadding=1 layout=nhwc`).reason, pass).equal(null);
      }
      expect(libraryRow('convT2d n=2 c=4 k=6 h=5 w=7 r=3 stride=2 padding=1 outputPadding=1 groups=2').reason).equal(
        null,
      );
      expect(libraryRow('conv2d n=2 c=4 k=6 h=5 w=7 r=3 stride=2 padding=1 dilation=2').reason).equal(null);
    });

    it('leaves to our kernels what cuDNN cannot, with the reason', () => {
      const large = 'convT2d n=1 c=1 k=1 h=4 w=4 r=1 stride=1 outputPadding=1 dilation=2';
      expect(libraryRow(large).reason).match(/output padding smaller than the stride/);
      expect(libraryRow(`${LAYER} dtype=float64 layout=nhwc`).reason).equal('it takes float64 in NCHW only');
      expect(libraryRow(`${LAYER} dtype=bfloat16`, {}, { kind: 'cuda', arch: 75 }).reason).match(
        /bfloat16 from compute/,
      );
      expect(libraryRow('convT2d n=0 c=1 k=1 h=4 w=4 r=3').reason).match(/no empty tensors/);
      expect(libraryRow('convT2d n=1 c=1 k=1 h=40000 w=40000 r=4 stride=2 padding=1').reason).match(/2\^31/);
      const lopsided = parseProblem('conv2d n=1 c=1 k=1 h=6 w=6 r=2 stride=1 padding=0');
      const same = makeProblem({ ...lopsided, geometry: { ...lopsided.geometry, hs: 6, ws: 6 } });
      const row = candidates(same, sm90, library).find(({ variant }) => variant === 'cudnn');
      expect(row?.reason).match(/same padding on both sides/);
    });

    it('is left out where dilated problems must be deterministic, as in PyTorch', () => {
      const dilated = 'convT2d n=1 c=64 k=64 h=32 w=32 r=3 stride=1 padding=2 dilation=2';
      expect(libraryRow(dilated).reason).equal(null);
      expect(libraryRow(dilated, { deterministic: true }).reason).match(/dilated .* deterministic/);
      expect(libraryRow(LAYER, { deterministic: true }).reason).equal(null);
    });

    it('is cheaper with tensor cores, and dearer where it wastes tiles or has more to do', () => {
      const cost = (...a: Parameters<typeof libraryRow>) => libraryRow(...a).cost!;
      expect(cost(LAYER)).below(cost(LAYER, { allowTf32: false }));
      const turing: Target = { kind: 'cuda', arch: 75 };
      expect(cost(LAYER, {}, turing)).equal(cost(LAYER, { allowTf32: false }, turing));
      expect(cost(`${LAYER} dtype=float16`)).below(cost(`${LAYER} dtype=float16 bias=true`));
      expect(cost(`${LAYER} bias=true`)).below(cost(`${LAYER} bias=true activation=relu`));
      const chosen = (text: string, use: Partial<LibraryUse> = {}) =>
        choose(parseProblem(text), sm90, { ...library, ...use });
      const big = 'convT2d n=64 c=512 k=256 h=16 w=16 r=4 stride=2 padding=1';
      expect(kernelName(chosen(big))).equal('ct2d_fwd_f32_nchw__cudnn__sm90');
      expect(chosen(big, { allowTf32: false }).variant).equal('igemm');
      expect(chosen('convT2d n=16 c=64 k=3 h=32 w=32 r=4 stride=2 padding=1').variant).equal('head');
      for (const words of ['', 'layout=nhwc', 'pass=dgrad', 'pass=wgrad', 'pass=wgrad layout=nhwc dtype=bfloat16']) {
        const depthwise = `convT2d n=1 c=256 k=256 h=64 w=64 r=4 stride=2 padding=1 groups=256 ${words}`;
        expect(chosen(depthwise).variant, words).equal('depthwise');
      }
    });

    it('takes small groups several at a time on tensor cores', () => {
      for (const layout of ['nchw', 'nhwc'])
        for (const pass of ['fwd', 'dgrad']) {
          const text = `conv2d n=16 c=256 k=256 h=28 w=28 r=3 padding=1 groups=32 dtype=bfloat16 layout=${layout} pass=${pass}`;
          const spec = choose(parseProblem(text), { kind: 'cuda', arch: 90 });
          expect([spec.variant, spec.baked!.groups], text).to.deep.equal(['mmadiagonal', 8]);
        }
    });

    it('takes the taps of few channels as one list in input gradients', () => {
      const head = 'convT2d n=64 c=64 k=3 h=32 w=32 r=4 stride=2 padding=1 pass=dgrad';
      for (const [words, variant] of [
        ['dtype=float32 layout=nchw', 'folded'],
        ['dtype=float32 layout=nhwc', 'folded'],
        ['dtype=bfloat16 layout=nhwc', 'mmafolded'],
      ] as const)
        expect(choose(parseProblem(`${head} ${words}`), { kind: 'cuda', arch: 90 }).variant, words).equal(variant);
    });

    it('takes the weight gradients of small groups several at a time, or pair by pair', () => {
      for (const [words, variant] of [
        ['c=256 k=256 groups=32 dtype=float32 layout=nchw', 'pairwise'],
        ['c=256 k=256 groups=32 dtype=float32 layout=nhwc', 'pairwise'],
        ['c=256 k=256 groups=32 dtype=bfloat16 layout=nhwc', 'mmadiagonal'],
        ['c=128 k=256 groups=128 dtype=float32 layout=nhwc', 'pairwise'],
        ['c=64 k=64 groups=64 dtype=float32 layout=nhwc', 'depthwise'],
        ['c=256 k=256 groups=1 dtype=float32 layout=nchw', 'igemm'],
      ] as const) {
        const text = `conv2d n=16 h=14 w=14 r=3 padding=1 pass=wgrad ${words}`;
        expect(choose(parseProblem(text), { kind: 'cuda', arch: 90 }).variant, text).equal(variant);
      }
    });

    it('leaves 16-bit layers of many channels to tensor cores where there is no library', () => {
      for (const [arch, dtype, variant] of [
        [75, 'float16', 'mma(merged)?'],
        [75, 'bfloat16', 'phase'],
        [80, 'bfloat16', 'mma(merged)?'],
        [90, 'float16', 'mma(merged)?'],
        [90, 'float32', 'igemm'],
      ] as const)
        for (const layout of ['nchw', 'nhwc'])
          for (const pass of ['fwd', 'dgrad']) {
            const text = `convT2d n=16 c=256 k=128 h=16 w=16 r=4 stride=2 padding=1 dtype=${dtype} layout=${layout} pass=${pass}`;
            const { variant: chosen } = choose(parseProblem(text), { kind: 'cuda', arch });
            expect(chosen, `${text} on ${arch}`).match(new RegExp(`^${variant}$`));
          }
    });

    it('has names with the algorithm that was settled on, which parse back', () => {
      const { spec } = libraryRow(LAYER);
      const name = kernelName(settled(spec!, 'algo1'));
      expect(name).equal('ct2d_fwd_f32_nchw__cudnn_algo1__sm90');
      expect(parseKernelName(name)).deep.equal(settled(spec!, 'algo1'));
      for (const [pass, last] of [
        ['fwd', 5],
        ['dgrad', 7],
        ['wgrad', 6],
      ] as const) {
        for (let i = 0; i <= last + 1; i++) {
          const text = `ct2d_${pass}_bf16_nhwc__cudnn_algo${i}__ptx`;
          if (i <= last) expect(kernelName(parseKernelName(text))).equal(text);
          else expect(refusal(() => parseKernelName(text))).match(/words of the catalogue/);
        }
      }
      expect(kernelName(parseKernelName('ct2d_bgrad_f64_nchw__cudnn__sm75'))).equal('ct2d_bgrad_f64_nchw__cudnn__sm75');
      expect(refusal(() => parseKernelName('ct2d_bgrad_f64_nchw__cudnn_algo0__sm75'))).match(/words of the catalogue/);
      expect(refusal(() => parseKernelName('ct2d_fwd_f32_nchw_k4s2p1__cudnn__sm75'))).match(/words of the catalogue/);
      expect(refusal(() => settled(spec!, 'algo6'))).match(/^spec: cudnn must settle on settings of the catalogue/);
    });

    it('has no text', () => {
      const spec = parseKernelName('ct2d_fwd_f32_nchw__cudnn_algo1__sm90');
      expect(refusal(() => renderKernel(spec))).equal(
        'kernel: a kernel that has a text must be named, got ct2d_fwd_f32_nchw__cudnn_algo1__sm90, which cudnn computes',
      );
      expect(specArguments(spec).map((arg) => arg.name)).deep.equal(['small', 'weight', 'bias', 'large']);
    });
  });

  it('refuses names that are not of the catalogue', () => {
    const good = 'ct2d_fwd_f32_nchw_k4s2p1__phase_t4x8_b32x4__sm90';
    expect(kernelName(parseKernelName(good))).equal(good);
    const bad = [
      '',
      'ct2d',
      good.replace('fwd', 'bwd'),
      good.replace('f32', 'f8'),
      good.replace('nchw', 'chwn'),
      good.replace('k4s2p1', 'k4x4s2p1'),
      good.replace('k4s2p1', 'k04s2p1'),
      good.replace('k4s2p1', 'k4s0p1'),
      good.replace('k4s2p1', 'k4s2p1d1'),
      good.replace('_k4s2p1', ''),
      good.replace('t4x8', 't5x8'),
      good.replace('phase', 'stage'),
      good.replace('sm90', 'sm91'),
      good.replace('sm90', 'avx2'),
      `${good}__sm90`,
      ` ${good}`,
      `${good}\n`,
      good.replace('p1_', 'p1_none_'),
      'ct2d_wgrad_f32_nchw_k4s2p1_bias__phase_t4x2_b32x4__sm90',
      'ct2d_fwd_f32_nchw_bias__gather__sm90',
      'ct2d_fwd_f32_nchw_k4s2p1__gather__sm90',
      'ct2d_bgrad_f32_nchw_k4s2p1__phase_t4x8_b32x4__sm90',
      'ct2d_fwd_f32_nchw_k99999999999s2p1__phase_t4x8_b32x4__sm90',
    ];
    for (const name of bad)
      expect(
        refusal(() => parseKernelName(name)),
        name,
      ).match(/^kernel name: the name must be /);
  });

  it('takes the shape as arguments exactly where its text does not hold it', () => {
    const names = (name: string) => specArguments(parseKernelName(name)).map((arg) => arg.name);
    expect(names('ct2d_fwd_f32_nchw__gather__ptx')).include.members(['r', 'sh', 'groups', 'activation', 'slope']);
    const baked = names('ct2d_fwd_f32_nchw_k4s2p1__phase_t4x8_b32x4__ptx');
    expect(baked).include.members(['small', 'weight', 'bias', 'large', 'n', 'slope']);
    expect(baked).not.include.members(['r']).and.not.include.members(['activation']);
  });

  it('does not share what it froze', () => {
    const spec = choose(parseProblem(LAYER), { kind: 'ptx' });
    expect([spec, spec.tunables, spec.baked, spec.target].every(Object.isFrozen)).equal(true);
  });
});

describe('problem text', () => {
  it('reads back what it writes', () => {
    for (const text of [
      LAYER,
      'conv2d n=1 c=4 k=8 h=9 w=7 r=3x5 stride=2x1 padding=4x2 groups=2 dtype=float16 pass=wgrad',
    ])
      expect(formatProblem(parseProblem(text))).equal(text);
  });

  it('reads JSON', () => {
    const json = '{"op":"convT2d","n":16,"c":256,"k":128,"h":8,"w":8,"r":4,"stride":[2,2],"padding":1}';
    expect(parseProblem(json)).deep.equal(parseProblem(LAYER));
  });

  it('names the field that it refuses', () => {
    const bad: [string, RegExp][] = [
      ['convT3d n=1 c=1 k=1 h=1 w=1 r=1', /op must be one of convT2d, conv2d, got "convT3d"/],
      ['convT2d n=1 c=1 k=1 h=1 w=1', /r must be given/],
      ['convT2d n=1 c=1 k=1 h=1 w=1 r=1 r=2', /each field must be given once, got "r"/],
      ['convT2d n=1 c=1 k=1 h=1 w=1 r=1 stride=0', /stride must be an integer from 1/],
      ['convT2d n=1 c=1 k=1 h=1 w=1 r=1 stride=2x2x2', /stride must be one integer or two/],
      ['convT2d n=1 c=1 k=1 h=1 w=1 r=1;rm', /r must be an integer/],
      ['convT2d n=1 c=1 k=1 h=1 w=1 r=1 colour=red', /the field must be one of .*, got "colour"/],
      ['{"op":"convT2d"', /JSON must be one object/],
      ['convT2d n=1 c=3 k=4 h=1 w=1 r=1 groups=2', /channels must be divisible by 2 groups/],
    ];
    for (const [text, sentence] of bad)
      expect(
        refusal(() => parseProblem(text)),
        text,
      ).match(sentence);
  });
});
