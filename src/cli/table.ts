// Aligned columns for people: widths in terminal cells, one flexible column that is cut to fit. Pure.
// Cells must already be safe to show (base/printable.ts).

/** Cells a terminal gives a character: 0 for combining marks, 2 for wide East Asian ones and most emoji. */
function cellsOf(codePoint: number): number {
  if (codePoint >= 0x300 && codePoint <= 0x36f) return 0;
  const wide =
    (codePoint >= 0x1100 && codePoint <= 0x115f) ||
    (codePoint >= 0x2e80 && codePoint <= 0xa4cf) ||
    (codePoint >= 0xac00 && codePoint <= 0xd7a3) ||
    (codePoint >= 0xf900 && codePoint <= 0xfaff) ||
    (codePoint >= 0xfe30 && codePoint <= 0xfe6f) ||
    (codePoint >= 0xff00 && codePoint <= 0xff60) ||
    (codePoint >= 0x1f300 && codePoint <= 0x1faff) ||
    (codePoint >= 0x20000 && codePoint <= 0x3fffd);
  return wide ? 2 : 1;
}

export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) width += cellsOf(character.codePointAt(0) ?? 0);
  return width;
}

/** At most `width` cells; what is cut shows as `…`. */
export function fit(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let kept = '';
  let used = 0;
  for (const character of text) {
    const cells = cellsOf(character.codePointAt(0) ?? 0);
    if (used + cells > width - 1) break;
    kept += character;
    used += cells;
  }
  return `${kept}…`;
}

export interface Column<Row> {
  readonly title: string;
  readonly align?: 'left' | 'right';
  readonly text: (row: Row) => string;
  /** Applied after the padding: colour codes take no room. */
  readonly paint?: (text: string, row: Row) => string;
  /** The one column that gives way when a line is longer than the terminal. */
  readonly flexible?: boolean;
  /** Not narrower than this, so that rows printed later stay aligned. */
  readonly minimum?: number;
}

const gap = '  ';
const leastFlexible = 12;

/** Lines without newlines: the titles first. `width` 0 means no limit. */
export function renderTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  options: { readonly width?: number; readonly paintTitle?: (text: string) => string; readonly titles?: boolean } = {},
): string[] {
  const cells = rows.map((row) => columns.map((column) => column.text(row)));
  const widths = columns.map((column, index) =>
    Math.max(displayWidth(column.title), column.minimum ?? 0, ...cells.map((line) => displayWidth(line[index]))),
  );
  const flexible = columns.findIndex((column) => column.flexible);
  const total = widths.reduce((sum, width) => sum + width, 0) + gap.length * (columns.length - 1);
  if (options.width && flexible >= 0 && total > options.width)
    widths[flexible] = Math.max(leastFlexible, widths[flexible] - (total - options.width));
  const renderLine = (texts: readonly string[], paint: (text: string, index: number) => string): string => {
    let line = '';
    let pending = '';
    for (const [index, text] of texts.entries()) {
      const shown = fit(text, widths[index]);
      const padding = ' '.repeat(widths[index] - displayWidth(shown));
      const right = columns[index].align === 'right';
      if (right) pending += padding;
      if (shown !== '') {
        line += pending + paint(shown, index);
        pending = '';
      }
      if (!right) pending += padding;
      pending += gap;
    }
    return line;
  };
  const lines = cells.map((texts, row) => renderLine(texts, (text, index) => columns[index].paint?.(text, rows[row]) ?? text));
  if (options.titles === false) return lines;
  const titles = renderLine(
    columns.map(({ title }) => title),
    (text) => options.paintTitle?.(text) ?? text,
  );
  return [titles, ...lines];
}
