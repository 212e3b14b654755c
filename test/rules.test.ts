/**
 * What breaks silently: the direction of imports, one argument table an ABI, names that parse back, devices that are
 * named in their own file only. A new file needs a place in one of the two orders below.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { argumentsOf, nameOf, specOfName, textOf } from '../codegen/kernel.js';
import { type ArgKind, argumentTable } from '../codegen/passes.js';
import { PRESETS, specsFor } from '../codegen/presets.js';
import { CUDA_ARCHITECTURES, type Target } from '../codegen/target.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Lowest first: a file may import what stands before it. A folder stands for its files, which may import one another. */
const CODEGEN = [
  ...[
    'errors',
    'target',
    'gpu',
    'gpu_work',
    'problem',
    'passes',
    'extents',
    'pointwise',
    'operations',
    'kept',
    'phases',
    'tiles',
    'igemm_tiles',
    'merged',
    'window',
    'head_tiles',
    'depthwise_tiles',
    'depthwise_wgrad_tiles',
    'wgrad_tiles',
    'work_parts',
    'work_wgrad',
    'winograd',
    'variant',
    'diagonal',
    'mma_tiles',
    'mma_wgrad_tiles',
    'work_mma_wgrad',
  ],
  ...[
    'cpu_measured',
    'cpu_overheads',
    'variants_cpu',
    'variants_depthwise',
    'variants_direct',
    'variants_gemm',
    'variants_head',
    'variants_point',
    'variants_scatter',
    'variants_slide',
    'variants_tapwise',
    'variants_winograd',
    'sums_geometry',
    'work_gather',
    'work_phase',
    'variants_cuda',
    'variants_cuda_igemm',
    'variants_cuda_head',
    'variants_cuda_mma',
    'variants_cuda_depthwise',
    'variants_cuda_depthwise_wgrad',
    'variants_cuda_split',
    'variants_cuda_diagonal',
    'variants_cuda_merged',
    'variants_cuda_folded',
    'variants_cuda_wgrad',
    'variants_cuda_mma_wgrad',
    'variants_cuda_diagonal_wgrad',
    'variants_cuda_joined',
    'variants_cudnn',
    'variants',
    'spec_name',
    'spec',
    'problem_text',
  ],
  ...[
    'template',
    'unused',
    'cpu_unit',
    'cpu_micro',
    'cpu_engine',
    'cpu_depthwise',
    'cpu_direct',
    'cpu_wgrad',
    'cpu_panel',
    'cpu_slide',
    'cpu_winograd',
    'cpu_operations',
    'cpu_sources',
    'context_igemm',
    'context_phase',
    'context_window',
    'context_head',
    'context_mma',
    'context_depthwise',
    'context_depthwise_wgrad',
    'context_wgrad',
    'context_mma_wgrad',
    'context',
    'render',
  ],
  ...['cuda_family', 'cuda_elementwise', 'cuda_reduce', 'cuda_group', 'cuda_operations', 'kernel'],
  ...['cubin', 'processes', 'toolchain', 'folders', 'store_entry', 'store_lock', 'store_trust', 'store', 'presets'],
  ...['build', 'embed', 'index', 'cli/', 'cli'],
];
const SRC = [
  ...[
    'errors',
    'native',
    'dtype',
    'shape',
    'context',
    'cpu_model',
    'device',
    'winograd',
    'products',
    'determinism',
    'packings',
    'plan',
    'cudnn',
    'libraries',
    'timings',
    'benchmark',
    'nvrtc',
    'images',
    'launch',
    'tunings',
    'contest',
    'choice',
    'kernels',
    'autograd',
    'method_types',
    'storage',
    'tensor',
    'scope',
    'checks',
  ],
  ...[
    'pointwise',
    'group',
    'fill',
    'random',
    'ops/',
    'host',
    'create',
    'accumulate',
    'gradients',
    'methods',
    'cuda_graph',
    'memory',
    'cuda',
    'backends',
  ],
  ...['nn/', 'optim/', 'io/', 'index', 'record_hook', 'verify/', 'doctor/', 'bench/', 'cli/', 'bin'],
];

interface Import {
  readonly from: string;
  readonly to: string;
}

/** Paths from the package root of the files under `folder` that end like this. */
function filesUnder(folder: string, ending: RegExp): string[] {
  if (!existsSync(join(ROOT, folder))) return [];
  const entries = readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && ending.test(entry.name));
  const paths = files.map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
  return paths.filter((path) => !path.includes('node_modules/')).sort();
}

const text = (file: string) => readFileSync(join(ROOT, file), 'utf8');
const code = (file: string) => text(file).replace(/\/\*[\s\S]*?\*\/|(^|[^:])\/\/.*/g, '$1');

function importsOf(file: string): Import[] {
  const pattern = /(?:\bfrom|\bimport)\s*\(?\s*'(\.[^']+)'/g;
  const targets = [...code(file).matchAll(pattern)].map((match) => match[1]!.replace(/\.js$/, '.ts'));
  return targets.map((target) => ({ from: file, to: join(dirname(file), target) }));
}

/** The place of a file in the order of its tree, −1 when it has none. */
function place(order: readonly string[], tree: string, file: string): number {
  const name = relative(tree, file).replace(/\.ts$/, '');
  return order.findIndex((entry) => name === entry || (entry.endsWith('/') && name.startsWith(entry)));
}

/** Sentences about imports that do not point down. */
function upwardImports(order: readonly string[], tree: string): string[] {
  const files = filesUnder(tree, /\.ts$/);
  const homeless = files
    .filter((file) => place(order, tree, file) < 0)
    .map((file) => `${file} has no place in the order`);
  const inside = files.flatMap(importsOf).filter(({ to }) => to.startsWith(`${tree}/`));
  const upward = inside.filter(({ from, to }) => {
    const [above, below] = [place(order, tree, from), place(order, tree, to)];
    return above >= 0 && (below > above || (below === above && !order[above]?.endsWith('/')));
  });
  return [...homeless, ...upward.map(({ from, to }) => `${from} imports ${to}, which stands above it`)];
}

/** One cycle of files that import each other, or null. */
function findCycle(imports: readonly Import[]): string[] | null {
  const next = new Map<string, string[]>();
  for (const { from, to } of imports) next.set(from, [...(next.get(from) ?? []), to]);
  const done = new Set<string>();
  const visit = (file: string, path: string[]): string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const to of next.get(file) ?? []) {
      const cycle = visit(to, [...path, file]);
      if (cycle !== null) return cycle;
    }
    done.add(file);
    return null;
  };
  for (const file of next.keys()) {
    const cycle = visit(file, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

const ALL_TARGETS: readonly Target[] = [
  ...CUDA_ARCHITECTURES.map((arch): Target => ({ kind: 'cuda', arch })),
  { kind: 'ptx' },
];

describe('rules', () => {
  it('codegen imports only downward', () => {
    expect(upwardImports(CODEGEN, 'codegen')).to.deep.equal([]);
  });

  it('src imports only downward', () => {
    expect(upwardImports(SRC, 'src')).to.deep.equal([]);
  });

  it('codegen knows nothing of src', () => {
    const imports = filesUnder('codegen', /\.ts$/).flatMap(importsOf);
    expect(imports.length).to.be.greaterThan(20);
    expect(imports.filter(({ to }) => !to.startsWith('codegen/'))).to.deep.equal([]);
  });

  it('has no import cycle, tests and benches included', () => {
    const files = ['codegen', 'src', 'test', 'bench'].flatMap((tree) => filesUnder(tree, /\.ts$/));
    expect(findCycle(files.flatMap(importsOf))).to.equal(null);
  });

  it('every import names a file', () => {
    const imports = ['codegen', 'src', 'test'].flatMap((tree) => filesUnder(tree, /\.ts$/)).flatMap(importsOf);
    expect(imports.filter(({ to }) => !existsSync(join(ROOT, to)))).to.deep.equal([]);
  });

  it('starts processes in one file of the package', () => {
    const files = ['codegen', 'src'].flatMap((tree) => filesUnder(tree, /\.ts$/));
    expect(files.filter((file) => code(file).includes('child_process'))).to.deep.equal(['codegen/processes.ts']);
  });

  it('loads the addon in one file', () => {
    const files = ['codegen', 'src'].flatMap((tree) => filesUnder(tree, /\.ts$/));
    expect(files.filter((file) => /\.node['"`]/.test(code(file)))).to.deep.equal(['src/native.ts']);
  });

  it('has no any', () => {
    const files = ['codegen', 'src', 'test', 'bench'].flatMap((tree) => filesUnder(tree, /\.ts$/));
    const strings = /'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|\/(?:[^/\\\n]|\\.)+\/[a-z]*/g;
    const guilty = files.filter((file) => /(?::|\bas|<|\||,)\s*any\b/.test(code(file).replace(strings, '""')));
    expect(guilty).to.deep.equal([]);
  });

  describe('devices are named in their own files', () => {
    const matching = (folders: readonly string[], ending: RegExp, pattern: RegExp) =>
      folders.flatMap((folder) => filesUnder(folder, ending)).filter((file) => pattern.test(code(file)));

    it('CUDA, in src', () => {
      const allowed = [
        'src/backends.ts',
        'src/cli/bench.ts',
        'src/cli/devices.ts',
        'src/cli/doctor.ts',
        'src/cli/tune.ts',
        'src/cli/verify.ts',
        'src/cuda.ts',
        'src/cuda_graph.ts',
        'src/cudnn.ts',
        'src/device.ts',
        'src/doctor/advice.ts',
        'src/doctor/facts.ts',
        'src/index.ts',
        'src/libraries.ts',
        'src/native.ts',
      ];
      expect(matching(['src'], /\.ts$/, /cuda|cudnn/i)).to.deep.equal(allowed);
    });

    it('the driver interface, in C++', () => {
      const files = matching(['cuda', 'cpu'], /\.(cc|h)$/, /\bcu[A-Z]\w+|cuda_runtime|cudart/);
      expect(files.filter((file) => !/^cuda\/(driver|device_cuda|cudnn\w*)\.(cc|h)$/.test(file))).to.deep.equal([]);
      expect(files).to.include('cuda/driver.cc');
    });

    it('the JavaScript interface, in one folder of C++', () => {
      const files = matching(['cuda', 'cpu'], /\.(cc|h)$/, /napi/i);
      expect(files.filter((file) => !file.startsWith('cuda/napi/'))).to.deep.equal([]);
      expect(files).to.include('cuda/napi/addon.cc');
    });

    it('instruction sets, in generated kernels and their dispatch', () => {
      expect(matching(['cuda', 'cpu', 'src'], /\.(cc|h|ts)$/, /\b_mm\d*_|immintrin|__m\d+/)).to.deep.equal([]);
    });

    it('no simulator anywhere', () => {
      const files = [...matching(['cuda', 'cpu', 'src', 'templates'], /./, /simulat|libcuda_sim|mock/i)];
      expect(files).to.deep.equal([]);
    });
  });

  describe('one argument table', () => {
    const forms = ['expand', 'contract', 'wgrad', 'bgrad'] as const;
    const tables = forms.flatMap((form) =>
      (['general', 'packing', 'specialised'] as const).map((kind) => argumentTable(form, kind)),
    );
    const word = (name: string) => `(?:(?:const\\s+)?[a-z_]\\w*\\s*\\*?\\s+)${name}|['"]${name}['"]`;

    it('is written nowhere a second time', () => {
      const runs = tables.flatMap((args) => args.slice(4).map((_, i) => args.slice(i, i + 5).map((arg) => arg.name)));
      const patterns = runs.map((names) => new RegExp(names.map((name) => `(?:${word(name)})`).join('\\s*,\\s*')));
      const files = [...filesUnder('src', /\.ts$/), ...filesUnder('templates', /./), ...filesUnder('codegen', /\.ts$/)];
      const others = files.filter((file) => file !== 'codegen/passes.ts' && file !== 'codegen/problem.ts');
      const guilty = others.filter((file) => patterns.some((pattern) => pattern.test(code(file))));
      expect(guilty).to.deep.equal([]);
      for (const second of ["['n', 'cs', 'hs', 'ws', 'cl']", '(int n, int cs, int hs, int ws, int cl)']) {
        expect(
          patterns.some((pattern) => pattern.test(second)),
          second,
        ).to.equal(true);
      }
    });

    it('is what every preset kernel takes, in order and kind', () => {
      for (const spec of specsFor(PRESETS.full!, [{ kind: 'ptx' }])) {
        const kinds = parameterKinds(textOf(spec));
        const table = argumentsOf(spec).map(({ name, kind }) => `${name}:${kind}`);
        expect(kinds, nameOf(spec)).to.deep.equal(table);
      }
    }).timeout(120_000);
  });

  it('kernel names of every preset and target parse back', () => {
    const specs = specsFor(PRESETS.full!, ALL_TARGETS);
    expect(specs.length).to.be.greaterThan(1000);
    const names = new Set<string>();
    for (const spec of specs) {
      const name = nameOf(spec);
      expect(name).to.match(/^[a-z0-9_]+__[a-z0-9_]+__[a-z0-9]+$/);
      expect(specOfName(name), name).to.deep.equal(spec);
      names.add(name);
    }
    expect(names.size).to.equal(specs.length);
  }).timeout(120_000);
});

/** `name:kind` of each parameter of a CUDA kernel's text. */
function parameterKinds(source: string): string[] {
  const list = /__global__[^(]*(?:__launch_bounds__\([^)]*\)[^(]*)?\(([^)]*)\)\s*\{/.exec(source)?.[1];
  if (list === undefined) throw new Error('the text must hold a kernel');
  return list.split(',').map((parameter) => {
    const [, type, name] = /^\s*(.*?)\s*\b(\w+)\s*$/s.exec(parameter)!;
    return `${name}:${kindOf(type!)}`;
  });
}

function kindOf(type: string): ArgKind {
  if (type.includes('*')) return 'p';
  if (/\bpointer_table$/.test(type)) return 'P';
  if (/\bcount_table$/.test(type)) return 'L';
  const kinds: Record<string, ArgKind> = { int: 'i', 'long long': 'l', float: 'f', double: 'd' };
  const kind = kinds[type.replace(/\bconst\b/g, '').trim()];
  if (kind === undefined) throw new Error(`a parameter of type ${type} has no kind`);
  return kind;
}
