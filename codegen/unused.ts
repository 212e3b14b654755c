/**
 * A kernel's text without what it does not use. Templates share functions that some kernels call and others do not
 * (copies of 4, 8 and 16 bytes, elementary functions); which ones a kernel calls is known best by the kernel, once it is
 * text.
 */

/** Lines of one definition, of anything else at the top level, or one line of a comment there. */
interface Item {
  readonly lines: readonly string[];
  readonly isComment: boolean;
  /** What it defines; none for what always stays (a kernel, a line of the preprocessor). */
  readonly names: readonly string[];
  /** Counts the empty lines before it. */
  readonly paragraph: number;
  /** What follows a comment up to the next one or to an empty line is what the comment tells of. */
  readonly section: number;
}

/** Leaves out functions, types, constants and macros that no kernel reaches, and comments that told of nothing else. */
export function withoutUnused(text: string): string {
  const items = itemsOf(text.split('\n'));
  const reached = reachedFrom(items);
  const isKept = (item: Item) => item.names.length === 0 || item.names.some((name) => reached.has(name));
  const code = items.filter((item) => !item.isComment);
  const emptied = new Set(code.map((item) => item.section));
  for (const item of code) if (isKept(item)) emptied.delete(item.section);
  const lines = items
    .filter((item) => (item.isComment ? !emptied.has(item.section) : isKept(item)))
    .flatMap(({ lines, paragraph }, i, kept) =>
      i > 0 && kept[i - 1]!.paragraph !== paragraph ? ['', ...lines] : lines,
    );
  return `${lines.join('\n')}\n`;
}

/** Names in what always stays, in the definitions of these, and so on. */
function reachedFrom(items: readonly Item[]): Set<string> {
  const code = items.filter((item) => !item.isComment);
  const reached = new Set<string>();
  let waiting = code.filter((item) => item.names.length > 0);
  let found = code.filter((item) => item.names.length === 0);
  while (found.length > 0) {
    for (const { lines } of found) for (const word of wordsOf(lines)) reached.add(word);
    found = waiting.filter(({ names }) => names.some((name) => reached.has(name)));
    waiting = waiting.filter((item) => !found.includes(item));
  }
  return reached;
}

function wordsOf(lines: readonly string[]): Iterable<string> {
  return lines.flatMap((line) => line.replace(/\/\/.*/, '').match(/[A-Za-z_]\w*/g) ?? []);
}

function itemsOf(lines: readonly string[]): Item[] {
  const items: Item[] = [];
  let [paragraph, section, wasComment] = [0, 0, false];
  for (let i = 0; i < lines.length; ) {
    const isEmpty = lines[i] === '';
    const isComment = lines[i]!.startsWith('//');
    if (isEmpty) paragraph += 1;
    if (isEmpty || (isComment && !wasComment)) section += 1;
    const end = isEmpty || isComment ? i + 1 : endOf(lines, i);
    const own = lines.slice(i, end);
    if (!isEmpty) items.push({ lines: own, isComment, names: isComment ? [] : namesOf(own), paragraph, section });
    wasComment = isComment;
    i = end;
  }
  return items;
}

/** Behind the line that ends what begins here: braces are closed, and it is no head of something. */
function endOf(lines: readonly string[], start: number): number {
  if (lines[start]!.startsWith('#')) return start + 1;
  let depth = 0;
  for (let i = start; i < lines.length; i++) {
    for (const sign of lines[i]!) depth += sign === '{' ? 1 : sign === '}' ? -1 : 0;
    if (depth === 0 && /[;}]$/.test(lines[i]!.replace(/\s*\/\/.*/, ''))) return i + 1;
  }
  return lines.length;
}

/** What a definition is told by. A template's head may stand before each of them. */
const DEFINITIONS = [
  /^#define (\w+)/,
  /^(?:template <[^\n]*>\s+)?(?:static __device__|FS_FUNCTION)[^(]*?(\w+)\(/,
  /^(?:template <[^\n]*>\s+)?struct (?:__align__\([^\n]*?\) )?(\w+) \{/,
  /^typedef [^;]* (\w+);$/,
];
const CONSTANTS = /^(?:constexpr|static __constant__ const) /;

function namesOf(lines: readonly string[]): string[] {
  const text = lines.join('\n');
  if (CONSTANTS.test(text)) return [...text.matchAll(/(\w+)(?:\[[^=]*\])? = /g)].map(([, name]) => name!);
  return DEFINITIONS.flatMap((pattern) => pattern.exec(text)?.[1] ?? []);
}
