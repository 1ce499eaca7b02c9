// Which of two versions of the program is the newer one, by Semantic Versioning 2.0.0 (clause 11). Pure.

interface ParsedVersion {
  readonly numbers: readonly number[];
  /** Of a pre-release, split at its dots; empty: a release. */
  readonly before: readonly string[];
}

const pattern = /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$/;

function parseVersion(text: string): ParsedVersion | undefined {
  const match = text.length <= 64 ? pattern.exec(text) : null;
  if (!match) return undefined;
  return { numbers: [match[1], match[2], match[3]].map(Number), before: match[4] === undefined ? [] : match[4].split('.') };
}

function comparePart(a: string, b: string): number {
  const [left, right] = [/^\d+$/.test(a), /^\d+$/.test(b)];
  if (left && right) return Number(BigInt(a) > BigInt(b)) - Number(BigInt(a) < BigInt(b));
  if (left !== right) return left ? -1 : 1;
  return Number(a > b) - Number(a < b);
}

/**
 * Below 0: `a` is older than `b`; 0: equal but for build metadata, or one of them is no version and nothing can be said.
 */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [parseVersion(a), parseVersion(b)];
  if (!left || !right) return 0;
  for (const [at, number] of left.numbers.entries()) if (number !== right.numbers[at]) return number - right.numbers[at];
  // A release comes after its pre-releases.
  if (left.before.length === 0 || right.before.length === 0)
    return Number(left.before.length === 0) - Number(right.before.length === 0);
  for (let at = 0; at < Math.min(left.before.length, right.before.length); at += 1) {
    const order = comparePart(left.before[at], right.before[at]);
    if (order !== 0) return order;
  }
  return left.before.length - right.before.length;
}
