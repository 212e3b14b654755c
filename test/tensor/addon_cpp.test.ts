/** What needs a C++ compiler to look at: driver declarations, the driver calls against a stand-in, and guard zones. */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const COMPILER = process.env.CXX ?? 'c++';
const TOOLKIT = ['CUDA_HOME', 'CUDA_PATH'].flatMap((name) => process.env[name] ?? []).concat('/usr/local/cuda');
const CUDA_INCLUDE = TOOLKIT.map((folder) => join(folder, 'include')).find((folder) =>
  existsSync(join(folder, 'cuda.h')),
);

function compile(...args: string[]): void {
  execFileSync(COMPILER, ['-std=c++17', `-I${ROOT}`, ...args], { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
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

  it('finds writes before and behind a buffer, and gives back cached blocks when memory runs out', () => {
    const program = join(folder, 'pool_check');
    compile('-O1', 'test/support/pool_check.cc', 'cuda/pool.cc', '-o', program);
    expect(execFileSync(program, { encoding: 'utf8' })).to.equal('0 0 1 3 3 10000 0\n');
  });

  for (const [title, flags] of [
    ['cuGetProcAddress', []],
    ['exported names', ['-DWITHOUT_PROC_ADDRESS']],
  ] as const) {
    it(`runs a device through a driver found by ${title}`, () => {
      const library = join(folder, `libcuda_${flags.length}.so`);
      compile('-shared', '-fPIC', ...flags, 'test/support/fake_libcuda.cc', '-o', library);
      const report = child(library, {});
      expect(report.info).to.deep.equal({
        available: true,
        reason: null,
        driverVersion: 12040,
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
        /^ERR_CUDA load: the image of fill_bytes \(no such instruction\) must succeed, got CUDA_ERROR_INVALID_IMAGE \(said/,
      );
      expect(report.absent).to.match(
        /^ERR_CUDA load: finding other in its image must succeed, got CUDA_ERROR_NOT_FOUND/,
      );
      expect(report.builtIn).to.match(/^ERR_KERNEL_NOT_PREBUILT load: /);
      expect(report.memory).to.match(
        /^ERR_OUT_OF_MEMORY alloc: size must be at most what is left on cuda:0, [\d.]+ [MG]iB, got 2\.0 GiB/,
      );
      expect(report.second).to.match(/^ERR_DEVICE_UNAVAILABLE device: cuda:1 must be one of 1 CUDA devices/);
    });
  }

  it('says why there is no device', () => {
    const library = join(folder, 'libcuda_0.so');
    expect(child(library, { FAKE_DEVICES: '0' }).info.reason).to.match(
      /libcuda_0.so reports no CUDA device; check that nvidia-smi/,
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

interface Report {
  info: { available: boolean; reason: string | null; driverVersion: number; devices: unknown[] };
  [key: string]: unknown;
}

function child(library: string, environment: Record<string, string>): Report {
  const program = fileURLToPath(new URL('../support/cuda_child.js', import.meta.url));
  const env = { ...process.env, ...environment, FRACSTRIDE_LIBCUDA: library };
  return JSON.parse(execFileSync(process.execPath, [program], { encoding: 'utf8', env })) as Report;
}
