// The rules that make Linux answer as a persona's TCP/IP stack would: what it is let see of a SYN, which strays it answers,
// and what its packets look like when they leave. Stack to nft data; pure. Where they hang is ruleset.ts, ruleset-link.ts.
// What a peer is told stays true: an option the stack lacks is taken out of the SYN, so that nobody agrees on it, and a
// larger window scale is written with windows made smaller to match.

import {
  drop,
  goto,
  match,
  matchNot,
  type NftChain,
  type NftRule,
  type NftStatement,
  type NftVerdict,
  tcpFlags,
  tcpFlagsNot,
} from '../kernel/nft-ruleset.ts';
import type { Family } from '../model/address.ts';
import type { Persona } from '../model/persona.ts';
import { hiddenOptions, type IdentificationKind, linuxStack, type TcpStack } from '../model/tcp-stack.ts';

/** Of the gateway's usual listeners: see openTproxyListener. */
const linuxScale = 7;
/** Linux's own TTL and hop limit; no rule needed. */
const linuxTtl = 64;
/** Decoys share this many counts of IPv4 identification, so that looking at one hardly moves another's. */
const counts = 64;
const countSeed = 0x6964;
const countChain = 'identify';

const set = (field: string, value: string): NftStatement => ({ do: 'set', field, value });
const reset: NftStatement = { do: 'reject', how: 'tcp-reset' };
const isSyn = tcpFlags(['syn', 'ack', 'rst'], ['syn']);
const isSynFin = tcpFlags(['fin', 'syn', 'ack', 'rst'], ['fin', 'syn']);
const isNoFlags = tcpFlags(['syn', 'ack', 'rst'], []);
const isAck = tcpFlags(['syn', 'ack', 'rst'], ['ack']);
const isDoNotFragment: NftStatement = { do: 'flags', field: 'ip frag-off', mask: ['0x4000'], not: false, value: ['0x4000'] };
const isFragment: NftStatement = { do: 'flags', field: 'ip frag-off', mask: ['0x3fff'], not: true, value: [] };
const mayFragment: NftStatement = { do: 'flags', field: 'ip frag-off', mask: ['0x4000'], not: true, value: ['0x4000'] };

/**
 * The stack as it can be played: without sockets of a small window scale, a stack that has one does not scale at all,
 * rather than announce what is not so.
 */
export function playedStack(persona: Persona, narrow: number | undefined): TcpStack {
  const stack = persona.stack ?? linuxStack;
  const { windowScale, ...opening } = stack.opening;
  return narrow === undefined && windowScale !== undefined && windowScale < linuxScale ? { ...stack, opening } : stack;
}

/** Whether its connections go to the listeners that scale by 0. */
export const needsNarrow = ({ opening: { windowScale } }: TcpStack): boolean =>
  windowScale !== undefined && windowScale < linuxScale;

/** Before TCP to an open port goes to the gateway; what is left over goes on. Probes are already on record. */
export function planOpenPort(stack: TcpStack): NftRule[] {
  const { noFlags, synFin } = stack.strays;
  const rules: NftRule[] = [];
  if (noFlags === 'reset') rules.push([isNoFlags, reset]);
  // The kernel ignores SYN with FIN; so it must not become a plain SYN below.
  if (synFin === 'reset') rules.push([isSynFin, reset]);
  if (synFin === 'answer') rules.push([isSynFin, set('tcp flags', 'syn')]);
  if (synFin === 'silent' && !stack.opening.ecn) rules.push([isSynFin, drop]);
  if (!stack.opening.ecn) rules.push([isSyn, tcpFlagsNot(['ecn', 'cwr'], []), set('tcp flags', 'syn')]);
  for (const option of hiddenOptions(stack))
    rules.push([
      isSyn,
      { do: 'hide-option', option: { 'window-scale': 'window', timestamp: 'timestamp', 'sack-permitted': 'sack-perm' }[option] },
    ]);
  return rules;
}

/** TCP to a closed port, in place of the plain refusal. */
export function planClosedPort(stack: TcpStack): NftRule[] {
  const rules: NftRule[] = [];
  if (stack.strays.closedAck === 'silent') rules.push([isAck, drop]);
  if (stack.strays.closedNoFlags === 'silent') rules.push([isNoFlags, drop]);
  if (!stack.reset.countsFin) rules.push([tcpFlags(['fin', 'syn', 'ack', 'rst'], ['fin']), set('tcp flags', 'urg')]);
  return [...rules, [reset]];
}

/** Before a UDP datagram to a closed port is refused. */
export const planClosedDatagram = ({ icmp }: TcpStack): NftRule[] => [
  ...(icmp.quotesChecksum ? [] : [[set('udp checksum', '0')]]),
  // Raw: nothing looks at it any more, and what is written is what is quoted.
  ...(icmp.quotesHeaderChecksum ? [] : [[match('meta nfproto', 'ipv4'), set('@nh,80,16', '0')]]),
];

/**
 * Before an echo request goes to the kernel. Its reply takes over the type of service and nothing else of the IP header,
 * so the request's DF travels in the two ECN bits, which mean nothing there; `leave` below takes it out again.
 */
export const planEcho = (stack: TcpStack): NftRule[] =>
  stack.icmp.echoDoNotFragment === 'never'
    ? []
    : [
        [match('icmp type', 'echo-request'), isDoNotFragment, set('ip ecn', 'ce')],
        [match('icmp type', 'echo-request'), mayFragment, set('ip ecn', 'not-ect')],
      ];

/** Whether the three above give nothing but what Linux does, so that one chain serves all such personas. */
export const answersAsLinux = (stack: TcpStack): boolean =>
  planOpenPort(stack).length === 0 &&
  planClosedPort(stack).length === 1 &&
  planClosedDatagram(stack).length === 0 &&
  planEcho(stack).length === 0 &&
  !needsNarrow(stack);

/** Chains for packets that leave, each made once, a chain after those it names. For one table. */
export class StackWear {
  readonly chains: NftChain[] = [];
  readonly #narrow: number | undefined;
  readonly #announced: number | undefined;
  readonly #known = new Map<string, string | undefined>();
  #counting = false;

  /** `narrow` as in GatewayPorts, `announced` as in NetworkState. */
  constructor(narrow: number | undefined, announced?: number) {
    this.#narrow = narrow;
    this.#announced = announced;
  }

  /** Chain that a persona's packets of this family go through; undefined when they are as they should be. */
  chainFor(persona: Persona, family: Family): string | undefined {
    const stack = { ...playedStack(persona, this.#narrow), ttl: persona.ttl };
    const own = persona.stack === undefined || persona.stack.ttl !== persona.ttl;
    const name = `stack-${stack.name}${own ? `-${persona.ttl}` : ''}.v${family}`;
    if (!this.#known.has(name)) this.#known.set(name, this.#add(name, stack, family));
    return this.#known.get(name);
  }

  #chain(name: string, rules: readonly NftRule[]): string | undefined {
    if (rules.length === 0) return undefined;
    this.chains.push({ name, rules });
    return name;
  }

  #add(name: string, stack: TcpStack, family: Family): string | undefined {
    const ways: NftRule[] = [];
    const tcp = this.#addTcp(name, stack, family);
    if (tcp !== undefined) ways.push([match('meta l4proto', 'tcp'), goto(tcp)]);
    const icmp = family === 4 ? this.#chain(`${name}.icmp`, this.#icmpRules(stack)) : undefined;
    if (icmp !== undefined) ways.push([match('meta l4proto', 'icmp'), goto(icmp)]);
    // What left with another one meant it: names go no further than the link (docs/decisions/0014).
    const unset = match(family === 4 ? 'ip ttl' : 'ip6 hoplimit', linuxTtl);
    const rules: NftRule[] = stack.ttl === linuxTtl ? [] : [[unset, ...ttlRule(family, stack.ttl)]];
    rules.push(...ways);
    if (family === 4) rules.push(...this.#identification(stack.identification, [match('meta l4proto', 'udp')]));
    return this.#chain(name, rules);
  }

  #addTcp(name: string, stack: TcpStack, family: Family): string | undefined {
    const { opening, reset: refusal } = stack;
    const four = family === 4;
    const fragment: NftRule[] = four && !stack.doNotFragment ? [[set('ip frag-off', '0')]] : [];
    const identify = four ? this.#identification(stack.identification) : [];
    const refuse: NftRule[] = [];
    if (refusal.ttl !== undefined) refuse.push(ttlRule(family, refusal.ttl));
    if (refusal.acknowledgment === 'sequence')
      refuse.push([tcpFlags(['ack'], []), { do: 'copy', field: 'tcp ackseq', from: 'tcp sequence' }]);
    if (four && !refusal.doNotFragment) refuse.push([set('ip frag-off', '0')]);
    if (four) refuse.push(...this.#identification(refusal.identification));
    const refused = this.#chain(`${name}.reset`, refuse);
    const open: NftRule[] = [
      ...(opening.window === undefined ? [] : [[set('tcp window', String(opening.window))]]),
      ...this.#sizeRules(opening, family),
      ...planOptions(stack),
      ...fragment,
      ...identify,
    ];
    const isReset = tcpFlags(['rst'], ['rst']);
    const opened = this.#chain(`${name}.syn`, open);
    const shift = shiftOf(opening.windowScale);
    return this.#chain(`${name}.tcp`, [
      ...(refused === undefined ? [] : [[isReset, goto(refused)]]),
      ...(opened === undefined ? [] : [[tcpFlags(['syn'], ['syn']), goto(opened)]]),
      ...(shift === 0 ? [] : [[{ do: 'shift-right', field: 'tcp window', bits: shift } as const]]),
      ...fragment,
      ...identify,
    ]);
  }

  /** MSS, and Linux's window, which follows it. */
  #sizeRules({ maxSegmentSize, window }: TcpStack['opening'], family: Family): NftRule[] {
    const header = family === 4 ? 0 : 20;
    const announced = this.#announced;
    // A named option is only ever made smaller (net/netfilter/nft_exthdr.c).
    if (announced === undefined)
      return maxSegmentSize === undefined ? [] : [[set('tcp option maxseg size', String(maxSegmentSize - header))]];
    const size = Math.min(announced, maxSegmentSize ?? announced) - header;
    const rules: NftRule[] = [[match('@th,160,16', '0x0204'), set('@th,176,16', String(size))]];
    if (window !== undefined) return rules;
    // As many whole segments as fit without scaling; timestamps take 12 bytes of each and make headers of 9 and 10 words.
    const whole = (segment: number): string => String(Math.floor(65_535 / segment) * segment);
    return [
      ...rules,
      [match('tcp doff', [9, 10]), set('tcp window', whole(size - 12))],
      [matchNot('tcp doff', [9, 10]), set('tcp window', whole(size))],
    ];
  }

  #icmpRules({ icmp }: TcpStack): NftRule[] {
    const isReply = match('icmp type', 'echo-reply');
    const rules: NftRule[] = [];
    if (icmp.ttl !== undefined) rules.push(ttlRule(4, icmp.ttl));
    if (icmp.echoCode === 'zero') rules.push([isReply, set('icmp code', '0')]);
    if (icmp.echoDoNotFragment === 'copy')
      rules.push([isReply, match('ip ecn', 'ce'), set('ip ecn', 'not-ect'), set('ip frag-off', '0x4000')]);
    // A long answer leaves in fragments, which belong together by the number they have.
    const identify = this.#identification(icmp.identification);
    return identify.length > 0 ? [...rules, [isFragment, { do: 'verdict', verdict: 'return' }], ...identify] : rules;
  }

  /** Last in its chain: counting leads away. */
  #identification(kind: IdentificationKind, when: readonly NftStatement[] = []): NftRule[] {
    if (kind === 'kernel') return [];
    if (kind === 'zero') return [[...when, set('ip id', '0')]];
    if (kind === 'random') return [[...when, { do: 'number', field: 'ip id', how: 'random' }]];
    this.#addCounts();
    return [[...when, goto(countChain)]];
  }

  #addCounts(): void {
    if (this.#counting) return;
    this.#counting = true;
    const entries: [number, NftVerdict][] = [];
    for (let index = 0; index < counts; index += 1) {
      const name = `${countChain}-${index}`;
      this.chains.push({ name, rules: [[{ do: 'number', field: 'ip id', how: 'inc' }]] });
      entries.push([index, { goto: name }]);
    }
    const key = { hash: 'ip saddr', modulus: counts, seed: countSeed };
    this.chains.push({ name: countChain, rules: [[{ do: 'vmap', key, map: { entries } }]] });
  }
}

const ttlRule = (family: Family, ttl: number): NftRule => [set(family === 4 ? 'ip ttl' : 'ip6 hoplimit', String(ttl))];

/** By how much windows are divided so that, times the announced scale, they are what the kernel offers. */
const shiftOf = (scale: number | undefined): number =>
  scale === undefined ? 0 : scale < linuxScale ? scale : scale - linuxScale;

/**
 * The options of a SYN-ACK in the stack's order. Linux writes MSS; then sack, or two nops, with the timestamp, or two nops
 * with a lonely sack; then nop and scale (net/ipv4/tcp_output.c tcp_options_write): header lengths of 7, 8 and 10 words
 * with scale in the last four bytes. Payload is written raw: the checksum of a SYN-ACK is filled in behind this hook.
 */
function planOptions({ opening }: TcpStack): NftRule[] {
  const { layout, windowScale } = opening;
  const rules: NftRule[] = [];
  const scaleAt = (words: number, bit: number): NftStatement[] => [match('tcp doff', words), match(`@th,${bit},24`, '0x010303')];
  const scaleByte = (windowScale ?? 0).toString(16).padStart(2, '0');
  const scale = `010303${scaleByte}`;
  const lonelySack = layout === 'bsd' ? '04020000' : '01010402';
  if (windowScale !== undefined && layout !== 'linux')
    rules.push(
      [...scaleAt(10, 288), { do: 'copy', field: '@th,224,96', from: '@th,192,96' }, set('@th,192,32', `0x${scale}`)],
      [...scaleAt(8, 224), set('@th,192,64', `0x${scale}${lonelySack}`)],
      [...scaleAt(7, 192), set('@th,192,32', `0x${scale}`)],
    );
  else if (windowScale !== undefined && shiftOf(windowScale) !== 0)
    rules.push(
      [...scaleAt(10, 288), set('@th,288,32', `0x${scale}`)],
      [...scaleAt(8, 224), set('@th,224,32', `0x${scale}`)],
      [...scaleAt(7, 192), set('@th,192,32', `0x${scale}`)],
    );
  if (layout === 'bsd') rules.push([match('tcp doff', 7), match('@th,192,32', '0x01010402'), set('@th,192,32', '0x04020000')]);
  return rules;
}
