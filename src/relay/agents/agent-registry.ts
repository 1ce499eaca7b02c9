// The gateway's agents on disk: its certification authority, which certificates are in, which tokens are good. Answers the link's
// server (AgentGate) and the command line. What is not on its list is out, whoever signed it: revocation is immediate.

import { constants, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import type { TLSSocket, TlsOptions } from 'node:tls';
import { type Clock, type Micros, parseMicros, renderMicros } from '../../base/clock.ts';
import { ensureDirectory, readWhole, writeDurably } from '../../base/durable-file.ts';
import { asWeirError, WeirError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { AgentEntry, AgentGate, LinkPeer } from './agent-gate.ts';
import { AgentLedger, parseLedger } from './agent-ledger.ts';
import { type CertificationAuthority, type KeyedCertificate, makeAuthority, openAuthority } from './certification-authority.ts';
import { deriveEnrolment, makeToken, renderToken } from './enrolment-token.ts';
import { readRequest } from './read-request.ts';
import { keyFingerprint, renderPem, sha256Hex } from './render-certificate.ts';

export interface AgentRegistryOptions {
  /** Ours alone: mode 0700, of the account that runs the gateway. Made when absent. */
  readonly directory: string;
  /** Host names and addresses for the gateway's certificate; everybody who connects is shown them. */
  readonly names: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

export interface AddedAgent {
  readonly name: string;
  /** One line; in nobody's hands but the caller's, and kept nowhere. */
  readonly token: string;
  /** ISO 8601. */
  readonly expires: string;
  /** It has a certificate, which holds until the one of this token was seen. */
  readonly again: boolean;
}

const hourMs = 3_600_000;
export const defaultTokenMs = 24 * hourMs;
const minTokenMs = 60_000;
const maxTokenMs = 30 * 24 * hourMs;
/** Between two certificates for the same agent. */
const renewalPauseMicros = 10e6;
/** Tokens whose list costs next to nothing to make. */
const shortList = 20;
const authorityWarningMicros = 180 * 86_400e6;

/** Throws `identity-damaged`, `disk-full`, `not-permitted` or `system-call`. Close it. */
export async function openAgentRegistry(options: AgentRegistryOptions): Promise<AgentRegistry> {
  const { directory, clock, log } = options;
  await ensureDirectory(directory);
  const path = join(directory, 'registry.json');
  const text = await readWhole(path);
  const state = text === undefined ? undefined : parseLedger(text);
  if (text !== undefined && !state)
    throw new WeirError('identity-damaged', `${path} is not a list of agents`, {
      path,
      next: 'restore it from a backup; or move it away, and every agent must be added and enrol again',
    });
  const ledger = new AgentLedger(state);
  const now = clock();
  let authority = await openAuthority(directory, now);
  if (authority.until <= now && ledger.empty) {
    log.warn('the authority of the agents had ended before it had an agent: made anew', { until: renderMicros(authority.until) });
    authority = await makeAuthority(directory, now);
  }
  const server = await authority.server(options.names, now);
  return new AgentRegistry(options, ledger, authority, server);
}

export class AgentRegistry implements AgentGate {
  readonly #options: AgentRegistryOptions;
  readonly #path: string;
  readonly #ledger: AgentLedger;
  readonly #authority: CertificationAuthority;
  #server: KeyedCertificate;
  #names: readonly string[];
  readonly #listeners: ((gone: readonly string[]) => void)[] = [];
  readonly #renewals = new Map<string, Micros>();
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  #closed = false;
  /** The write under way, and the one after it, which everybody who changed something meanwhile shares. */
  #writing: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  /** Why what is in memory is not on disk. */
  #unwritten: string | undefined;
  #touched = false;

  /** Use openAgentRegistry. */
  constructor(options: AgentRegistryOptions, ledger: AgentLedger, authority: CertificationAuthority, server: KeyedCertificate) {
    this.#options = options;
    this.#path = join(options.directory, 'registry.json');
    this.#names = options.names;
    this.#ledger = ledger;
    this.#authority = authority;
    this.#server = server;
    this.#schedule();
  }

  /** SHA-256 of the authority's certificate, hex. */
  get authority(): string {
    return this.#authority.fingerprint;
  }

  tlsOptions(): TlsOptions {
    const now = this.#options.clock();
    const tokens = this.#ledger.tokens
      .filter(({ expires }) => parseMicros(expires) > now)
      .map(({ certificate }) => renderPem('CERTIFICATE', Buffer.from(certificate, 'base64')));
    return {
      key: this.#server.key,
      cert: this.#server.certificate + this.#authority.certificate,
      ca: [this.#authority.certificate, ...tokens],
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      // Of both sides: an agent's key is of one of these kinds or its handshake fails.
      sigalgs: 'ecdsa_secp256r1_sha256:ed25519',
      // A resumed session would carry the verdict of an earlier handshake past a revocation.
      secureOptions: constants.SSL_OP_NO_TICKET,
    };
  }

  admit(socket: TLSSocket): LinkPeer | undefined {
    if (!socket.authorized || socket.isSessionReused() || socket.getProtocol() !== 'TLSv1.3') return undefined;
    const certificate = socket.getPeerX509Certificate();
    if (!certificate) return undefined;
    const now = this.#options.clock();
    const fingerprint = sha256Hex(certificate.raw);
    const holder = this.#ledger.holderOf(fingerprint, now);
    if (!holder) return undefined;
    if ('token' in holder) return { enrolment: holder.token.id };
    const { replaced, tokenGone } = this.#ledger.seen(fingerprint, now);
    this.#touched = true;
    // In the background: after a crash the agent comes with the same certificate, and the same happens again.
    if (replaced) this.#saveLater();
    if (tokenGone) this.#changedSoon();
    return { agent: holder.agent.name, certificateUntil: holder.until };
  }

  async enrol(enrolment: string, request: string): Promise<{ agent: string; certificate: string }> {
    const key = await readRequest(request);
    const { clock, log } = this.#options;
    const now = clock();
    const fingerprint = keyFingerprint(key);
    let agent: string;
    try {
      const token = this.#ledger.use(enrolment, fingerprint, now);
      agent = token.agent;
      if (new X509Certificate(Buffer.from(token.certificate, 'base64')).publicKey.equals(key))
        throw new WeirError('bad-request', "an agent needs a key of its own, not the token's");
    } catch (error) {
      const { code, message, details } = asWeirError(error);
      log.warn('an enrolment was refused', { token: enrolment, code, why: message, ...details });
      // A token in two hands is still told after a restart.
      if (code === 'not-permitted') await this.#save().catch(() => {});
      throw error;
    }
    const issued = this.#authority.issue(agent, key, now);
    this.#ledger.issued(agent, { fingerprint: issued.fingerprint, until: issued.until }, 'enrolment', now);
    await this.#save();
    log.info('an agent enrolled', { agent, certificate: issued.fingerprint, until: issued.until });
    return { agent, certificate: issued.certificate };
  }

  async renew(agent: string, request: string): Promise<string> {
    const key = await readRequest(request);
    const now = this.#options.clock();
    const last = this.#renewals.get(agent);
    if (last !== undefined && now - last < renewalPauseMicros)
      throw new WeirError('bad-request', `a new certificate every ${renewalPauseMicros / 1e6} s is enough`);
    const issued = this.#authority.issue(agent, key, now);
    this.#ledger.issued(agent, { fingerprint: issued.fingerprint, until: issued.until }, 'renewal', now);
    this.#renewals.set(agent, now);
    await this.#save();
    this.#options.log.info('an agent has a new certificate', { agent, certificate: issued.fingerprint, until: issued.until });
    return issued.certificate;
  }

  onChange(listener: (gone: readonly string[]) => void): void {
    this.#listeners.push(listener);
  }

  agents(): readonly AgentEntry[] {
    return this.#ledger.entries(this.#options.clock());
  }

  /** What is wrong with the identities as a whole, a sentence each, with the next step; for the status. */
  reasons(): readonly string[] {
    const now = this.#options.clock();
    const reasons = this.#ledger.reasons(now);
    if (this.#unwritten !== undefined)
      reasons.push(`the list of agents is not on disk as it is in memory (${this.#unwritten}): free space, or restore access`);
    const { until } = this.#authority;
    if (!this.#ledger.empty && until - now < authorityWarningMicros)
      reasons.push(
        `the authority that signed the agents' certificates ${until <= now ? 'ended' : 'ends'} on ${renderMicros(until).slice(0, 10)} by this ` +
          "machine's clock: if the clock is right, move agents/authority.pem away, restart, and add each agent again",
      );
    return reasons;
  }

  /** As addAll, for one. */
  async add(name: string, expiresInMs?: number): Promise<AddedAgent> {
    const [added] = await this.addAll([name], expiresInMs);
    return added;
  }

  /**
   * A token for each of these agents, known already or not; their former tokens are withdrawn. Good for `expiresInMs`, a minute
   * to 30 days. All or none: throws `bad-request`, or why they cannot be kept (`disk-full`, ..).
   */
  async addAll(names: readonly string[], expiresInMs = defaultTokenMs): Promise<AddedAgent[]> {
    if (!(expiresInMs >= minTokenMs && expiresInMs <= maxTokenMs))
      throw new WeirError('bad-request', 'a token is good for one minute to 30 days', { next: 'such as --expires 24h' });
    const now = this.#options.clock();
    const expires = renderMicros(now + expiresInMs * 1000);
    const made = renderMicros(now);
    const known = new Map(this.#ledger.state.agents.map((agent) => [agent.name, agent]));
    const added = [...new Set(names)].map((name) => {
      const token = makeToken(this.#authority.fingerprint);
      const { id, certificate } = deriveEnrolment(token);
      const again = (known.get(name)?.current ?? known.get(name)?.enrolled) !== undefined;
      const fingerprint = sha256Hex(certificate);
      return {
        stored: { id, agent: name, certificate: certificate.toString('base64'), fingerprint, made, expires },
        answer: { name, token: renderToken(token), expires, again },
      };
    });
    const undo = this.#ledger.add(
      added.map(({ stored }) => stored),
      now,
    );
    try {
      await this.#save();
    } catch (error) {
      undo();
      // A write of somebody else's may have taken them along.
      this.#touched = true;
      throw error;
    }
    this.#schedule();
    this.#changed([]);
    for (const { stored } of added)
      this.#options.log.info('a token was made', { agent: stored.agent, token: stored.id, expires });
    return added.map(({ answer }) => answer);
  }

  /**
   * Revokes an agent: its links end at once and its certificates open nothing any more. One that never came, or is revoked
   * already, is forgotten. Throws `not-found`; or why it could not be written, though it holds until a restart.
   */
  async remove(name: string): Promise<'revoked' | 'withdrawn' | 'forgotten'> {
    const what = this.#ledger.remove(name, this.#options.clock());
    this.#renewals.delete(name);
    this.#changed([name]);
    this.#options.log.info('an agent was removed', { agent: name, what });
    await this.#save();
    return what;
  }

  /** Other names for the gateway's certificate; nothing happens when they are the same. */
  async setNames(names: readonly string[]): Promise<void> {
    this.#names = names;
    await this.refresh();
  }

  /** Drops tokens that have expired, renews the gateway's certificate. By itself when it is time; idempotent. */
  async refresh(): Promise<void> {
    const now = this.#options.clock();
    const expired = this.#ledger.dropExpired(now);
    const server = await this.#authority.server(this.#names, now);
    const renewed = server.certificate !== this.#server.certificate;
    this.#server = server;
    if (expired || renewed) this.#changed([]);
    if (expired || this.#touched || this.#unwritten !== undefined) await this.#save();
  }

  /** What is not on disk yet is written. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#soon);
    if (this.#touched) await this.#save();
    await (this.#next ?? this.#writing)?.catch(() => {});
  }

  #changed(gone: readonly string[]): void {
    for (const listener of this.#listeners) listener(gone);
  }

  /**
   * A token that was used opens nothing whether the handshakes' list still has it or not. A long list takes a tenth of a second
   * to make, so a fleet that enrols has it made once a second, not once for each.
   */
  #changedSoon(): void {
    if (this.#ledger.tokens.length <= shortList) this.#changed([]);
    else
      this.#soon ??= setTimeout(() => {
        this.#soon = undefined;
        this.#changed([]);
      }, 1000).unref();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    const next = this.#ledger.nextExpiry;
    const untilMs = next === undefined ? hourMs : (next - this.#options.clock()) / 1000 + 1;
    this.#timer = setTimeout(
      () => {
        this.refresh()
          .catch((error) => this.#options.log.error('identities could not be refreshed', { error: asWeirError(error).message }))
          .finally(() => this.#schedule());
      },
      Math.min(hourMs, Math.max(1000, untilMs)),
    );
    this.#timer.unref();
  }

  #saveLater(): void {
    this.#save().catch(() => {});
  }

  /** Resolves when everything up to now is durable. */
  #save(): Promise<void> {
    if (!this.#writing) {
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
      });
      return this.#writing;
    }
    this.#next ??= this.#writing
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#save();
      });
    return this.#next;
  }

  async #write(): Promise<void> {
    this.#touched = false;
    try {
      await writeDurably(this.#path, `${JSON.stringify(this.#ledger.state)}\n`);
      this.#unwritten = undefined;
    } catch (error) {
      const { message } = asWeirError(error);
      this.#unwritten = message;
      this.#options.log.error('the list of agents cannot be written', { error: message });
      throw error;
    }
  }
}
