/** Rows as aligned text: numbers to the right, everything else to the left. */

/** Lines with a header, separated by newlines. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const numeric = header.map((_, column) => rows.every((row) => /^[\d.,%< –-]*$/.test(row[column] ?? '')));
  const cell = (text: string, column: number) =>
    numeric[column] ? text.padStart(widths[column]!) : text.padEnd(widths[column]!);
  return all.map((row) => row.map(cell).join('  ').trimEnd()).join('\n');
}
