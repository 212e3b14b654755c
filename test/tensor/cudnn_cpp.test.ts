/** cuDNN's part of the addon below JavaScript: its declarations, and its plans against a stand-in that computes nothing. */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { DEVICE_OBJECTS } from '../support/device_objects.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const COMPILER = process.env.CXX ?? 'c++';
const TOOLKIT = ['CUDA_HOME', 'CUDA_PATH'].flatMap((name) => process.env[name] ?? []).concat('/usr/local/cuda');
const CUDA_INCLUDE = TOOLKIT.map((folder) => join(folder, 'include')).find((folder) =>
  existsSync(join(folder, 'cuda.h')),
);
const CUDNN_INCLUDE = [process.env.CUDNN_HOME ?? '', process.env.CUDNN_PATH ?? '', ...TOOLKIT, '/usr']
  .map((folder) => join(folder, 'include'))
  .find((folder) => existsSync(join(folder, 'cudnn.h')));

function compile(...args: string[]): void {
  execFileSync(COMPILER, ['-std=c++17', `-I${ROOT}`, ...args], { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
}

describe("addon: cuDNN's declarations", function () {
  this.timeout(60_000);

  it('have the values and the layout of its documentation, and the entries of the stand-in', () => {
    compile('-fsyntax-only', 'test/support/cudnn_declarations.cc');
  });

  it('are compared: a wrong value, a wrong layout and a wrong parameter do not compile', () => {
    const folder = mkdtempSync(join(tmpdir(), 'fracstride-declarations-'));
    try {
      const text = readText('cuda/cudnn_api.h');
      const wrong = [
        ['kBfloat16 = 9', 'kBfloat16 = 4'],
        ['size_t memory;', 'int memory;'],
        ['set_groups, (Convolution, int)', 'set_groups, (Convolution, int, int)'],
      ] as const;
      for (const [right, other] of wrong) {
        expect(text).to.include(right);
        mkdirSync(join(folder, 'cuda'), { recursive: true });
        writeFileSync(join(folder, 'cuda/cudnn_api.h'), text.replace(right, other));
        const check = ['-fsyntax-only', `-I${folder}`, `-I${ROOT}`, join(ROOT, 'test/support/cudnn_declarations.cc')];
        expect(() => execFileSync(COMPILER, ['-std=c++17', ...check], { stdio: 'pipe' }), other).to.throw(
          /static assertion failed|static_assert/,
        );
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  // cuDNN is no requirement of a build, so there is something to compare with only where it is installed.
  if (CUDA_INCLUDE !== undefined && CUDNN_INCLUDE !== undefined) {
    it('agree with cudnn.h', () => {
      const includes = [`-I${CUDNN_INCLUDE}`, `-I${CUDA_INCLUDE}`, '-Wno-deprecated-declarations'];
      compile('-fsyntax-only', '-DWITH_CUDNN', ...includes, 'test/support/cudnn_declarations.cc');
    });
  }
});

/** Title, check of cudnn_check.cc, and what it prints. */
const CHECKS: [string, string, string[]][] = [
  [
    'describes every direction, type and layout as cuDNN wants them, and gives the descriptors back',
    'forms',
    [
      'cudnnConvolutionBackwardData 0:NCHW 6,2,4,4 * 0:2,6,3,5/90,15,5,1 -> 0:2,4,6,10/240,60,10,1 algo 1 workspace 4864 scales 10 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 3 | cudnnAddTensor 0:1,4,1,1/4,1,1,1 -> 0:2,4,6,10/240,60,10,1 scales 11',
      'cudnnConvolutionForward 0:2,4,6,10/240,60,10,1 * 0:NCHW 6,2,4,4 -> 0:2,6,3,5/90,15,5,1 algo 1 workspace 4864 scales 10 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 3 | cudnnAddTensor 0:1,6,1,1/6,1,1,1 -> 0:2,6,3,5/90,15,5,1 scales 11',
      'cudnnConvolutionBackwardFilter 0:2,4,6,10/240,60,10,1 * 0:2,6,3,5/90,15,5,1 -> 0:NCHW 6,2,4,4 algo 1 workspace 4864 scales 10 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 3',
      'cudnnConvolutionBackwardBias 0:2,4,6,10/240,60,10,1 -> 0:1,4,1,1/4,1,1,1 scales 10',
      'cudnnConvolutionBackwardData 1:NCHW 6,2,4,4 * 1:2,6,3,5/90,15,5,1 -> 1:2,4,6,10/240,60,10,1 algo 1 workspace 4096 scales 10 p1,1 s2,2 d1,1 mode 1 in 1 groups 2 math 0 | cudnnAddTensor 1:1,4,1,1/4,1,1,1 -> 1:2,4,6,10/240,60,10,1 scales 11',
      'cudnnConvolutionForward 1:2,4,6,10/240,60,10,1 * 1:NCHW 6,2,4,4 -> 1:2,6,3,5/90,15,5,1 algo 1 workspace 4096 scales 10 p1,1 s2,2 d1,1 mode 1 in 1 groups 2 math 0 | cudnnAddTensor 1:1,6,1,1/6,1,1,1 -> 1:2,6,3,5/90,15,5,1 scales 11',
      'cudnnConvolutionBackwardFilter 1:2,4,6,10/240,60,10,1 * 1:2,6,3,5/90,15,5,1 -> 1:NCHW 6,2,4,4 algo 1 workspace 4096 scales 10 p1,1 s2,2 d1,1 mode 1 in 1 groups 2 math 0',
      'cudnnConvolutionBackwardBias 1:2,4,6,10/240,60,10,1 -> 1:1,4,1,1/4,1,1,1 scales 10',
      'cudnnConvolutionBackwardData 2:NHWC 6,2,4,4 * 2:2,6,3,5/90,1,30,6 -> 2:2,4,6,10/240,1,40,4 algo 1 workspace 4352 scales 10 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 1 | cudnnAddTensor 2:1,4,1,1/4,1,4,4 -> 2:2,4,6,10/240,1,40,4 scales 11',
      'cudnnConvolutionForward 2:2,4,6,10/240,1,40,4 * 2:NHWC 6,2,4,4 -> 2:2,6,3,5/90,1,30,6 algo 1 workspace 4352 scales 10 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 1 | cudnnAddTensor 2:1,6,1,1/6,1,6,6 -> 2:2,6,3,5/90,1,30,6 scales 11',
      'cudnnConvolutionBackwardFilter 2:2,4,6,10/240,1,40,4 * 2:2,6,3,5/90,1,30,6 -> 2:NHWC 6,2,4,4 algo 1 workspace 4352 scales 10 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 1',
      'cudnnConvolutionBackwardBias 2:2,4,6,10/240,1,40,4 -> 2:1,4,1,1/4,1,4,4 scales 10',
      'cudnnConvolutionBackwardData 9:NCHW 6,2,4,4 * 9:2,6,3,5/90,15,5,1 -> 9:2,4,6,10/240,60,10,1 algo 1 workspace 4352 scales 10 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 1 | cudnnAddTensor 9:1,4,1,1/4,1,1,1 -> 9:2,4,6,10/240,60,10,1 scales 11',
      'cudnnConvolutionForward 9:2,4,6,10/240,60,10,1 * 9:NCHW 6,2,4,4 -> 9:2,6,3,5/90,15,5,1 algo 1 workspace 4352 scales 10 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 1 | cudnnAddTensor 9:1,6,1,1/6,1,1,1 -> 9:2,6,3,5/90,15,5,1 scales 11',
      'cudnnConvolutionBackwardFilter 9:2,4,6,10/240,60,10,1 * 9:2,6,3,5/90,15,5,1 -> 9:NCHW 6,2,4,4 algo 1 workspace 4352 scales 10 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 1',
      'cudnnConvolutionBackwardBias 9:2,4,6,10/240,60,10,1 -> 9:1,4,1,1/4,1,1,1 scales 10',
      'descriptors left 0',
    ],
  ],
  [
    'asks for the arithmetic that PyTorch asks for, and leaves out what the flags forbid',
    'flags',
    [
      'cudnnGetConvolutionBackwardDataAlgorithm_v7 math 3 0:3:0 1:3:4096d 4:3:0!3000d',
      'cudnnGetConvolutionBackwardDataAlgorithm_v7 math 3 1:3:4096d 4:3:0!3000d',
      'cudnnGetConvolutionBackwardDataAlgorithm_v7 math 0 0:0:0 1:0:4096d 4:0:0!3000d',
      'cudnnGetConvolutionBackwardDataAlgorithm_v7 math 0 1:0:4096d 4:0:0!3000d',
      'cudnnGetConvolutionBackwardDataAlgorithm_v7 math 1 0:1:0 1:1:4096d 1:2:4096d 4:1:0!3000d',
      'cudnnGetConvolutionBackwardDataAlgorithm_v7 math 1 1:1:4096d 1:2:4096d 4:1:0!3000d',
      'cudnnGetConvolutionBackwardDataAlgorithm_v7 math 1 0:1:0 1:1:4096d 1:2:4096d 4:1:0!3000d',
      'cudnnGetConvolutionBackwardDataAlgorithm_v7 math 1 1:1:4096d 1:2:4096d 4:1:0!3000d',
      ' 0:0:0d',
    ],
  ],
  [
    'measures with the operands and the workspace it is given',
    'measure',
    [
      'find 0:NCHW 6,2,4,4 * 0:2,6,3,5/90,15,5,1 -> 0:2,4,6,10/240,60,10,1 4096 | cudnnFindConvolutionBackwardDataAlgorithmEx of 16 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 3 0:3:0 1:3:4096d 4:3:0!3000d',
      'nothing',
      'find 0:2,4,6,10/240,60,10,1 * 0:NCHW 6,2,4,4 -> 0:2,6,3,5/90,15,5,1 4096 | cudnnFindConvolutionForwardAlgorithmEx of 16 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 3 0:3:0 1:3:4096d 4:3:0!3000d',
      'nothing',
      'find 0:2,4,6,10/240,60,10,1 * 0:2,6,3,5/90,15,5,1 -> 0:NCHW 6,2,4,4 4096 | cudnnFindConvolutionBackwardFilterAlgorithmEx of 16 p1,1 s2,2 d1,1 mode 1 in 0 groups 2 math 3 0:3:0 1:3:4096d 4:3:0!3000d',
      'nothing',
    ],
  ],
  [
    'refuses what is no problem, no choice and no operand of cuDNN before cuDNN sees it',
    'hostile',
    [
      'ERR_ARGUMENT cudnnPlan: sizes of the large side must be at least 1, got 0',
      'ERR_ARGUMENT cudnnPlan: sizes of the small side must be at least 1, got -3',
      'ERR_ARGUMENT cudnnPlan: large side must be of at most 2147483647 elements, got more',
      'ERR_ARGUMENT cudnnPlan: groups must be a divisor of both channel counts, got 0',
      'ERR_ARGUMENT cudnnPlan: groups must be a divisor of both channel counts, got 4',
      'ERR_ARGUMENT cudnnPlan: height of the problem must be of stride and dilation at least 1 and padding at least 0, got 0, 1 and 1',
      'ERR_ARGUMENT cudnnPlan: width of the problem must be of stride and dilation at least 1 and padding at least 0, got 2, -2147483648 and 1',
      'ERR_ARGUMENT cudnnPlan: height of the problem must be of stride and dilation at least 1 and padding at least 0, got 2, 1 and -1',
      'ERR_ARGUMENT cudnnPlan: height of the problem must be the one size that symmetric padding gives, with an output padding below the stride, got 3 and 6',
      'ERR_ARGUMENT cudnnPlan: height of the problem must be the one size that symmetric padding gives, with an output padding below the stride, got 3 and 8',
      'ERR_ARGUMENT cudnnPlan: height of the problem must be the one size that symmetric padding gives, with an output padding below the stride, got 3 and 6',
      'ERR_ARGUMENT cudnnPlan: flags must be without a bias for wgrad, got 4',
      'ERR_ARGUMENT cudnnRun: plan must be one that cudnnChoose was called for, got one without an algorithm',
      'ERR_ARGUMENT cudnnChoose: algorithm must be one of cudnnAlgorithms, got 6',
      'ERR_ARGUMENT cudnnChoose: algorithm must be one of cudnnAlgorithms, got -1',
      "ERR_ARGUMENT cudnnChoose: math type must be one that the plan's flags allow (FMA, 3, without TF32), got 0",
      'ERR_NONDETERMINISTIC cudnnChoose: the algorithm of cudnnConvolutionBackwardData must be deterministic, got algorithm 0',
      '4864',
      'nothing',
      'ERR_ARGUMENT cudnnRun: small of ct2d must be at least 720 bytes, got 719',
      'ERR_ARGUMENT cudnnRun: weight of ct2d must be a buffer of 768 bytes, got handle 0',
      'ERR_ARGUMENT cudnnRun: bias of ct2d must be handle 0 in a plan without a bias, got a buffer',
      'ERR_ARGUMENT cudnnRun: large of ct2d must be at a multiple of 16 bytes, got 4 bytes behind one',
      'ERR_ARGUMENT cudnnRun: workspace of ct2d must be at least 4864 bytes, got 4863',
      'ERR_ARGUMENT cudnnRun: workspace of ct2d must be a buffer of 4864 bytes, got handle 0',
      '1',
    ],
  ],
  [
    'names the call that cuDNN refuses, leaks nothing and goes on',
    'statuses',
    [
      'ERR_CUDNN cudnnPlan: describing the large side to cuDNN must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnPlan: describing the large side to cuDNN must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnPlan: describing the weight to cuDNN must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnPlan: describing the weight to cuDNN must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnPlan: describing the convolution to cuDNN must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnPlan: describing the convolution to cuDNN must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnPlan: describing the groups to cuDNN must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnPlan: cudnnSetConvolutionMathType must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnAlgorithms: cudnnGetConvolutionForwardAlgorithm_v7 must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnFind: cudnnFindConvolutionForwardAlgorithmEx must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnChoose: cudnnGetConvolutionForwardWorkspaceSize for algorithm 1 must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnRun: cudnnConvolutionForward of c2d must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'ERR_CUDNN cudnnRun: cudnnAddTensor of c2d must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000)',
      'descriptors left 0',
      'nothing',
    ],
  ],
  [
    'records runs into graphs while other threads compute, and names them in the failure of a graph',
    'capture',
    [
      'a graph',
      'nothing',
      'ERR_CUDA sync: work on cuda:0 must succeed, got CUDA_ERROR_ILLEGAL_ADDRESS (said by the stand-in) while a graph of 2 launches (bias_sum) ran; cuda:0 cannot be used by this process any longer',
    ],
  ],
  ['computes for four threads at once', 'threads', ['nothing', 'nothing', 'nothing', 'nothing', 'descriptors left 0']],
];

describe('addon: cuDNN against a stand-in', function () {
  this.timeout(300_000);
  const folder = mkdtempSync(join(tmpdir(), 'fracstride-cudnn-'));
  const program = join(folder, 'cudnn_check');
  const driver = join(folder, 'libcuda.so');
  const library = join(folder, 'libcudnn.so');
  before(() => {
    compile('-shared', '-fPIC', '-pthread', 'test/support/fake_libcuda.cc', '-o', driver);
    standIn(library);
    compile('-O1', '-pthread', 'test/support/cudnn_check.cc', ...DEVICE_OBJECTS, '-o', program, '-ldl');
  });
  after(() => rmSync(folder, { recursive: true }));

  function standIn(path: string, ...flags: string[]): string {
    compile('-shared', '-fPIC', '-pthread', ...flags, 'test/support/fake_libcudnn.cc', '-o', path);
    return path;
  }

  function check(name: string, environment: Record<string, string> = {}): string[] {
    const env = { ...process.env, FRACSTRIDE_LIBCUDA: driver, FRACSTRIDE_LIBCUDNN: library, ...environment };
    const text = execFileSync(program, [name], { encoding: 'utf8', env, timeout: 60_000 });
    return text.trimEnd().split('\n');
  }

  for (const [title, name, lines] of CHECKS) {
    it(title, () => {
      expect(check(name)).to.deep.equal(lines);
    });
  }

  it('tells of a device that failed as of the device, with the name of the run', () => {
    expect(check('lost')).to.deep.equal([
      'ERR_CUDA cudnnRun: work on cuda:0 must succeed, got CUDA_ERROR_ILLEGAL_ADDRESS … bias_sum',
      'ERR_DEVICE_UNAVAILABLE cudnnRun: cuda:0 must be usable, got a device that failed before with CUDA_ERROR_ILLEGAL_ADDRESS',
    ]);
  });

  it('prints calls of cuDNN for FRACSTRIDE_DEBUG=5', () => {
    const env = { ...process.env, FRACSTRIDE_LIBCUDA: driver, FRACSTRIDE_LIBCUDNN: library, FRACSTRIDE_DEBUG: '5' };
    const { stderr } = spawnSync(program, ['statuses'], { encoding: 'utf8', env });
    expect(stderr).to.match(/^fracstride: cudnnCreate -> 0\nfracstride: cudnnSetStream -> 0$/m);
    expect(stderr).to.match(/^fracstride: cudnnConvolutionForward -> 3000$/m);
  });

  it('adds what cuDNN says about its last error, where it does', () => {
    const [first] = check('statuses', {
      FRACSTRIDE_LIBCUDNN: standIn(join(folder, 'libcudnn_reason.so'), '-DWITH_REASON'),
    });
    expect(first).to.equal(
      'ERR_CUDNN cudnnPlan: describing the large side to cuDNN must succeed, got CUDNN_STATUS_NOT_SUPPORTED (3000): the stand-in refuses this',
    );
  });

  it('does without the entries that measure', () => {
    const environment = { FRACSTRIDE_LIBCUDNN: standIn(join(folder, 'libcudnn_find.so'), '-DWITHOUT_FIND') };
    expect(check('info', environment)).to.deep.equal(['1 91002 libcudnn_find.so']);
    expect(check('forms', environment).at(-1)).to.equal('descriptors left 0');
    expect(check('measure', environment)[0]).to.match(
      /^ERR_CUDNN cudnnFind: cuDNN must have the entry cudnnFindConvolutionBackwardDataAlgorithmEx, got .*libcudnn_find\.so without it; switch backends\.cudnn\.benchmark off$/,
    );
  });

  const advice = '; install cuDNN 9 or 8 for your CUDA version, or set FRACSTRIDE_LIBCUDNN to the path of the library';
  const parts = '; put all libcudnn_*.so of one cuDNN version into one directory and name that in LD_LIBRARY_PATH';
  const unusable = (reason: string): string =>
    `ERR_DEVICE_UNAVAILABLE cudnnPlan: cuDNN must be usable, got none: ${reason}`;

  /** The reason of a library that cannot be used, which planning repeats. */
  function reason(environment: Record<string, string>): string {
    const [info, refusal] = check('info', environment);
    const said = /^0 \d+ \S* (.+)$/.exec(info ?? '')?.[1];
    expect(said, info).to.be.a('string');
    expect(refusal).to.equal(unusable(said as string));
    return said as string;
  }

  it('says that there is no library, and what to do', () => {
    expect(reason({ FRACSTRIDE_LIBCUDNN: '/nowhere/libcudnn.so.9' }))
      .to.match(/^cuDNN could not be opened \(\/nowhere\/libcudnn\.so\.9: cannot open/)
      .and.to.satisfy((text: string) => text.endsWith(advice));
  });

  it('says which entry is missing, and what to do', () => {
    const path = standIn(join(folder, 'libcudnn_incomplete.so'), '-DINCOMPLETE');
    expect(reason({ FRACSTRIDE_LIBCUDNN: path })).to.equal(`${path} has no entry cudnnAddTensor${advice}`);
  });

  it('says that a version is too old, and what to do', () => {
    const path = standIn(join(folder, 'libcudnn_old.so'), '-DVERSION=7605', '-DINCOMPLETE');
    expect(reason({ FRACSTRIDE_LIBCUDNN: path })).to.equal(
      `${path} is cuDNN 7605, and 8000 is the oldest that can be used${advice}`,
    );
  });

  it('opens the parts of a library that opens them by name, or says which one is missing', () => {
    const own = join(folder, 'parts');
    mkdirSync(own);
    const path = standIn(join(own, 'libcudnn.so.9'), '-DWITH_PARTS');
    const empty = join(folder, 'empty.cc');
    writeFileSync(empty, '');
    for (const part of ['graph', 'ops', 'cnn']) {
      expect(reason({ FRACSTRIDE_LIBCUDNN: path }))
        .to.match(new RegExp(`^${path} needs libcudnn_${part}\\.so\\.9, which could not be opened \\(.+\\); put all`))
        .and.to.satisfy((text: string) => text.endsWith(parts));
      compile('-shared', '-fPIC', empty, '-o', join(own, `libcudnn_${part}.so.9`));
    }
    expect(check('info', { FRACSTRIDE_LIBCUDNN: path })).to.deep.equal(['1 91002 libcudnn.so.9']);
    const older = standIn(join(own, 'libcudnn.so.8'), '-DWITH_PARTS', '-DVERSION=8907');
    expect(reason({ FRACSTRIDE_LIBCUDNN: older })).to.include('needs libcudnn_ops_infer.so.8');
  });

  it('says that cuDNN does not start, from then on, and what to do', () => {
    const why = `starting ${library} failed with CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED (1008)${parts}, and check that it was built for a CUDA version that the driver can run`;
    expect(check('start', { FAKE_CUDNN_STATUS: 'cudnnCreate:1008' })).to.deep.equal([
      unusable(why),
      `0 91002 libcudnn.so ${why}`,
      unusable(why),
    ]);
  });

  it('is not given up when memory is short at the start', () => {
    expect(check('start', { FAKE_CUDNN_STATUS: 'cudnnCreate:4004' })).to.deep.equal([
      'ERR_OUT_OF_MEMORY cudnnPlan: cuDNN must find memory to start, got CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED (4004)',
      '1 91002 libcudnn.so',
    ]);
  });

  it('looks for version 9, then for version 8', () => {
    const path = join(folder, 'loader');
    mkdirSync(path);
    standIn(join(path, 'libcudnn.so.8'), '-DVERSION=8907');
    writeFileSync(join(path, 'libcudnn.so.9'), 'no library');
    const environment = { FRACSTRIDE_LIBCUDNN: '', LD_LIBRARY_PATH: path };
    expect(check('info', environment)).to.deep.equal(['1 8907 libcudnn.so.8']);
    standIn(join(path, 'libcudnn.so.9'));
    expect(check('info', environment)).to.deep.equal(['1 91002 libcudnn.so.9']);
  });
});

function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}
