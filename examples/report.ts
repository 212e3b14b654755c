/** One HTML page about a training, with everything it shows inside it: no script, no other file, no network. */

import { escapeHtml } from './html.js';

export interface Figure {
  /** A PNG file. */
  readonly png: Uint8Array;
  readonly width: number;
  readonly caption: string;
}

/** Rows of [name, value]. */
export type Table = readonly (readonly [string, string])[];

export interface Report {
  readonly title: string;
  /** What was done, in a sentence or two. */
  readonly summary: string;
  /** The few numbers to see first. */
  readonly facts: Table;
  readonly figures: readonly Figure[];
  /** SVG text. */
  readonly chart: string;
  /** What to know when reading the chart. */
  readonly chartNote: string;
  readonly settings: Table;
  /** Layer → name of the kernel that ran for it. */
  readonly kernels: Table;
  /** The command that makes this report again. */
  readonly command: string;
}

const STYLE = `
  :root { color-scheme: light; font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; background: #f4f5f7 }
  body { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px }
  h1 { margin: 0 0 4px; font-size: 28px } h2 { margin: 40px 0 12px; font-size: 19px }
  p { margin: 0 0 12px; max-width: 75ch }
  .facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 24px 0 }
  .facts div { background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; padding: 12px 16px }
  .facts dt { font-size: 13px; color: #57606a } .facts dd { margin: 0; font-size: 20px; font-weight: 600 }
  figure { margin: 0 0 20px } figcaption { margin-top: 8px; color: #57606a; font-size: 14px }
  img, svg { display: block; max-width: 100%; height: auto; border: 1px solid #dfe3e8; border-radius: 8px }
  svg { width: 100% }
  table { border-collapse: collapse; background: #fff; border: 1px solid #dfe3e8; font-size: 14px }
  th, td { text-align: left; padding: 6px 14px; border-top: 1px solid #eceef1; font-weight: 400; vertical-align: top }
  th { color: #57606a; white-space: nowrap } td, code { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere }
  pre { background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; padding: 12px 16px; overflow-x: auto }
  footer { margin-top: 48px; font-size: 13px; color: #57606a }
`;

export function renderReport(report: Report): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(report.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escapeHtml(report.title)}</h1>
<p>${escapeHtml(report.summary)}</p>
<dl class="facts">
${report.facts.map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`).join('\n')}
</dl>
<h2>Pictures</h2>
${report.figures.map(figure).join('\n')}
<h2>Loss</h2>
<figure>${report.chart}
<figcaption>${escapeHtml(report.chartNote)}</figcaption></figure>
<h2>Settings</h2>
${table(report.settings)}
<h2>Kernels</h2>
<p>Which generated kernel ran for each layer, going forward. <code>npx fracstride render NAME</code> prints the source of a convolution's.</p>
${table(report.kernels)}
<h2>Do it again</h2>
<pre>${escapeHtml(report.command)}</pre>
<footer>Pictures: Twemoji artwork, © Twitter, Inc and other contributors, licensed CC-BY 4.0, from the npm package emoji-datasource-twitter. Made with fracstride.</footer>
</body>
</html>
`;
}

function figure({ png, width, caption }: Figure): string {
  const source = `data:image/png;base64,${Buffer.from(png).toString('base64')}`;
  return `<figure><img src="${source}" width="${width}" alt="${escapeHtml(caption)}"><figcaption>${escapeHtml(caption)}</figcaption></figure>`;
}

function table(rows: Table): string {
  return `<table>${rows.map(([name, value]) => `<tr><th>${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`).join('')}</table>`;
}
