/**
 * Text from a template and a context, strictly: a name that the context does not define throws wherever it stands (in
 * arithmetic, in a condition, as a loop's range), and so does a value that prints as `undefined` or `NaN`.
 *
 * Templates are C++ and CUDA to an editor: blocks are `//% … %//`, values `@{ … }@`, comments `/*# … #*​/`. Only files of
 * the templates folder are read; no text from outside is ever parsed as a template.
 */

import { fileURLToPath } from 'node:url';
import nunjucks from 'nunjucks';
import { FracstrideError, show } from './errors.js';

/** Where the templates lie: the package's own folder, in a clone and when installed. */
export const TEMPLATES_FOLDER = fileURLToPath(new URL('../../templates/', import.meta.url));

const TAGS = {
  blockStart: '//%',
  blockEnd: '%//',
  variableStart: '@{',
  variableEnd: '}@',
  commentStart: '/*#',
  commentEnd: '#*/',
};

let environment: nunjucks.Environment | undefined;

/**
 * Renders `file` of the templates folder.
 *
 * @throws FracstrideError ERR_ARGUMENT naming the template, and the unknown name or the line that is no text
 */
export function renderTemplate(file: string, context: Record<string, unknown>): string {
  environment ??= makeEnvironment();
  const values = Object.fromEntries(Object.entries(context).map(([name, value]) => [name, strict(value, name)]));
  let text: string;
  try {
    text = environment.render(file, values);
  } catch (cause) {
    const why =
      cause instanceof Error ? cause.message.replaceAll(TEMPLATES_FOLDER, '').replace(/\s+/g, ' ') : String(cause);
    throw new FracstrideError('ERR_ARGUMENT', `render: template ${file} must render, got ${why}`, { cause });
  }
  checkText(file, text);
  return text;
}

function makeEnvironment(): nunjucks.Environment {
  const loader = new nunjucks.FileSystemLoader(TEMPLATES_FOLDER, { noCache: false, watch: false });
  const made = new nunjucks.Environment(loader, {
    autoescape: false,
    throwOnUndefined: true,
    trimBlocks: true,
    lstripBlocks: true,
    tags: TAGS,
  });
  made.addFilter('float', floatLiteral);
  made.addFilter('double', doubleLiteral);
  made.addFilter('int', integerLiteral);
  refuseUnknownNames(made);
  return made;
}

/** Nunjucks asks its globals for every name that the context lacks: from here on they answer with an error. */
function refuseUnknownNames(made: nunjucks.Environment): void {
  const holder = made as unknown as { globals: Record<string, unknown> };
  const known = holder.globals;
  holder.globals = new Proxy(known, {
    has: () => true,
    get: (_, name) => {
      if (typeof name === 'symbol' || Object.hasOwn(known, name)) return known[name as string];
      throw new Error(`the unknown name "${name}"`);
    },
  });
}

/** The same value, but a property that it lacks throws. */
function strict(value: unknown, path: string): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return new Proxy(value, {
    get: (target, name) => {
      const found: unknown = Reflect.get(target, name);
      if (typeof name === 'symbol' || typeof found === 'function') return found;
      if (name in target) return strict(found, `${path}.${name}`);
      throw new Error(`the unknown name "${path}.${name}"`);
    },
  });
}

/** Comments may speak of NaN; code may not hold one that a template printed. */
function checkText(file: string, text: string): void {
  const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, (comment) => comment.replace(/[^\n]/g, ''));
  const lines = code.split('\n');
  const at = lines.findIndex((line) => /\b(undefined|NaN)\b|\[object |#\*\/|%\/\/|\}@/.test(line));
  if (at < 0) return;
  throw new FracstrideError(
    'ERR_ARGUMENT',
    `render: template ${file} must give text without holes, got ${show(lines[at]?.trim())} in line ${at + 1}`,
  );
}

/** `1` → `1.0f`: nunjucks prints 1.0 as 1, which C++ reads as an int. */
export function floatLiteral(value: unknown): string {
  return `${doubleLiteral(value)}f`;
}

export function doubleLiteral(value: unknown): string {
  if (typeof value !== 'number' || !Number.isFinite(value))
    throw new Error(`a literal that is no finite number: ${show(value)}`);
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

export function integerLiteral(value: unknown): string {
  if (!Number.isSafeInteger(value)) throw new Error(`a literal that is no integer: ${show(value)}`);
  return String(value);
}
