// DNS messages as far as names of decoys need them, also as LLMNR and mDNS carry them: questions in (hostile), answers out.
// Linear and bounded; never throws on bytes from outside. Pure.
// Sources: RFC 1035 section 4.1, RFC 4795 section 2.1, RFC 6762 section 18.

export const dnsTypes = { a: 1, ptr: 12, aaaa: 28, any: 255 } as const;
export const classInternet = 1;

export interface DnsQuestion {
  readonly labels: readonly string[];
  readonly type: number;
  readonly class: number;
  /** mDNS: the top bit of the class, "answer me alone" (RFC 6762 section 5.4). */
  readonly unicast: boolean;
}

export interface DnsQuery {
  readonly id: number;
  /** Operation: 0 is a standard query. */
  readonly operation: number;
  readonly questions: readonly DnsQuestion[];
  /** Answers the asker knows already, authorities and additional records: counted in the header, not read. */
  readonly records: number;
  /** Offset behind the first question. */
  readonly firstEnd: number;
}

export interface DnsRecord {
  readonly labels: readonly string[];
  readonly type: number;
  /** mDNS sets the top bit: the asker may forget what it knew before. */
  readonly class: number;
  readonly ttlSeconds: number;
  readonly data: Uint8Array;
}

const maxQuestions = 8;
const maxNameBytes = 255;
const maxJumps = 8;

/** Labels as latin1 text and the offset behind the name; undefined when it breaks the format. Pointers lead backwards only. */
function readName(payload: Uint8Array, start: number): { labels: string[]; end: number } | undefined {
  const labels: string[] = [];
  let at = start;
  let end = -1;
  let length = 0;
  let jumps = 0;
  for (;;) {
    const size = payload[at];
    if (size === undefined) return undefined;
    if (size === 0) return { labels, end: end < 0 ? at + 1 : end };
    if (size >= 0xc0) {
      const target = ((size & 0x3f) << 8) | (payload[at + 1] ?? 0xff);
      jumps += 1;
      if (at + 1 >= payload.length || target >= at || target < 12 || jumps > maxJumps) return undefined;
      if (end < 0) end = at + 2;
      at = target;
      continue;
    }
    length += size + 1;
    if (size > 63 || at + 1 + size > payload.length || length > maxNameBytes) return undefined;
    labels.push(Buffer.from(payload.subarray(at + 1, at + 1 + size)).toString('latin1'));
    at += 1 + size;
  }
}

/** Undefined when it is no query of one to eight questions. */
export function parseDnsQuery(payload: Uint8Array): DnsQuery | undefined {
  if (payload.length < 17 || (payload[2] & 0x80) !== 0) return undefined;
  const word = (at: number): number => (payload[at] << 8) | payload[at + 1];
  const count = word(4);
  if (count < 1 || count > maxQuestions) return undefined;
  const questions: DnsQuestion[] = [];
  let at = 12;
  let firstEnd = 0;
  for (let index = 0; index < count; index += 1) {
    const name = readName(payload, at);
    if (!name || name.end + 4 > payload.length) return undefined;
    const type = word(name.end);
    const written = word(name.end + 2);
    questions.push({ labels: name.labels, type, class: written & 0x7fff, unicast: (written & 0x8000) !== 0 });
    at = name.end + 4;
    if (index === 0) firstEnd = at;
  }
  const records = word(6) + word(8) + word(10);
  return { id: word(0), operation: (payload[2] >> 3) & 15, questions, records, firstEnd };
}

/** A name as length-prefixed labels, not compressed. Labels longer than 63 bytes are cut. */
export function renderName(labels: readonly string[]): Buffer {
  const parts: Buffer[] = [];
  for (const label of labels) {
    const bytes = Buffer.from(label, 'latin1').subarray(0, 63);
    parts.push(Buffer.from([bytes.length]), bytes);
  }
  parts.push(Buffer.from([0]));
  return Buffer.concat(parts);
}

const renderQuestion = ({ labels, type, class: of }: DnsQuestion): Buffer => {
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(type, 0);
  tail.writeUInt16BE(of, 2);
  return Buffer.concat([renderName(labels), tail]);
};

/** A whole message. A record whose name is the first question's refers to it; with `plain` every name is written out. */
export function renderDnsAnswer(
  id: number,
  flags: number,
  questions: readonly DnsQuestion[],
  answers: readonly DnsRecord[],
  plain = false,
): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(id, 0);
  head.writeUInt16BE(flags, 2);
  head.writeUInt16BE(questions.length, 4);
  head.writeUInt16BE(answers.length, 6);
  const asked = questions[0]?.labels.join('.').toLowerCase();
  const records = answers.map(({ labels, type, class: of, ttlSeconds, data }) => {
    const name = !plain && labels.join('.').toLowerCase() === asked ? Buffer.from([0xc0, 12]) : renderName(labels);
    const fixed = Buffer.alloc(10);
    fixed.writeUInt16BE(type, 0);
    fixed.writeUInt16BE(of, 2);
    fixed.writeUInt32BE(ttlSeconds, 4);
    fixed.writeUInt16BE(data.length, 8);
    return Buffer.concat([name, fixed, data]);
  });
  return Buffer.concat([head, ...questions.map(renderQuestion), ...records]);
}
