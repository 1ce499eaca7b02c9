// What becomes of a packet in one hook, by the rules alone: exactly what the kernel would do, or "unknown" with the rule that cannot
// be decided. Where something cannot be decided both ways are walked; if all end alike, that is the answer. Pure.

import type {
  FilterAction,
  FilterChain,
  FilterElement,
  FilterPacket,
  FilterRule,
  FilterStatement,
  FilterStep,
  FilterVerdict,
  FilterWalk,
  PacketFilter,
  RulePlace,
  WalkContext,
} from '../model/packet-filter.ts';
import { elementOf, matchHolds, SetFinder, valuesOf, whyUnknown } from './filter-match.ts';
import { findChain, type HookEntry, planOrders } from './filter-order.ts';
import { translate, writeField } from './filter-rewrite.ts';
import type { Blur, Sight } from './filter-value.ts';

/** More ways than these through one hook are not walked: the verdict is unknown then. */
const maxRuns = 512;
const maxSteps = 256;
/** The kernel refuses deeper ones: NFT_JUMP_STACK_SIZE is 16, iptables goes by the number of chains. */
const maxDepth = 64;
/** Rules looked at in one run: chains that call each other many times over end here. */
const maxRules = 2_000_000;
/** Connection tracking looks at what comes in or is sent at this priority; linux/netfilter_ipv4.h. */
const trackingPriority = -200;

/** How one base chain, or a part of it, ended. `end`: past its last rule, or by return. */
type Ending = 'end' | 'accept' | FilterVerdict;

/** Something that cannot be decided, in the order met; the choice 0 is "does not match". */
interface Choice {
  readonly options: number;
  readonly rule?: RulePlace;
  readonly why: string;
}

interface RunResult {
  readonly verdict: FilterVerdict;
  readonly packet: FilterPacket;
  readonly blurred: ReadonlySet<Blur>;
  readonly steps: readonly FilterStep[];
  readonly choices: readonly Choice[];
  readonly taken: readonly number[];
}

const placeOf = ({ backend, family, table, chain, handle, text, owner }: RulePlace): RulePlace => ({
  backend,
  family,
  table,
  chain,
  handle,
  text,
  ...(owner === undefined ? {} : { owner }),
});

/** Statements that leave a packet as it is and to the next rule. */
const idle = new Set<FilterStatement['kind']>([
  'counter',
  'log',
  'nothing',
  'continue',
  'compare',
  'bits',
  'set',
  'any',
  'undecided',
]);

const mattering = new WeakMap<FilterRule, boolean>();
function matters(rule: FilterRule): boolean {
  let known = mattering.get(rule);
  if (known === undefined) {
    known = rule.statements.some(({ kind }) => !idle.has(kind));
    mattering.set(rule, known);
  }
  return known;
}

const limitedWhy = 'it depends on a rate, a count, the clock or chance';

/** One way through all chains of a hook: where something cannot be decided it follows `prefix`, then takes the first option. */
class Run {
  readonly #filter: PacketFilter;
  readonly #sets: SetFinder;
  readonly #context: WalkContext;
  readonly #prefix: readonly number[];
  readonly #choices: Choice[] = [];
  readonly #taken: number[] = [];
  readonly #steps: FilterStep[] = [];
  #packet: FilterPacket;
  #blurred: ReadonlySet<Blur> = new Set();
  #sourceRewritten = false;
  #translated = false;
  #tproxy: { readonly action: FilterAction & { kind: 'tproxy' }; readonly rule: RulePlace } | undefined;
  #rules = 0;
  #lastSight: Sight | undefined;

  constructor(filter: PacketFilter, sets: SetFinder, packet: FilterPacket, context: WalkContext, prefix: readonly number[]) {
    this.#filter = filter;
    this.#sets = sets;
    this.#packet = packet;
    this.#context = context;
    this.#prefix = prefix;
  }

  walk(orders: readonly (readonly HookEntry[])[]): RunResult {
    const order = orders.length > 1 ? this.#choose({ options: orders.length, why: orderWhy(orders[0]) }) : 0;
    const verdict = this.#walkEntries(orders[order] ?? []);
    const [packet, blurred] = [this.#packet, this.#blurred];
    return { verdict, packet, blurred, steps: this.#steps, choices: this.#choices, taken: this.#taken };
  }

  #walkEntries(entries: readonly HookEntry[]): FilterVerdict {
    for (const { chains } of entries) {
      if (chains[0]?.base?.type === 'nat' && this.#skipsTranslation()) continue;
      for (const chain of chains) {
        const ending = this.#walkChain(chain, chain, 0);
        if (ending === 'end') {
          const { backend, family, table, name } = chain;
          if (chain.base?.policy === 'drop') return { kind: 'drop', policyOf: { backend, family, table, chain: name } };
        } else if (ending !== 'accept') return ending;
        // The first that translates is the last that is asked.
        if (this.#translated && chain.base?.type === 'nat') break;
      }
    }
    if (!this.#tproxy) return { kind: 'accept' };
    const { action, rule } = this.#tproxy;
    const { address, port } = action;
    return { kind: 'tproxy', ...(address ? { address } : {}), ...(port === undefined ? {} : { port }), rule };
  }

  /** Connections that are known, and what connection tracking does not know, are not asked about (nf_nat_inet_fn). */
  #skipsTranslation(): boolean {
    const { state, inputDevice } = this.#packet;
    if (state !== 'new' && state !== 'related') return true;
    // Sent by this machine to itself: it was translated when it was sent.
    return inputDevice === 'lo' && (this.#context.hook === 'prerouting' || this.#context.hook === 'input');
  }

  #choose(choice: Choice): number {
    const index = this.#choices.length;
    this.#choices.push(choice);
    const taken = Math.min(this.#prefix[index] ?? 0, choice.options - 1);
    this.#taken.push(taken);
    return taken;
  }

  #step(rule: FilterRule, outcome: FilterStep['outcome'], action?: FilterAction['kind'], why?: string, limited?: boolean): void {
    if (this.#steps.length >= maxSteps) return;
    this.#steps.push({
      rule: placeOf(rule),
      outcome,
      ...(action === undefined ? {} : { action }),
      ...(why === undefined ? {} : { why }),
      ...(limited ? { limited } : {}),
    });
  }

  /** The same object until something it shows changes. */
  #sight(base: FilterChain): Sight {
    const last = this.#lastSight;
    if (
      last &&
      last.chain === base &&
      last.packet === this.#packet &&
      last.blurred === this.#blurred &&
      last.sourceRewritten === this.#sourceRewritten
    )
      return last;
    const { hook } = this.#context;
    const tracks = hook === 'prerouting' || hook === 'output';
    const early = tracks && (base.base?.priority ?? 0) < trackingPriority && this.#packet.inputDevice !== 'lo';
    this.#lastSight = {
      packet: this.#packet,
      blurred: this.#blurred,
      context: this.#context,
      chain: base,
      untrackedYet: early || hook === 'ingress',
      sourceRewritten: this.#sourceRewritten,
      known: new Map(),
    };
    return this.#lastSight;
  }

  #walkChain(chain: FilterChain, base: FilterChain, depth: number): Ending {
    if (depth > maxDepth) return { kind: 'unknown', why: `chains lead to each other more than ${maxDepth} deep` };
    for (const rule of chain.rules) {
      this.#rules += 1;
      if (this.#rules > maxRules) return { kind: 'unknown', rule: placeOf(rule), why: 'too many rules to follow' };
      const ending = this.#walkRule(rule, chain, base, depth);
      if (ending === 'return') return 'end';
      if (ending !== undefined) return ending;
    }
    return 'end';
  }

  /** Undefined: on to the next rule. */
  #walkRule(rule: FilterRule, chain: FilterChain, base: FilterChain, depth: number): Ending | 'return' | undefined {
    // What changes nothing needs no decision.
    if (!matters(rule)) return undefined;
    for (const statement of rule.statements) {
      const { kind } = statement;
      if (kind === 'compare' || kind === 'bits' || kind === 'set' || kind === 'any' || kind === 'undecided') {
        const { truth, why } = matchHolds(this.#sight(base), statement, rule, this.#sets);
        if (truth === false) return undefined;
        if (truth === undefined) {
          const limited = kind === 'undecided' && statement.limited;
          const reason = limited ? `${limitedWhy}: ${why}` : (why ?? 'not known');
          this.#step(rule, 'undecided', undefined, reason, limited);
          if (this.#choose({ options: 2, rule: placeOf(rule), why: reason }) === 0) return undefined;
        }
        continue;
      }
      const ending = this.#act(statement, rule, chain, base, depth);
      if (ending === 'next') return undefined;
      if (ending !== undefined) return ending;
    }
    return undefined;
  }

  /** Undefined: on to the next statement; `next`: to the next rule. */
  #act(
    action: FilterAction,
    rule: FilterRule,
    chain: FilterChain,
    base: FilterChain,
    depth: number,
  ): Ending | 'return' | 'next' | undefined {
    switch (action.kind) {
      case 'counter':
      case 'log':
      case 'nothing':
      case 'continue':
        return undefined;
      case 'accept':
        this.#step(rule, 'matched', action.kind);
        return 'accept';
      case 'drop':
        this.#step(rule, 'matched', action.kind);
        return { kind: 'drop', rule: placeOf(rule) };
      case 'return':
        this.#step(rule, 'matched', action.kind);
        return 'return';
      case 'jump':
      case 'goto':
        return this.#jump(action, rule, chain, base, depth);
      case 'reject':
        if (action.answer === 'tcp-reset' && this.#packet.protocol !== 'tcp') return 'next';
        if (action.family !== undefined && action.family !== this.#packet.family) return 'next';
        this.#step(rule, 'matched', action.kind);
        return { kind: 'reject', answer: action.answer, rule: placeOf(rule) };
      case 'queue':
        return this.#queue(action, rule);
      case 'vmap':
        return this.#verdictMap(action, rule, chain, base, depth);
      case 'notrack':
        if (this.#sight(base).untrackedYet) this.#packet = { ...this.#packet, state: 'untracked' };
        this.#step(rule, 'rewrote', action.kind);
        return undefined;
      case 'write':
        return this.#write(action, rule, base);
      case 'tproxy':
        return this.#transparentProxy(action, rule);
      case 'unknown':
        this.#step(rule, 'undecided', action.kind, action.text);
        return { kind: 'unknown', rule: placeOf(rule), why: `what it does is not known: ${action.text}` };
      case 'dnat':
      case 'snat':
      case 'masquerade':
      case 'redirect':
        return this.#translate(action, rule, base);
    }
  }

  #jump(
    action: FilterAction & { kind: 'jump' | 'goto' },
    rule: FilterRule,
    chain: FilterChain,
    base: FilterChain,
    depth: number,
  ): Ending | 'return' | 'next' {
    this.#step(rule, 'matched', action.kind);
    const target = findChain(this.#filter, chain, action.chain);
    if (!target) return { kind: 'unknown', rule: placeOf(rule), why: `the chain ${action.chain} is not known` };
    const ending = this.#walkChain(target, base, depth + 1);
    if (ending !== 'end') return ending;
    return action.kind === 'goto' ? 'return' : 'next';
  }

  #queue(action: FilterAction & { kind: 'queue' }, rule: FilterRule): Ending {
    this.#step(rule, 'matched', action.kind);
    const { first, last, bypass } = action;
    const consumers: (boolean | undefined)[] = [];
    for (let queue = first; queue <= last && queue < first + 64; queue += 1)
      consumers.push(this.#context.hasQueueConsumer?.(queue));
    const nobody = last - first < 64 && consumers.every((there) => there === false);
    // Without a reader `bypass` goes on with the next hook, everything else is dropped (net/netfilter/nf_queue.c).
    if (nobody) return bypass ? 'accept' : { kind: 'drop', rule: placeOf(rule) };
    return { kind: 'queue', first, last, bypass, rule: placeOf(rule) };
  }

  #verdictMap(
    action: FilterAction & { kind: 'vmap' },
    rule: FilterRule,
    chain: FilterChain,
    base: FilterChain,
    depth: number,
  ): Ending | 'return' | 'next' | undefined {
    const sight = this.#sight(base);
    const values = valuesOf(sight, action.key, rule, this.#sets);
    if (values.some(({ kind }) => kind === 'absent')) return 'next';
    let element: FilterElement | undefined;
    const found = elementOf(action.map, values, rule, this.#sets);
    if (found === 'undecided') {
      const elements = typeof action.map === 'string' ? (this.#sets.find(rule, action.map)?.elements ?? []) : action.map;
      const distinct = distinctVerdicts(elements);
      const why = whyUnknown(values) ?? 'a map that is not known whole';
      this.#step(rule, 'undecided', action.kind, why);
      const choice = this.#choose({ options: distinct.length + 1, rule: placeOf(rule), why });
      element = choice === 0 ? undefined : distinct[choice - 1];
    } else element = found;
    if (element?.verdict === undefined) return undefined;
    return this.#act(element.verdict, rule, chain, base, depth) ?? 'next';
  }

  #write(action: FilterAction & { kind: 'write' }, rule: FilterRule, base: FilterChain): 'next' | undefined {
    const written = writeField(this.#sight(base), action, rule, this.#sets);
    if (!written) return 'next';
    this.#packet = written.packet;
    this.#blurred = written.blurred;
    this.#step(rule, 'rewrote', action.kind);
    return undefined;
  }

  #transparentProxy(action: FilterAction & { kind: 'tproxy' }, rule: FilterRule): Ending | 'next' | undefined {
    const packet = this.#packet;
    if (packet.protocol === 'icmp' || (action.family !== undefined && action.family !== packet.family)) return 'next';
    this.#tproxy = { action, rule: placeOf(rule) };
    this.#step(rule, 'rewrote', action.kind);
    if (!action.accepts) return undefined;
    const { value, mask } = action.mark ?? { value: 0, mask: 0 };
    this.#packet = { ...packet, mark: ((packet.mark & ~mask) ^ value) >>> 0 };
    return 'accept';
  }

  #translate(
    action: FilterAction & { kind: 'dnat' | 'snat' | 'masquerade' | 'redirect' },
    rule: FilterRule,
    base: FilterChain,
  ): Ending | 'next' | undefined {
    // Of the other family it is no action at all; the statements behind it still count.
    if (action.family !== undefined && action.family !== this.#packet.family) return undefined;
    const rewritten = translate(this.#sight(base), action, rule, this.#sets);
    if (!rewritten) return 'next';
    const isSource = this.#context.hook === 'postrouting' || this.#context.hook === 'input';
    if (isSource && (rewritten.packet.source !== this.#packet.source || rewritten.blurred.has('source')))
      this.#sourceRewritten = true;
    this.#packet = rewritten.packet;
    this.#blurred = rewritten.blurred;
    this.#translated = true;
    this.#step(rule, 'rewrote', action.kind);
    return 'accept';
  }
}

function distinctVerdicts(elements: readonly FilterElement[]): FilterElement[] {
  const seen = new Map<string, FilterElement>();
  for (const element of elements) {
    const { verdict } = element;
    if (verdict) seen.set(`${verdict.kind} ${'chain' in verdict ? verdict.chain : ''}`, element);
    if (seen.size >= 32) break;
  }
  return [...seen.values()];
}

const orderWhy = (entries: readonly HookEntry[] = []): string => {
  const names = entries.flatMap(({ chains }) =>
    chains.map(({ backend, family, table, name }) => `${backend} ${family} ${table} ${name}`),
  );
  return `chains of one priority see it in the order they were registered in, the last first, and that is not known: ${names.slice(0, 6).join(', ')}`;
};

/** Verdicts that mean the same to the packet: the rule that said it is another matter. */
function outcomeOf(verdict: FilterVerdict): string {
  if (verdict.kind === 'reject') return `reject ${verdict.answer}`;
  if (verdict.kind === 'queue') return `queue ${verdict.first} ${verdict.last} ${verdict.bypass}`;
  if (verdict.kind === 'tproxy') return `tproxy ${verdict.address?.value ?? ''} ${verdict.port ?? ''}`;
  return verdict.kind;
}

/**
 * One hook, all its chains. The packet is as it enters the hook: what a hook before it did is the caller's to carry over
 * (`packet` of the walk before). Never throws for what rules may hold.
 */
export function walkFilter(filter: PacketFilter, packet: FilterPacket, context: WalkContext): FilterWalk {
  const sets = new SetFinder(filter);
  const orders = planOrders(filter, packet, context);
  const runs: RunResult[] = [];
  let prefix: readonly number[] | undefined = [];
  while (prefix !== undefined && runs.length < maxRuns) {
    const run: RunResult = new Run(filter, sets, packet, context, prefix).walk(orders);
    runs.push(run);
    prefix = nextPrefix(run);
  }
  const [first] = runs;
  const blurred = new Set<string>(first.blurred);
  for (const run of runs) noteDifferences(first, run, blurred);
  const possible = [...new Map(runs.map(({ verdict }) => [outcomeOf(verdict), verdict])).values()];
  const rest = { packet: first.packet, blurred: [...blurred].sort(), steps: first.steps };
  if (prefix !== undefined) {
    const [choice] = first.choices;
    const why = `more than ${maxRuns} ways through the rules: ${choice.why}`;
    return { verdict: { kind: 'unknown', ...(choice.rule ? { rule: choice.rule } : {}), why }, possible, ...rest };
  }
  if (possible.length === 1) return { verdict: first.verdict, possible, ...rest };
  const { rule, why } = decisive(first, runs);
  return { verdict: { kind: 'unknown', ...(rule ? { rule } : {}), why }, possible, ...rest };
}

/** Counts up in the choices met, the last first; undefined when all were taken. */
function nextPrefix({ choices, taken }: RunResult): readonly number[] | undefined {
  for (let index = choices.length - 1; index >= 0; index -= 1)
    if (taken[index] + 1 < choices[index].options) return [...taken.slice(0, index), taken[index] + 1];
  return undefined;
}

/** The choice that alone, or with the fewest others, changes the outcome. */
function decisive(first: RunResult, runs: readonly RunResult[]): Choice {
  const differing = runs.filter(({ verdict }) => outcomeOf(verdict) !== outcomeOf(first.verdict));
  const weight = ({ taken }: RunResult): number => taken.filter((option) => option > 0).length;
  const simplest = differing.reduce((best, run) => (weight(run) < weight(best) ? run : best));
  const index = simplest.taken.findIndex((option) => option > 0);
  return simplest.choices[Math.max(0, index)] ?? { options: 1, why: 'not known' };
}

function noteDifferences(first: RunResult, run: RunResult, blurred: Set<string>): void {
  for (const name of run.blurred) blurred.add(name);
  const [a, b] = [first.packet, run.packet];
  if (a === b) return;
  if (a.destination.value !== b.destination.value) blurred.add('destination');
  if (a.destinationPort !== b.destinationPort) blurred.add('destinationPort');
  if (a.source.value !== b.source.value) blurred.add('source');
  if (a.mark !== b.mark) blurred.add('mark');
  if (a.connectionMark !== b.connectionMark) blurred.add('connectionMark');
  if (a.state !== b.state) blurred.add('state');
}
