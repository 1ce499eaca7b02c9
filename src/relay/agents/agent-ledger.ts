// Which agents there are, which certificates are theirs, which tokens are good: the rules of it, in memory. Pure but for its own
// state; the disk, the certificates themselves and TLS are agent-registry.ts. The gateway's clock decides, passed in.

import { type Micros, parseMicros, renderMicros } from '../../base/clock.ts';
import { WeirError } from '../../base/errors.ts';
import type { AgentEntry } from './agent-gate.ts';

export interface LedgerCertificate {
  /** SHA-256 of its DER, hex. */
  readonly fingerprint: string;
  /** ISO 8601, as all times here. */
  readonly until: string;
}

export interface LedgerAgent {
  readonly name: string;
  /** Of its state. */
  since: string;
  revoked?: boolean;
  /** The one that was seen last. */
  current?: LedgerCertificate;
  /** Issued and not seen yet: by renewal, by enrolment. The one before holds until then. */
  renewed?: LedgerCertificate;
  enrolled?: LedgerCertificate;
  lastSeen?: string;
  /** When somebody with a second key came with a token of this agent's that was used before. */
  contested?: string;
}

export interface LedgerToken {
  readonly id: string;
  readonly agent: string;
  /** Base64 of the DER. */
  readonly certificate: string;
  readonly fingerprint: string;
  readonly made: string;
  readonly expires: string;
  /** Of the key it was used for (keyFingerprint): the same key may come again until its certificate was seen. */
  key?: string;
}

export interface LedgerState {
  readonly version: 1;
  readonly agents: readonly LedgerAgent[];
  readonly tokens: readonly LedgerToken[];
}

/** More tokens at once make the list of names in every handshake longer than it may be. */
export const maxTokens = 1_000;
export const maxAgents = 10_000;
/** As in the configuration, where diversions name their agents. */
const namePattern = /^[a-z0-9-]{1,32}$/;
/** A clock that is behind by less is not worth a word. */
const clockToleranceMicros = 3600e6;

export const isAgentName = (name: string): boolean => namePattern.test(name);

/** Whom a certificate stands for. */
export type Holder = { readonly agent: LedgerAgent; readonly until: string } | { readonly token: LedgerToken };

export class AgentLedger {
  readonly #agents = new Map<string, LedgerAgent>();
  readonly #tokens = new Map<string, LedgerToken>();
  /** By fingerprint. */
  readonly #holders = new Map<string, Holder>();

  constructor(state?: LedgerState) {
    for (const agent of state?.agents ?? []) this.#agents.set(agent.name, { ...agent });
    for (const token of state?.tokens ?? []) this.#tokens.set(token.id, { ...token });
    this.#index();
  }

  get state(): LedgerState {
    return { version: 1, agents: [...this.#agents.values()], tokens: [...this.#tokens.values()] };
  }

  get tokens(): readonly LedgerToken[] {
    return [...this.#tokens.values()];
  }

  get empty(): boolean {
    return this.#agents.size === 0;
  }

  /** Whose certificate it is; undefined: nobody's, or not any more. */
  holderOf(fingerprint: string, now: Micros): Holder | undefined {
    const holder = this.#holders.get(fingerprint);
    return holder && 'token' in holder && parseMicros(holder.token.expires) <= now ? undefined : holder;
  }

  /**
   * One for each of different agents, in place of their former ones; all or none. Throws `bad-request` for a name that is none,
   * or when there are too many. What it returns undoes it, and leaves alone what happened since.
   */
  add(tokens: readonly LedgerToken[], now: Micros): () => void {
    const wrong = tokens.find(({ agent }) => !isAgentName(agent));
    if (wrong)
      throw new WeirError('bad-request', `'${wrong.agent.slice(0, 40)}' is not a name of an agent`, {
        next: 'use 1 to 32 of the characters a-z, 0-9 and -, as weir.yaml does',
      });
    const names = new Set(tokens.map(({ agent }) => agent));
    const former = this.tokens.filter(({ agent }) => names.has(agent));
    const fresh = [...names].filter((name) => !this.#agents.has(name)).length;
    if (this.#agents.size + fresh > maxAgents)
      throw new WeirError('bad-request', `one gateway knows ${maxAgents} agents, and would have to know more`, {
        next: 'forget those that are revoked: weir agents remove NAME',
      });
    if (this.#tokens.size - former.length + tokens.length > maxTokens)
      throw new WeirError('bad-request', `${maxTokens} tokens may wait to be used at once, and these would be more`, {
        next: 'use those that wait, or withdraw some: weir agents remove NAME',
      });
    const before = tokens.map((token) => ({ token, agent: this.#copyOf(token.agent) }));
    for (const { id } of former) this.#tokens.delete(id);
    for (const token of tokens) {
      this.#tokens.set(token.id, token);
      const known = this.#agents.get(token.agent);
      if (!known) this.#agents.set(token.agent, { name: token.agent, since: renderMicros(now) });
      else {
        if (known.revoked) known.since = renderMicros(now);
        delete known.revoked;
        delete known.contested;
      }
    }
    this.#index();
    return () => {
      for (const { token, agent } of before) {
        // Withdrawn or replaced since: the later change holds.
        if (!this.#tokens.delete(token.id)) continue;
        for (const one of former) if (one.agent === token.agent) this.#tokens.set(one.id, one);
        const known = this.#agents.get(token.agent);
        if (!agent) this.#agents.delete(token.agent);
        else if (known) {
          const { since, revoked, contested } = agent;
          known.since = since;
          if (revoked) known.revoked = revoked;
          if (contested !== undefined) known.contested = contested;
        }
      }
      this.#index();
    };
  }

  #copyOf(name: string): LedgerAgent | undefined {
    const agent = this.#agents.get(name);
    return agent && { ...agent };
  }

  /**
   * Revokes an agent that has enrolled, forgets one that has not or was revoked before; its tokens are withdrawn. Throws
   * `not-found`.
   */
  remove(name: string, now: Micros): 'revoked' | 'withdrawn' | 'forgotten' {
    const agent = this.#agents.get(name);
    if (!agent) throw new WeirError('not-found', `there is no agent '${name.slice(0, 40)}'`, { next: 'weir agents lists them' });
    for (const token of this.tokens) if (token.agent === name) this.#tokens.delete(token.id);
    let what: 'revoked' | 'withdrawn' | 'forgotten';
    if (agent.revoked || !(agent.current ?? agent.enrolled)) {
      this.#agents.delete(name);
      what = agent.revoked ? 'forgotten' : 'withdrawn';
    } else {
      this.#agents.set(name, {
        name,
        since: renderMicros(now),
        revoked: true,
        ...(agent.lastSeen === undefined ? {} : { lastSeen: agent.lastSeen }),
      });
      what = 'revoked';
    }
    this.#index();
    return what;
  }

  /** Gives the token to this key. Throws `not-permitted` for one that is not good, or was another key's. */
  use(tokenId: string, key: string, now: Micros): LedgerToken {
    const token = this.#tokens.get(tokenId);
    if (!token || parseMicros(token.expires) <= now)
      throw new WeirError('not-permitted', token ? 'the token has expired' : 'the token was used or withdrawn');
    if (token.key !== undefined && token.key !== key) {
      const agent = this.#agents.get(token.agent);
      if (agent) agent.contested = renderMicros(now);
      throw new WeirError('not-permitted', 'the token was used by another agent', { agent: token.agent });
    }
    token.key = key;
    return token;
  }

  issued(name: string, certificate: LedgerCertificate, by: 'enrolment' | 'renewal', now: Micros): void {
    const agent = this.#agents.get(name);
    if (!agent || agent.revoked || (by === 'renewal' && !agent.current))
      throw new WeirError('not-permitted', 'the agent was revoked');
    if (by === 'renewal') agent.renewed = certificate;
    else {
      if (!agent.current && !agent.enrolled) agent.since = renderMicros(now);
      agent.enrolled = certificate;
    }
    this.#index();
  }

  /** An agent came with this certificate: what it replaces does not hold any more. True when that changed anything. */
  seen(fingerprint: string, now: Micros): { readonly replaced: boolean; readonly tokenGone: boolean } {
    const holder = this.#holders.get(fingerprint);
    if (!holder || !('agent' in holder)) return { replaced: false, tokenGone: false };
    const { agent } = holder;
    agent.lastSeen = renderMicros(now);
    if (agent.current?.fingerprint === fingerprint) return { replaced: false, tokenGone: false };
    let tokenGone = false;
    if (agent.renewed?.fingerprint === fingerprint) agent.current = agent.renewed;
    else {
      agent.current = agent.enrolled;
      delete agent.enrolled;
      for (const { id, agent: of, key } of this.tokens)
        if (of === agent.name && key !== undefined) tokenGone = this.#tokens.delete(id);
    }
    // A renewal by whoever held the certificate before an enrolment ends with it.
    delete agent.renewed;
    this.#index();
    return { replaced: true, tokenGone };
  }

  /** Tokens that were good; true when there were any. */
  dropExpired(now: Micros): boolean {
    const expired = this.tokens.filter(({ expires }) => parseMicros(expires) <= now);
    for (const { id } of expired) this.#tokens.delete(id);
    if (expired.length > 0) this.#index();
    return expired.length > 0;
  }

  /** The next time a token expires. */
  get nextExpiry(): Micros | undefined {
    return this.tokens.reduce<Micros | undefined>((least, { expires }) => {
      const at = parseMicros(expires);
      return least === undefined || at < least ? at : least;
    }, undefined);
  }

  entries(now: Micros): AgentEntry[] {
    return [...this.#agents.values()].map((agent) => {
      const certificate = agent.current ?? agent.enrolled;
      const reason = this.#reason(agent, now);
      return {
        name: agent.name,
        state: agent.revoked ? 'revoked' : certificate ? 'enrolled' : 'waiting',
        since: agent.since,
        ...(certificate ? { certificateUntil: certificate.until } : {}),
        ...(reason === undefined ? {} : { reason }),
      };
    });
  }

  /** What is wrong with all of them at once: the clock, mostly. A sentence each, with the next step. */
  reasons(now: Micros): string[] {
    const reasons: string[] = [];
    const agents = [...this.#agents.values()].filter((agent) => !agent.revoked && (agent.current ?? agent.enrolled));
    const known = [...this.#agents.values(), ...this.tokens].flatMap((one) =>
      'made' in one ? [one.made] : [one.since, ...(one.lastSeen === undefined ? [] : [one.lastSeen])],
    );
    const latest = known.reduce((most, at) => Math.max(most, parseMicros(at)), 0);
    if (latest - now > clockToleranceMicros)
      reasons.push(
        `this machine's clock says ${day(now)}, but something happened with an agent on ${day(latest)} already: set the clock right`,
      );
    const ended = agents.filter((agent) => hasEnded(agent, now));
    if (ended.length > 1 && ended.length === agents.length)
      reasons.push(
        `the certificates of all ${ended.length} agents have ended by this machine's clock (${day(now)}), so none can come: ` +
          'is the clock right? If it is, `weir agents add NAME` for each',
      );
    return reasons;
  }

  #reason(agent: LedgerAgent, now: Micros): string | undefined {
    if (agent.revoked) return undefined;
    if (agent.contested !== undefined)
      return `somebody with another key came with its token on ${day(parseMicros(agent.contested))}: was the token stolen? If so, \`weir agents remove ${agent.name}\` and add it again`;
    if (hasEnded(agent, now))
      return `its certificate has ended by this machine's clock (${day(now)}): if the clock is right, \`weir agents add ${agent.name}\` and give it the new token`;
    const token = this.tokens.some(({ agent: of }) => of === agent.name);
    if (!agent.current && !agent.enrolled && !token)
      return `it never came, and its token has expired: \`weir agents add ${agent.name}\` makes a new one`;
    return undefined;
  }

  #index(): void {
    this.#holders.clear();
    for (const token of this.#tokens.values()) this.#holders.set(token.fingerprint, { token });
    for (const agent of this.#agents.values()) {
      for (const certificate of [agent.current, agent.renewed, agent.enrolled])
        if (certificate) this.#holders.set(certificate.fingerprint, { agent, until: certificate.until });
    }
  }
}

const day = (at: Micros): string => renderMicros(at).slice(0, 16).replace('T', ' ').concat(' UTC');

/** Every certificate it could come with. */
function hasEnded({ current, renewed, enrolled }: LedgerAgent, now: Micros): boolean {
  const all = [current, renewed, enrolled].filter((one) => one !== undefined);
  return all.length > 0 && all.every(({ until }) => parseMicros(until) <= now);
}

const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= 4096;
const isTime = (value: unknown): boolean => isText(value) && !Number.isNaN(parseMicros(value));
const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const optional = (value: unknown, holds: (value: unknown) => boolean): boolean => value === undefined || holds(value);
const isCertificate = (value: unknown): boolean => isRecord(value) && isText(value.fingerprint) && isTime(value.until);

/** A ledger as it was written; undefined for anything else. */
export function parseLedger(text: string): LedgerState | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value) || value.version !== 1 || !Array.isArray(value.agents) || !Array.isArray(value.tokens)) return undefined;
  const agents = value.agents.every(
    (one) =>
      isRecord(one) &&
      isText(one.name) &&
      isAgentName(one.name) &&
      isTime(one.since) &&
      optional(one.revoked, (flag) => flag === true) &&
      [one.current, one.renewed, one.enrolled].every((certificate) => optional(certificate, isCertificate)) &&
      [one.lastSeen, one.contested].every((at) => optional(at, isTime)),
  );
  const tokens = value.tokens.every(
    (one) =>
      isRecord(one) &&
      [one.id, one.agent, one.certificate, one.fingerprint].every(isText) &&
      isTime(one.made) &&
      isTime(one.expires) &&
      optional(one.key, isText),
  );
  return agents && tokens ? (value as unknown as LedgerState) : undefined;
}
