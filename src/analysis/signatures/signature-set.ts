// All rules together: says which of them a session matches. The literals of all rules are found in one pass over each reading of the
// payload; only rules one of whose literals is there are tried. How rules are written is docs/signatures.md.

import { maxMistakes } from '../../config/issues.ts';
import type { Mistake } from '../../config/mistake.ts';
import type { SignatureHit } from '../../model/insight.ts';
import type { SessionView } from '../session-view.ts';
import { CacheLedger, Meter } from './lazy-matcher.ts';
import { LiteralIndex } from './literal-index.ts';
import type { PackedRules } from './packed-rules.ts';
import { planRules } from './plan-rules.ts';
import { RuleBudget } from './rule-compiler.ts';
import { captureAll, ruleHolds } from './rule-evaluation.ts';
import { bindRule, type Condition, type RulePlan, type SignatureRule } from './rule-plan.ts';
import { SessionTexts, signLiterals } from './session-texts.ts';

/** A rule file as read; `file` is how mistakes name it. */
export interface RuleFile {
  readonly file: string;
  readonly text: string;
}

export interface SignatureCounts {
  /** Sessions looked at, and those that had something to look at. */
  readonly sessions: number;
  readonly payloads: number;
  /** Payload sessions of which something was left out: the step limit, or the limits of readings. */
  readonly curtailed: number;
}

export const maxRules = 2000;
/** Of the automata of all rules, which are made while they match. */
const maxCacheBytes = 64 * 1024 * 1024;
/** Hits of one session; rules come in the order of severity. */
const maxHits = 16;
/** Automaton steps for one session: some 6 ms at worst; one payload in a hundred takes 17,000, none of those we know 60,000. */
export const maxSteps = 1_600_000;

const nothing: readonly SignatureHit[] = Object.freeze([]);
const severities = ['high', 'medium', 'low', 'info'];

type ViewedSession = Pick<SessionView['session'], 'transport' | 'destination' | 'protocol' | 'userName' | 'password' | 'tls'>;

export class SignatureSet {
  /** In the order in which they are tried: the gravest first. */
  readonly rules: readonly SignatureRule[];
  readonly #input: Side;
  readonly #output: Side;
  #sessions = 0;
  #payloads = 0;
  #curtailed = 0;

  readonly #ledger: CacheLedger;

  private constructor(rules: readonly SignatureRule[], ledger: CacheLedger) {
    this.rules = rules;
    this.#ledger = ledger;
    this.#input = new Side(rules.filter((rule) => rule.direction === 'in'));
    this.#output = new Side(rules.filter((rule) => rule.direction === 'out'));
  }

  /** Every rule that is right; mistakes of the others, with file and line. What is packed need not be read again. Pure. */
  static load(
    files: readonly RuleFile[],
    packed?: PackedRules,
  ): { readonly set: SignatureSet; readonly mistakes: readonly Mistake[] } {
    const mistakes: Mistake[] = [];
    const rules = new Map<string, SignatureRule>();
    const budget = new RuleBudget();
    const ledger = new CacheLedger(maxCacheBytes);
    for (const { file, text } of files) {
      const plans = packed?.(text);
      const planned = plans === undefined ? planRules(file, text) : { plans, mistakes: [] };
      mistakes.push(...planned.mistakes, ...addRules(planned.plans, file, rules, budget, ledger));
    }
    const sorted = [...rules.values()].sort((a, b) => severities.indexOf(a.hit.severity) - severities.indexOf(b.hit.severity));
    return { set: new SignatureSet(sorted, ledger), mistakes };
  }

  get size(): number {
    return this.rules.length;
  }

  /** Those a rule names: what a session to any other port matches does not depend on its port. */
  get ports(): ReadonlySet<number> {
    return new Set(this.rules.flatMap(({ ports }) => [...(ports ?? [])]));
  }

  /** Automaton states of the literals of all rules. */
  get literalStates(): number {
    return this.#input.literalStates + this.#output.literalStates;
  }

  counts(): SignatureCounts {
    return { sessions: this.#sessions, payloads: this.#payloads, curtailed: this.#curtailed };
  }

  /** Rules the session matches, gravest first, at most 16. Never throws for what a session may hold; see `maxSteps` for its cost. */
  match(view: Pick<SessionView, 'input' | 'output'> & { readonly session: ViewedSession }): readonly SignatureHit[] {
    const { session, input, output } = view;
    this.#sessions += 1;
    if (input.length === 0 && session.userName === undefined && session.tls === undefined && this.#output.idle) return nothing;
    this.#payloads += 1;
    const meter = new Meter(maxSteps);
    const hits: SignatureHit[] = [];
    const curtailed = this.#input.match(session, input, meter, hits);
    if (!this.#output.idle && output.length > 0) this.#output.match(session, output, meter, hits);
    if (curtailed || meter.curtailed) this.#curtailed += 1;
    this.#ledger.settle();
    return hits.length === 0 ? nothing : hits;
  }
}

/** The rules about one direction. */
class Side {
  readonly #rules: readonly SignatureRule[];
  readonly #index: LiteralIndex;
  /** Rules without a literal: tried for every session of their ports or protocols. */
  readonly #byPort = new Map<number, number[]>();
  readonly #byProtocol = new Map<string, number[]>();
  readonly #chosen: Int32Array;
  /** True when a rule asks for a client's fingerprint: else nobody looks at those. */
  readonly #namesClients: boolean;
  #turn = 0;
  #signs = 0;
  #candidates: number[] = [];
  readonly #scan: (bytes: Buffer) => number;

  constructor(rules: readonly SignatureRule[]) {
    this.#rules = rules;
    this.#chosen = new Int32Array(rules.length);
    this.#namesClients = rules.some((rule) => usesPart(rule.condition, ['client-ja3', 'client-ja4']));
    const owners = new Map<string, number[]>();
    const own = (literal: string, owner: number): void => {
      const known = owners.get(literal);
      if (known === undefined) owners.set(literal, [owner]);
      else known.push(owner);
    };
    rules.forEach((rule, index) => {
      for (const literal of rule.literals ?? []) own(literal, index);
      if (rule.literals !== undefined) return;
      if (rule.ports !== undefined) for (const port of rule.ports) put(this.#byPort, port, index);
      else for (const protocol of rule.protocols ?? []) put(this.#byProtocol, protocol, index);
    });
    if (rules.length > 0) for (const [literal, sign] of signLiterals) own(literal, -sign);
    this.#index = new LiteralIndex(owners);
    const report = (owner: number): void => {
      if (owner < 0) this.#signs |= -owner;
      else this.#choose(owner);
    };
    this.#scan = (bytes) => {
      this.#signs = 0;
      this.#index.scan(bytes, report);
      return this.#signs;
    };
  }

  get idle(): boolean {
    return this.#rules.length === 0;
  }

  get literalStates(): number {
    return this.#index.stateCount;
  }

  /** Adds hits; true when readings were left out. */
  match(session: ViewedSession, payload: Uint8Array, meter: Meter, hits: SignatureHit[]): boolean {
    this.#turn += 1;
    this.#candidates = [];
    const texts = new SessionTexts(this.#scan);
    texts.addPayload(payload);
    if (session.userName !== undefined) texts.addFinding('user', session.userName);
    if (session.password !== undefined) texts.addFinding('password', session.password);
    if (session.tls?.serverName !== undefined) texts.addFinding('server-name', session.tls.serverName);
    if (session.tls !== undefined && this.#namesClients) {
      texts.addFinding('client-ja3', session.tls.ja3);
      texts.addFinding('client-ja4', session.tls.ja4);
    }
    texts.decode();
    for (const index of this.#byPort.get(session.destination.port) ?? []) this.#choose(index);
    if (session.protocol !== undefined) for (const index of this.#byProtocol.get(session.protocol) ?? []) this.#choose(index);
    const candidates = this.#candidates.length > 1 ? this.#candidates.sort((a, b) => a - b) : this.#candidates;
    for (const index of candidates) {
      if (hits.length >= maxHits) break;
      if (meter.left <= 0) {
        meter.curtailed = true;
        break;
      }
      const rule = this.#rules[index];
      if (!concerns(rule, session) || !ruleHolds(rule, texts.all, meter)) continue;
      hits.push({ ...rule.hit, captures: captureAll(rule.captures, texts.all, meter) });
    }
    return texts.curtailed;
  }

  #choose(index: number): void {
    if (this.#chosen[index] === this.#turn) return;
    this.#chosen[index] = this.#turn;
    this.#candidates.push(index);
  }
}

function usesPart(condition: Condition, parts: readonly string[]): boolean {
  if (condition.kind === 'pattern') return condition.part !== undefined && parts.includes(condition.part);
  return condition.kind === 'not' ? usesPart(condition.item, parts) : condition.items.some((item) => usesPart(item, parts));
}

function put<Key>(map: Map<Key, number[]>, key: Key, index: number): void {
  const known = map.get(key);
  if (known === undefined) map.set(key, [index]);
  else known.push(index);
}

/** A session whose protocol nobody named (an imported one) may be of any. */
function concerns(rule: SignatureRule, session: ViewedSession): boolean {
  if (rule.transport !== undefined && rule.transport !== session.transport) return false;
  if (rule.ports !== undefined && !rule.ports.has(session.destination.port)) return false;
  return rule.protocols === undefined || session.protocol === undefined || rule.protocols.has(session.protocol);
}

/** Adds a file's rules to `rules`; what is wrong with those there is no place for. */
function addRules(
  plans: readonly RulePlan[],
  file: string,
  rules: Map<string, SignatureRule>,
  budget: RuleBudget,
  ledger: CacheLedger,
): Mistake[] {
  const mistakes: Mistake[] = [];
  for (const plan of plans) {
    const wrong = (mistake: string, next: string): void => {
      if (mistakes.length < maxMistakes) mistakes.push({ file, line: plan.line, mistake, next });
    };
    const other = rules.get(plan.id);
    if (other !== undefined)
      wrong(`there is a rule \`${plan.id}\` already, at ${other.file}:${other.line}`, 'give it another id');
    else if (rules.size >= maxRules) wrong(`there are more than ${maxRules} rules`, 'leave some out');
    else {
      const lacking = budget.take(plan);
      if (lacking === undefined) rules.set(plan.id, bindRule(plan, file, ledger));
      else wrong(lacking, 'leave some rules out');
    }
  }
  return mistakes;
}
