// Reads a libpcap expression the way it will be understood, and says where that is not what people mean by it, with what to write
// instead. Pure; it judges the text, the compiler judges the grammar (kernel/capture/filter-program.ts).
// Source: pcap-filter(7).

export interface FilterRemark {
  readonly code:
    | 'ipv4-only'
    | 'no-vlan'
    | 'vlan-shifts'
    | 'precedence'
    | 'not-binds'
    | 'exact-flags'
    | 'first-fragment'
    | 'link-offsets'
    | 'name'
    | 'extension-headers';
  /** What it does not see or sees otherwise. */
  readonly what: string;
  /** A whole expression, or in words what to do. */
  readonly instead: string;
}

export interface LintOptions {
  /** It is meant for `-i any` of other tools: their frames have another header. */
  readonly any?: boolean;
}

/** Offsets of the names that may stand in brackets. */
const named: Readonly<Record<string, number>> = { tcpflags: 13, icmptype: 0, icmpcode: 1, icmp6type: 0, icmp6code: 1 };
const protocolNumbers: Readonly<Record<string, number>> = { tcp: 6, udp: 17, icmp: 1 };

const accessPattern = /\b(tcp|udp|icmp)\s*\[\s*([^\]:]+?)\s*(?::\s*([124])\s*)?\]/gi;
/** A value of one part or of several, in brackets or not. */
const exactPattern =
  /\btcp\s*\[\s*(?:13|tcpflags)\s*\]\s*={1,2}\s*(?:\(([\w\s|-]+)\)|(\w+(?:-\w+)?(?:\s*\|(?!\|)\s*\w+(?:-\w+)?)*))/i;
const portPattern = /\b(port|portrange)\b/i;
const addressPattern = /\b(host|net|port|portrange|tcp|udp|icmp6?|arp|ip6?)\b|\b(?:src|dst)\s+\d/i;
const namePattern = /\bhost\s+((?!\d|and\b|or\b)[a-z_][\w-]*(?:\.[\w-]+)*)/gi;

/** Words and brackets; quotes and escapes are not part of the language that matters here. */
const tokensOf = (expression: string): string[] => expression.match(/[()]|&&|\|\||!(?!=)|\[[^\]]*\]|[^\s()!&|]+|[&|]/g) ?? [];

/** Most important first; empty: nothing to say. */
export function lintFilter(expression: string, { any = false }: LintOptions = {}): FilterRemark[] {
  const text = expression.trim();
  if (text === '') return [];
  const remarks: FilterRemark[] = [];
  const accesses = [...text.matchAll(accessPattern)];
  const four = accesses.filter(([, protocol]) => protocol.toLowerCase() in protocolNumbers);
  if (four.length > 0 && !/\bip6\s*\[/i.test(text)) {
    const [, protocol] = four[0];
    remarks.push({
      code: 'ipv4-only',
      what: `\`${four[0][0]}\` reads IPv4 only: ${protocol === 'icmp' ? 'ICMPv6 is another protocol' : `${protocol.toUpperCase()} over IPv6 never matches`}`,
      instead: protocol.toLowerCase() === 'icmp' ? 'icmp6[icmp6type] for IPv6' : inIpv6(text),
    });
  }
  const exact = exactPattern.exec(text);
  const instead = exact ? exactly(exact[1] ?? exact[2]) : undefined;
  if (exact && instead !== undefined)
    remarks.push({
      code: 'exact-flags',
      what: `\`${exact[0]}\` wants exactly these flags: a SYN that offers ECN, or data with PSH, does not match`,
      instead,
    });
  const vlan = /\bvlan\b/i.test(text);
  if (!vlan && addressPattern.test(text))
    remarks.push({
      code: 'no-vlan',
      what: 'frames with a VLAN tag do not match: everything is looked for where it is without one',
      instead: `(${text}) or (vlan and (${text}))`,
    });
  const afterVlan = /\bvlan\b(?:\s+\d+)?([\s\S]*)/i.exec(text)?.[1] ?? '';
  if (vlan && /\b(or)\b|\|\|/i.test(afterVlan.replace(/\([^()]*\)/g, '')))
    remarks.push({
      code: 'vlan-shifts',
      what: '`vlan` moves everything to the right of it by four bytes, also behind `or`: what is meant for untagged frames does not match there',
      instead: 'put what is meant for untagged frames to the left: (EXPR) or (vlan and (EXPR))',
    });
  const mixed = mixedPrecedence(tokensOf(text));
  if (mixed !== undefined)
    remarks.push({
      code: 'precedence',
      what: '`and` and `or` bind equally, from left to right',
      instead: mixed,
    });
  const list =
    /(?:\bnot\b|!)\s*((?:src\s+|dst\s+)?(?:host|net|port))\s+(\S+)\s+(and|or|&&|\|\|)\s+(?!not\b|host\b|net\b|port\b|src\b|dst\b|tcp\b|udp\b|ip6?\b|arp\b|icmp6?\b|vlan\b|ether\b|[!(])([\w.:]+)/i.exec(
      text,
    );
  if (list)
    remarks.push({
      code: 'not-binds',
      what: `\`not\` belongs to \`${list[1]} ${list[2]}\` alone, so \`${list[4]}\` is asked for, not excluded`,
      instead: text.replace(list[0], `not (${list[1]} ${list[2]} or ${list[1]} ${list[4]})`),
    });
  if (portPattern.test(text) && !/6:2\]|\bfrag/i.test(text))
    remarks.push({
      code: 'first-fragment',
      what: 'ports are in the first fragment of a packet alone: the others do not match',
      instead: `(${text}) or (ip[6:2] & 0x1fff != 0)`,
    });
  if (/\bip6\b/i.test(text) && /\b(tcp|udp|port|portrange|icmp6)\b/i.test(text))
    remarks.push({
      code: 'extension-headers',
      what: 'over IPv6 only packets whose first header is the transport match: fragments and hop-by-hop options hide it',
      instead: `(${text}) or (ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 44 or ip6[6] = 60)`,
    });
  if (any && /\b(ether|link|wlan)\s*(\[|host|src|dst|broadcast|multicast)/i.test(text))
    remarks.push({
      code: 'link-offsets',
      what: "other tools give frames of `any` a header of 16 or 20 bytes instead of Ethernet's 14, so these offsets mean something else there",
      instead: "capture the interface itself with --if NAME (Weir keeps each interface's own header, also with --if any)",
    });
  for (const [, name] of text.matchAll(namePattern))
    remarks.push({
      code: 'name',
      what: `\`${name}\` is asked of the resolver once, when the filter is made: other addresses it has or gets do not match`,
      instead: `its addresses: host A or host B`,
    });
  return remarks;
}

/** The expression with, for each access to a transport header, the same in an IPv6 packet without extension headers. */
function inIpv6(text: string): string {
  const protocols = new Set<string>();
  const six = text.replace(accessPattern, (whole, protocol: string, offset: string, size?: string) => {
    const number = /^\d+$/.test(offset) ? Number(offset) : named[offset.toLowerCase()];
    if (number === undefined || protocol.toLowerCase() === 'icmp') return whole;
    protocols.add(protocol.toLowerCase());
    return `ip6[${40 + number}${size === undefined ? '' : `:${size}`}]`;
  });
  if (protocols.size !== 1) return 'ip6[40 + OFFSET] for IPv6 packets without extension headers, joined with `or`';
  const [protocol] = protocols;
  return `(${text}) or (ip6[6] = ${protocolNumbers[protocol]} and (${six}))`;
}

const flagBits: Readonly<Record<string, number>> = {
  'tcp-fin': 1,
  'tcp-syn': 2,
  'tcp-rst': 4,
  'tcp-push': 8,
  'tcp-ack': 16,
  'tcp-urg': 32,
  'tcp-ece': 64,
  'tcp-cwr': 128,
};

/** Undefined where exactly that is what can be meant: no flag at all. */
function exactly(value: string): string | undefined {
  const parts = value.split('|').map((part) => part.trim().toLowerCase());
  const bits = parts.reduce((sum, part) => sum | (flagBits[part] ?? Number(part)), 0);
  switch (bits) {
    case 0:
      return undefined;
    case 1:
      return 'tcp[tcpflags] & tcp-fin != 0';
    case 2:
      return 'tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn';
    case 4:
      return 'tcp[tcpflags] & tcp-rst != 0';
    case 18:
      return 'tcp[tcpflags] & (tcp-syn|tcp-ack) = (tcp-syn|tcp-ack)';
    default: {
      const flags = parts.length === 1 ? parts[0] : `(${parts.join('|')})`;
      return `tcp[tcpflags] & ${flags} = ${flags}`;
    }
  }
}

/** How an expression with both `and` and `or` on one level is read; undefined where there is nothing to tell. */
function mixedPrecedence(tokens: readonly string[]): string | undefined {
  let depth = 0;
  let first: string | undefined;
  const at: number[] = [];
  for (const [index, token] of tokens.entries()) {
    if (token === '(') depth += 1;
    else if (token === ')') depth -= 1;
    else if (depth === 0 && /^(and|or|&&|\|\|)$/i.test(token)) {
      const kind = /^(and|&&)$/i.test(token) ? 'and' : 'or';
      first ??= kind;
      // From `or` to `and` the reading from left to right is not what arithmetic would have it.
      if (first === 'or' && kind === 'and') at.push(index);
    }
  }
  const [split] = at;
  if (split === undefined) return undefined;
  const left = tokens.slice(0, split).join(' ');
  const right = tokens.slice(split + 1).join(' ');
  const lastOr = tokens.slice(0, split).findLastIndex((token) => /^(or|\|\|)$/i.test(token));
  const meant = `${tokens.slice(0, lastOr).join(' ')} or (${tokens.slice(lastOr + 1).join(' ')})`;
  return `it is read as (${left}) and ${right}; if that is not meant: ${meant}`;
}
