/** Lines of WGSL with two spaces of indentation per block. */
export class Writer {
  private readonly lines: string[] = [];
  private depth = 0;

  line(text: string): void {
    this.lines.push(`${'  '.repeat(this.depth)}${text}`);
  }
  /** A line that ends with `{`, and what is inside of it. */
  open(text: string): void {
    this.line(`${text} {`);
    this.depth++;
  }
  close(): void {
    this.depth--;
    this.line('}');
  }
  /** `} else {`, with what stands between: `} else if (...) {` */
  otherwise(condition = ''): void {
    this.depth--;
    this.line(`} else ${condition === '' ? '' : `${condition} `}{`);
    this.depth++;
  }
  comment(text: string): void {
    for (const line of commentLines(text)) this.line(line);
  }
  /** Takes over what another writer holds, indented as here. */
  append(other: Writer): void {
    for (const line of other.lines) this.line(line);
  }

  get text(): string {
    return this.lines.join('\n');
  }
}

/** `//` lines: one per line of the text. Other control characters and line separators, which WGSL counts as ends of lines, become spaces. */
export function commentLines(text: string): string[] {
  return text.split(/\r?\n/).map((line) => `// ${line.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, ' ')}`.trimEnd());
}
