// Sets of ports as sorted, disjoint, inclusive ranges: parsing, rendering, membership, difference. Pure.

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Sorted, disjoint, not touching. */
export type PortSet = readonly PortRange[];

export const allPorts: PortSet = [{ first: 1, last: 65535 }];
export const noPorts: PortSet = [];

export function unitePorts(ranges: readonly PortRange[]): PortSet {
  const united: PortRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first || a.last - b.last)) {
    const previous = united.at(-1);
    if (previous && range.first <= previous.last + 1) {
      if (range.last > previous.last) united[united.length - 1] = { first: previous.first, last: range.last };
    } else united.push(range);
  }
  return united;
}

export function subtractPorts(from: PortSet, holes: PortSet): PortSet {
  const left: PortRange[] = [];
  for (const range of from) {
    let first = range.first;
    for (const hole of holes) {
      if (hole.last < first || hole.first > range.last) continue;
      if (hole.first > first) left.push({ first, last: hole.first - 1 });
      first = hole.last + 1;
    }
    if (first <= range.last) left.push({ first, last: range.last });
  }
  return left;
}

/** A number, or text such as `80`, `8000-8100`, `22,80,443`. Undefined when any part is not a port 1..65535. */
export function parsePorts(value: string | number): PortSet | undefined {
  const ranges: PortRange[] = [];
  for (const part of String(value).split(',')) {
    const match = /^\s*(\d{1,5})\s*(?:-\s*(\d{1,5}))?\s*$/.exec(part);
    if (!match) return undefined;
    const first = Number(match[1]);
    const last = match[2] === undefined ? first : Number(match[2]);
    if (first < 1 || last > 65535 || first > last) return undefined;
    ranges.push({ first, last });
  }
  return unitePorts(ranges);
}

export const renderPorts = (ports: PortSet): string =>
  ports.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`)).join(',');

export function hasPort(ports: PortSet, port: number): boolean {
  let low = 0;
  let high = ports.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const range = ports[middle];
    if (port < range.first) high = middle - 1;
    else if (port > range.last) low = middle + 1;
    else return true;
  }
  return false;
}
