/** Reads the documentation as data: code blocks with what stands on their opening fence, tables, links and headings. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));

export interface CodeBlock {
  readonly language: string;
  /** Words of the form name=value after the language: `file=call.ts`. Renderers show none of them. */
  readonly words: Readonly<Record<string, string>>;
  readonly text: string;
  readonly line: number;
}

export interface Page {
  /** Relative to the root. */
  readonly path: string;
  readonly lines: readonly string[];
  readonly blocks: readonly CodeBlock[];
  /** Lines outside of code blocks, with their numbers. */
  readonly prose: readonly { readonly line: number; readonly text: string }[];
}

export function readPage(path: string): Page {
  const lines = readFileSync(root + path, 'utf8').split('\n');
  const blocks: CodeBlock[] = [];
  const prose: { line: number; text: string }[] = [];
  for (let at = 0; at < lines.length; at++) {
    const fence = /^```(\S*)\s*(.*)$/.exec(lines[at] ?? '');
    if (!fence) {
      prose.push({ line: at + 1, text: lines[at] ?? '' });
      continue;
    }
    const end = lines.indexOf('```', at + 1);
    if (end < 0) throw new Error(`${path}:${at + 1}: the code block has no end`);
    const words = (fence[2] ?? '')
      .split(' ')
      .filter(Boolean)
      .map((word) => word.split('=') as [string, string]);
    blocks.push({
      language: fence[1] ?? '',
      words: Object.fromEntries(words),
      text: lines.slice(at + 1, end).join('\n'),
      line: at + 1,
    });
    at = end;
  }
  return { path, lines, blocks, prose };
}

/** The anchor that GitHub gives a heading. */
export const anchorOf = (heading: string): string =>
  heading
    .replace(/`/g, '')
    .trim()
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replace(/ /g, '-');

/** Targets of the links of a page, with their lines. */
export function linksOf(page: Page): { line: number; target: string }[] {
  return page.prose.flatMap(({ line, text }) =>
    [...text.replace(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)].map((match) => ({
      line,
      target: match[1] as string,
    })),
  );
}

/** Rows of the tables below a heading: cells without their backticks, the two heading rows left out. */
export function tableBelow(page: Page, heading: string): string[][] {
  const start = page.prose.findIndex(({ text }) => /^#+ /.test(text) && text.replace(/^#+ /, '') === heading);
  if (start < 0) throw new Error(`${page.path} has no heading "${heading}"`);
  const rows: string[][] = [];
  for (const { text } of page.prose.slice(start + 1)) {
    if (/^#+ /.test(text)) break;
    if (!text.startsWith('|')) continue;
    const cells = text.slice(1, -1).split(/(?<!\\)\|/);
    rows.push(cells.map((cell) => cell.trim().replaceAll('\\|', '|')));
  }
  return rows.slice(2);
}

/** A cell that is one piece of code: `` `x` ``, or ``` `` x ` `` ``` with backticks in it. */
export const code = (cell: string): string => cell.replace(/^(`+) ?(.*?) ?\1$/, '$2');
