/** The text of kernels: strict templates, checked numbers, the same bytes each time, and nothing from outside. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { kernelContext } from '../../codegen/context.js';
import { FracstrideError } from '../../codegen/errors.js';
import { specOfName, textOf } from '../../codegen/kernel.js';
import { renderKernel } from '../../codegen/render.js';
import { kernelName, parseKernelName, type Spec } from '../../codegen/spec.js';
import {
  doubleLiteral,
  floatLiteral,
  integerLiteral,
  renderTemplate,
  TEMPLATES_FOLDER,
} from '../../codegen/template.js';
import { GOLDEN_KERNELS, goldenText } from './golden_kernels.js';

const PHASE = 'ct2d_fwd_f32_nchw_k4s2p1__phase_t4x8_b32x4__sm90';

const templates = readdirSync(TEMPLATES_FOLDER, { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.cu.njk'),
);

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof FracstrideError) return `${error.code} ${error.message}`;
    throw error;
  }
  throw new Error('nothing was refused');
}

/** A context of `phase.cu.njk` with one thing changed. */
function renderPhase(change: (context: Record<string, unknown>) => void): string {
  const context = structuredClone(kernelContext(parseKernelName(PHASE), 'phase.cu.njk'));
  change(context);
  return renderTemplate('phase.cu.njk', context);
}

/** What is left of C++ without comments. */
const code = (text: string) => text.replace(/\/\/.*/g, '');

describe('render', () => {
  for (const name of GOLDEN_KERNELS) {
    it(`gives the text that is kept: ${name}`, () => {
      expect(textOf(specOfName(name))).equal(goldenText(name));
    });
  }

  it('starts a text with its name, its specification and the command that made it', () => {
    const lines = renderKernel(parseKernelName(PHASE)).split('\n');
    expect(lines[0]).equal(`// ${PHASE}`);
    expect(JSON.parse(lines[2]!.replace('// Specification: ', ''))).deep.include({ form: 'expand', variant: 'phase' });
    expect(lines[3]).equal(`// Made by: fracstride render ${PHASE}`);
  });

  it('gives self-contained text with one entry of the kernel’s name', () => {
    for (const name of [...GOLDEN_KERNELS, PHASE, 'ct2d_bgrad_f64_nchw__gather__sm75']) {
      const text = textOf(specOfName(name));
      expect(code(text), name).not.match(/#include|\bstd::|@\{|%\/\//);
      const entries = [...text.matchAll(/extern "C" __global__ void __launch_bounds__\([^)]*\) (\w+)\(/g)];
      expect(entries.map((entry) => entry[1])).deep.equal([name]);
    }
  });

  it('does not grow with the number of taps', () => {
    const lines = (name: string) => renderKernel(parseKernelName(name)).split('\n').length;
    for (const shape of ['k16s8p4', 'k9s1p4', 'k31s1p15', 'k32s16p8'])
      expect(lines(PHASE.replace('k4s2p1', shape)), shape).below(lines(PHASE) + 200);
  });

  it('refuses a name that the context does not define, wherever it stands', () => {
    for (const name of ['together', 'column_groups', 'source', 'layout', 'positions'])
      expect(message(() => renderPhase((context) => delete context[name]))).match(
        new RegExp(`^ERR_ARGUMENT render: template phase.cu.njk must render, got .*unknown name "${name}"`),
      );
    const nested = message(() => renderPhase((context) => delete (context.source as Record<string, unknown>).width));
    expect(nested).match(/unknown name "source\.width"/);
  });

  it('refuses text with holes', () => {
    for (const hole of [Number.NaN, undefined, {}])
      expect(message(() => renderPhase((context) => Object.assign(context, { depth: hole })))).match(
        /^ERR_ARGUMENT render: /,
      );
  });

  it('refuses specs whose numbers and words are not of the catalogue', () => {
    const spec = parseKernelName(PHASE);
    const bad: Partial<Spec>[] = [
      { baked: { ...spec.baked!, r: 1.5 } },
      { baked: { ...spec.baked!, groups: '1; evil()' as unknown as number } },
      { baked: { ...spec.baked!, padding: [Number.NaN, 0] } },
      { baked: { ...spec.baked!, activation: 'x' as 'relu' } },
      { variant: '../../etc/passwd' },
      { tunables: { tile: 't4x8;', block: 'b32x4' } },
      { layout: 'nchw"' as 'nchw' },
      { target: { kind: 'cuda', arch: '90\n#include <x>' as unknown as 90 } },
    ];
    for (const change of bad)
      expect(
        message(() => renderKernel({ ...spec, ...change })),
        JSON.stringify(change),
      ).match(/^ERR_ARGUMENT /);
  });

  it('prints literals that C++ reads as what they are', () => {
    expect([floatLiteral(1), doubleLiteral(1), doubleLiteral(0.5), integerLiteral(-3)]).deep.equal([
      '1.0f',
      '1.0',
      '0.5',
      '-3',
    ]);
    for (const value of [Number.NaN, Infinity, '1', 0.5]) expect(() => integerLiteral(value)).to.throw();
    for (const value of [Number.NaN, Infinity, '1']) expect(() => doubleLiteral(value)).to.throw();
  });

  it('gives the file of the CPU sources that defines a CPU kernel', () => {
    const name = 'ct2d_fwd_f32_nchw__igemm_px_t14x32__avx512';
    expect(kernelName(parseKernelName(name))).equal(name);
    expect(renderKernel(parseKernelName(name))).contain(`void ${name}(void** params)`);
  });

  it('has no lambda of any type in a CUDA template: NVRTC takes those for functions of the host', () => {
    for (const file of templates.filter((name) => name.endsWith('.cu.njk')))
      expect(readFileSync(join(TEMPLATES_FOLDER, file), 'utf8'), file).not.match(/\[[^\]\n]*\]\([^)]*\bauto\b/);
  });

  it('uses templates of at most 200 lines, a quarter of them control, nested at most twice', () => {
    for (const file of templates) {
      const lines = readFileSync(join(TEMPLATES_FOLDER, file), 'utf8').trimEnd().split('\n');
      const control = lines.filter((line) => line.includes('//%'));
      expect(lines.length, file).most(200);
      expect(control.length / lines.length, file).most(lines.length < 30 ? 0.3 : 0.25);
      let depth = 0;
      for (const line of control) {
        if (/\/\/% (for|if)\b/.test(line)) depth++;
        if (/\/\/% end(for|if)\b/.test(line)) depth--;
        expect(depth, `${file}: ${line}`).within(0, 2);
      }
    }
  });

  it('leaves arithmetic out of templates', () => {
    for (const file of templates)
      for (const [value] of readFileSync(join(TEMPLATES_FOLDER, file), 'utf8').matchAll(/@\{.*?\}@/g))
        expect(value, file).match(/^@\{ [\w.[\]]+( \| \w+)? \}@$/);
  });
});
