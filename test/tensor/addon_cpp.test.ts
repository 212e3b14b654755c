/** What needs a C++ compiler to look at: driver declarations, the CUDA device and NVRTC against stand-ins, guard zones. */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { compiled, DEVICE_OBJECTS } from '../support/device_objects.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const COMPILER = process.env.CXX ?? 'c++';
const TOOLKIT = ['CUDA_HOME', 'CUDA_PATH'].flatMap((name) => process.env[name] ?? []).concat('/usr/local/cuda');
const CUDA_INCLUDE = TOOLKIT.map((folder) => join(folder, 'include')).find((folder) =>
  existsSync(join(folder, 'cuda.h')),
);

function compile(...args: string[]): void {
  execFileSync(COMPILER, ['-std=c++17', `-I${ROOT}`, '-Icuda', ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

describe('addon: the C++ below JavaScript', function () {
  this.timeout(120_000);
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-cpp-'));
  after(() => rmSync(folder, { recursive: true }));

  // The toolkit is no requirement of a build, so there is something to compare with only where it is installed.
  if (CUDA_INCLUDE !== undefined) {
    it('declares the driver as cuda.h does', () => {
      compile('-fsyntax-only', `-I${CUDA_INCLUDE}`, 'test/support/cuda_declarations.cc');
    });
  }

  it('finds writes before and behind a buffer, gives back cached blocks when memory runs out, keeps blocks of graphs', () => {
    const program = join(folder, 'pool_check');
    compile('-O1', 'test/support/pool_check.cc', compiled('cuda/pool.cc'), compiled('cuda/arenas.cc'), '-o', program);
    expect(execFileSync(program, { encoding: 'utf8' })).to.equal('0 0 1 3 3 10000 0\n 256 1 128 0 1 0 0 0\n');
  });

  for (const [title, version, flags] of [
    ['cuGetProcAddress of CUDA 12 and later', 12040, []],
    ['exported names', 11000, ['-DWITHOUT_PROC_ADDRESS']],
    ['cuGetProcAddress of CUDA 11.3 to 11.8', 11040, ['-DOLD_PROC_ADDRESS']],
  ] as const) {
    it(`runs a device through a driver found by ${title}`, () => {
      const library = join(folder, `libcuda_${version}.so`);
      standIn(library, ...flags);
      const report = child(library, { FAKE_VERSION: String(version) });
      expect(report.info).to.deep.equal({
        available: true,
        reason: null,
        driverVersion: version,
        devices: [
          {
            name: 'Stand-in',
            arch: 90,
            multiprocessors: 132,
            totalMemory: 2 ** 30,
            clockRateKhz: 1013,
            memoryClockRateKhz: 1036,
            memoryBusWidthBits: 1037,
            l2CacheBytes: 1038,
          },
        ],
      });
      expect(report.bytes).to.equal('171,171,171,171,5,6,7,8');
      expect(report.live).to.equal(8);
      expect(report.image).to.match(
        /^ERR_KERNEL_COMPILE load: image of fill_bytes must be one the driver takes, got CUDA_ERROR_INVALID_IMAGE \(said .*: no such instruction$/,
      );
      expect(report.absent).to.match(
        /^ERR_CUDA load: finding the kernel in the image of other must succeed, got CUDA_ERROR_NOT_FOUND/,
      );
      expect(report.builtIn).to.match(/^ERR_KERNEL_NOT_PREBUILT load: /);
      expect(report.memory).to.match(
        /^ERR_OUT_OF_MEMORY alloc: size must be at most what is left on cuda:0, [\d.]+ [MG]iB, got 2\.0 GiB/,
      );
      expect(report.second).to.match(/^ERR_DEVICE_UNAVAILABLE device: cuda:1 must be one of 1 CUDA devices/);
    });
  }

  it('says why there is no device', () => {
    const library = join(folder, 'libcuda_12040.so');
    expect(child(library, { FAKE_DEVICES: '0' }).info.reason).to.match(
      /libcuda_12040.so reports no CUDA device; check that nvidia-smi/,
    );
    expect(child(library, { FAKE_INIT: '100' }).info.reason).to.match(/reports no CUDA device/);
    const failed = child(library, { FAKE_INIT: '999' });
    expect(failed.info.reason).to.match(/failed with CUDA_ERROR_OTHER \(said by the stand-in\); check the driver/);
    expect(failed.info).to.include({ available: false, driverVersion: 12040 });
    expect(failed.second).to.match(
      /^ERR_DEVICE_UNAVAILABLE device: a CUDA device must be usable, got none: initialising /,
    );
  });
});

/** fake_libcuda.cc as a library. */
function standIn(library: string, ...flags: string[]): void {
  compile('-shared', '-fPIC', '-pthread', ...flags, 'test/support/fake_libcuda.cc', '-o', library);
}

const LOST = 'CUDA_ERROR_ILLEGAL_ADDRESS (said by the stand-in)';
const SUSPECTS = 'in one of the 3 launches since the last wait, newest first: fill_bytes, fault, gate';
const unusable = (where: string): string =>
  `ERR_DEVICE_UNAVAILABLE ${where}: cuda:0 must be usable, got a device that failed before with ${LOST} ${SUSPECTS}`;
const waiting = (where: string, what: string): string =>
  `ERR_ARGUMENT ${where}: ${what} must wait until the graph has been captured, got a call while capturing`;

/** Title, check of cuda_device_check.cc, and what it prints. */
const CHECKS: [string, string, string[]][] = [
  [
    'keeps the order of launches, copies and fills, and tells of readings from one thread of its own',
    'order',
    ['before 0', 'early 1', 'contents 1', 'own thread 1', 'worked', 'pageable 0'],
  ],
  [
    'copies through ordinary memory when none can be locked',
    'ordinary',
    ['early 1', 'contents 1', 'own thread 1', 'worked', 'pageable 12'],
  ],
  ['frees memory after the work that uses it', 'frees', ['kept 1', 'after the wait 0', 'gathered 1']],
  [
    'gives cached memory back and tries again before it says that there is none left',
    'memory',
    [
      'live 52428800',
      'ERR_OUT_OF_MEMORY alloc: size must be at most what is left on cuda:0, 12.0 MiB, got 60.0 MiB (50.0 MiB live, 0 bytes cached, 0 bytes kept by graphs)',
      'cached 0',
      'ERR_OUT_OF_MEMORY alloc: live bytes of cuda:0 must be at most the limit 1000 bytes, got 0 bytes live and a request of 1001 bytes',
    ],
  ],
  [
    'says once how the device was lost, refuses everything after that, and lets go of its memory',
    'failure',
    [
      `ERR_CUDA copyOut: work on cuda:0 must succeed, got ${LOST} ${SUSPECTS}; cuda:0 cannot be used by this process any longer`,
      'calls 1',
      ...['sync', 'launch', 'copyOut', 'copyIn', 'load', 'graph', 'copyOut'].map(unusable),
      'released 1048576',
      'live 0',
    ],
  ],
  ...(
    [
      ['suspect', 'sync'],
      ['suspect_read', 'a reading that waits'],
      ['suspect_async', 'a reading that does not'],
    ] as const
  ).map(([name, wait]): [string, string, string[]] => [
    `names the kernel when it is the only one since ${wait}`,
    name,
    [
      `ERR_CUDA sync: work on cuda:0 must succeed, got ${LOST} while fault ran; cuda:0 cannot be used by this process any longer`,
    ],
  ]),
  [
    'names the kernels of a graph that failed',
    'suspect_graph',
    [
      `ERR_CUDA sync: work on cuda:0 must succeed, got ${LOST} while a graph of 2 launches (fill_bytes, fault) ran; cuda:0 cannot be used by this process any longer`,
    ],
  ],
  [
    'uses a page-locked block again only when the stream is past it, and waits when all are on their way',
    'staging',
    ['wrong 0', 'wrong 0', 'page-locked 2097152'],
  ],
  [
    'goes on after a launch, a copy or an image that the driver refuses',
    'refusals',
    [
      'ERR_CUDA launch: launching fill_bytes with grid (1, 1, 1), block (64, 1, 1) and 0 bytes of shared memory must succeed, got CUDA_ERROR_INVALID_VALUE (said by the stand-in)',
      'ERR_CUDA copyOut: the copy must succeed, got CUDA_ERROR_INVALID_VALUE (said by the stand-in)',
      'ERR_KERNEL_COMPILE load: image of fill_bytes must be one the driver takes, got CUDA_ERROR_INVALID_IMAGE (said by the stand-in): no such instruction',
      'ERR_CUDA load: finding the kernel in the image of other must succeed, got CUDA_ERROR_NOT_FOUND (said by the stand-in)',
      'ERR_KERNEL_NOT_PREBUILT load: kernel must be compiled into the addon or come with an image, got other',
      'nothing',
    ],
  ],
  [
    'loads an image once for all threads, enters a context once a thread, and lowers the version of PTX',
    'sharing',
    [
      'loaded again 0',
      'contexts set 0',
      'nothing',
      '// c\n.version 8.2\n.target sm_75\nfill_bytes',
      'newer 1',
      '.version 9.0.version 8.7.version 8.5.version 7.4version 8.7',
      'PTX 1',
    ],
  ],
  [
    'captures graphs, whose memory stays with them, while other threads work on',
    'capture',
    [
      'reused inside 1',
      waiting('sync', 'waiting'),
      waiting('copyIn', 'writing from the host'),
      waiting('copyOut', 'reading'),
      'ERR_ARGUMENT graph: capturing must not be under way, got a capture inside a capture',
      waiting('copyOut', 'reading'),
      'other thread 8',
      'not run 1',
      'replayed 5',
      'kept 4160',
      'not reused outside 1',
      'again 5',
      'kept 0',
      'reused after 1',
      'aborted 5',
      'no graph 1',
      'ERR_ARGUMENT graph: capturing must be under way, got no capture to end',
      'graphs 0',
    ],
  ],
  ['works for four threads at once', 'threads', ['wrong 0', 'live 0']],
];

describe('addon: the CUDA device against a stand-in', function () {
  this.timeout(300_000);
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-device-'));
  const program = join(folder, 'device_check');
  const library = join(folder, 'libcuda.so');
  before(() => {
    standIn(library);
    compile('-O1', '-pthread', 'test/support/cuda_device_check.cc', ...DEVICE_OBJECTS, '-o', program, '-ldl');
  });
  after(() => rmSync(folder, { recursive: true }));

  function check(name: string, environment: Record<string, string>): string {
    return execFileSync(program, [name], {
      encoding: 'utf8',
      env: { ...process.env, ...environment },
      timeout: 60_000,
    });
  }

  for (const [title, name, lines] of CHECKS) {
    it(title, () => {
      expect(check(name, { FRACSTRIDE_LIBCUDA: library })).to.equal(`${lines.join('\n')}\n`);
    });
  }

  it('refuses graphs on a driver without them, and does everything else', () => {
    const old = join(folder, 'libcuda_old.so');
    standIn(old, '-DWITHOUT_GRAPHS', '-DOLD_PROC_ADDRESS');
    expect(check('no_graphs', { FRACSTRIDE_LIBCUDA: old, FAKE_VERSION: '11040' })).to.equal(
      'ERR_ARGUMENT graph: the NVIDIA driver must be one for CUDA 11.4 or newer, got 11.4 without an entry for graphs\nworks\n',
    );
  });

  it('prints driver calls for FRACSTRIDE_DEBUG=5', () => {
    const env = { ...process.env, FRACSTRIDE_LIBCUDA: library, FRACSTRIDE_DEBUG: '5' };
    const { stderr } = spawnSync(program, ['suspect'], { encoding: 'utf8', env });
    expect(stderr).to.match(/^fracstride: cuInit -> 0\n/);
    expect(stderr).to.match(/fracstride: cuLaunchKernel -> 0\nfracstride: cuStreamSynchronize -> 700\n/);
  });
});

describe('addon: NVRTC against a stand-in', function () {
  this.timeout(120_000);
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-nvrtc-'));
  const program = join(folder, 'nvrtc_check');
  before(() =>
    compile('-pthread', 'test/support/nvrtc_check.cc', 'cuda/nvrtc.cc', 'cuda/library.cc', '-o', program, '-ldl'),
  );
  after(() => rmSync(folder, { recursive: true }));

  function run(library: string, environment: Record<string, string> = {}): string[] {
    const env = { ...process.env, FRACSTRIDE_LIBNVRTC: library, ...environment };
    return execFileSync(program, { encoding: 'utf8', env }).trimEnd().split('\n');
  }

  function standInNvrtc(...flags: string[]): string {
    const library = join(folder, `libnvrtc${flags.join('')}.so`);
    compile('-shared', '-fPIC', ...flags, 'test/support/fake_libnvrtc.cc', '-o', library);
    return library;
  }

  const refused = 'ERR_KERNEL_COMPILE nvrtc: fill must compile, got';

  it('compiles PTX and machine code, and refuses with the first lines of the log', () => {
    expect(run(standInNvrtc())).to.deep.equal([
      '1 12.4 75 80 90 ',
      '--gpu-architecture=compute_80 -std=c++17 fill.cu|a warning',
      '--gpu-architecture=sm_90 fill.cu|a warning',
      `${refused} no machine code; --gpu-architecture has to name a real architecture, as sm_90`,
      `${refused} NVRTC_ERROR_INVALID_OPTION`,
      `${refused} error 1`,
      ...Array.from({ length: 11 }, (_, i) => `error ${i + 2}`),
      '…',
    ]);
  });

  it('makes PTX with a version that makes nothing else', () => {
    const lines = run(standInNvrtc('-DPTX_ONLY'));
    expect(lines[1]).to.equal('--gpu-architecture=compute_80 -std=c++17 fill.cu|a warning');
    expect(lines[2]).to.equal(`${refused} an NVRTC that makes no machine code, only PTX`);
  });

  it('says why there is no NVRTC, and what to do', () => {
    const advice = /; install NVRTC .*, or set FRACSTRIDE_LIBNVRTC to the path of the library$/;
    const absent = run('/nowhere/libnvrtc.so');
    expect(absent[0])
      .to.match(/^0 0\.0 NVRTC could not be opened \(\/nowhere\/libnvrtc\.so: cannot open/)
      .and.match(advice);
    expect(absent[1]).to.match(/^ERR_DEVICE_UNAVAILABLE nvrtc: NVRTC must be usable, got none: NVRTC could not/);
    expect(run(standInNvrtc('-DINCOMPLETE'))[0])
      .to.match(/has no entry nvrtcDestroyProgram/)
      .and.match(advice);
    const failed = run(standInNvrtc(), { FAKE_NVRTC_VERSION: '11' });
    expect(failed[0])
      .to.match(/for its version failed with NVRTC_ERROR_OTHER/)
      .and.match(advice);
  });
});

interface Report {
  info: { available: boolean; reason: string | null; driverVersion: number; devices: unknown[] };
  [key: string]: unknown;
}

function child(library: string, environment: Record<string, string>): Report {
  const program = fileURLToPath(new URL('../support/cuda_child.js', import.meta.url));
  const env = { ...process.env, ...environment, FRACSTRIDE_LIBCUDA: library };
  return JSON.parse(execFileSync(process.execPath, [program], { encoding: 'utf8', env })) as Report;
}
