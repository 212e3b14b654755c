/** How many threads the CPU kernels take: what the process may use, what it is told, and one team for all its workers. */

import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const CHILD = fileURLToPath(new URL('../support/threads_child.js', import.meta.url));

interface Report {
  threads: number;
  gained: number;
}

async function report(words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Report> {
  const { FRACSTRIDE_NUM_THREADS: _, ...own } = process.env;
  const [program, ...args] = [...words, process.execPath, CHILD];
  const { stdout } = await promisify(execFile)(program!, args, { env: { ...own, ...env } });
  return JSON.parse(stdout) as Report;
}

/** Files of control groups, by path. */
const GROUPS: readonly { title: string; files: Readonly<Record<string, string>>; cpus: string }[] = [
  { title: 'no control group', files: {}, cpus: 'none' },
  {
    title: 'version 2 without a limit',
    files: { 'proc/self/cgroup': '0::/app\n', 'sys/fs/cgroup/app/cpu.max': 'max 100000\n' },
    cpus: 'none',
  },
  {
    title: 'version 2, the least of a path',
    files: {
      'proc/self/cgroup': '0::/pod/app\n',
      'sys/fs/cgroup/pod/cpu.max': '150000 100000\n',
      'sys/fs/cgroup/pod/app/cpu.max': '400000 100000\n',
    },
    cpus: '1.5',
  },
  {
    title: 'version 2 inside a container, whose own group is the mount',
    files: { 'proc/self/cgroup': '0::/../../elsewhere\n', 'sys/fs/cgroup/cpu.max': '50000 100000\n' },
    cpus: '0.5',
  },
  {
    title: 'version 1',
    files: {
      'proc/self/cgroup': '5:memory:/app\n4:cpu,cpuacct:/app\n',
      'sys/fs/cgroup/cpu/app/cpu.cfs_quota_us': '300000\n',
      'sys/fs/cgroup/cpu/app/cpu.cfs_period_us': '100000\n',
    },
    cpus: '3',
  },
  {
    title: 'version 1 without a limit',
    files: {
      'proc/self/cgroup': '4:cpu,cpuacct:/app\n',
      'sys/fs/cgroup/cpu/app/cpu.cfs_quota_us': '-1\n',
      'sys/fs/cgroup/cpu/app/cpu.cfs_period_us': '100000\n',
    },
    cpus: 'none',
  },
];

describe('threads of the CPU kernels', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-threads-'));
  after(() => rmSync(folder, { recursive: true }));

  it('are as many as the quotas of control groups allow', () => {
    const program = join(folder, 'limits_check');
    const compiler = process.env.CXX ?? 'c++';
    const sources = ['test/support/limits_check.cc', 'cpu/limits.cc'];
    execFileSync(compiler, ['-std=c++17', '-I.', ...sources, '-o', program], { cwd: ROOT });
    const roots = GROUPS.map(({ files }, i) => {
      const root = join(folder, `root${i}`);
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(dirname(join(root, path)), { recursive: true });
        writeFileSync(join(root, path), text);
      }
      return root;
    });
    const told = execFileSync(program, roots, { encoding: 'utf8' }).trim().split('\n');
    const named = (cpus: readonly string[]) => GROUPS.map(({ title }, i) => `${title}: ${cpus[i]}`);
    expect(named(told)).to.deep.equal(named(GROUPS.map(({ cpus }) => cpus)));
  });

  if (spawnSync('taskset', ['-c', '0', 'true']).status === 0) {
    it('are as many as the affinity mask has processors', async () => {
      const { threads, gained } = await report(['taskset', '-c', '0']);
      expect(threads).equals(1);
      expect(gained).at.most(1);
    });
  }

  it('are as many as FRACSTRIDE_NUM_THREADS says, and one team serves all workers of a process', async () => {
    const { threads, gained } = await report([], { FRACSTRIDE_NUM_THREADS: '4' });
    expect(threads).equals(4);
    // The team without the thread that calls it, and the device's own thread.
    if (process.platform === 'linux') expect(gained).within(3, 4);
  });

  it('are as many as without FRACSTRIDE_NUM_THREADS where that is no whole number', async () => {
    const { threads } = await report([]);
    const asked = await Promise.all(
      ['1e9', `${threads + 1}x`, '0', '-3', ''].map((text) => report([], { FRACSTRIDE_NUM_THREADS: text })),
    );
    expect(asked.map((each) => each.threads)).to.deep.equal(asked.map(() => threads));
  });
});
