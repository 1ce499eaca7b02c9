// Who an agent is, at the agent: its key, its certificate and the pinned CA of its gateway, in one file of its own. Makes requests,
// takes certificates; asking and answering is the link. Needs nothing but Node: any system, any user.

import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import type { Micros } from '../../base/clock.ts';
import { ensureDirectory, readWhole, writeDurably } from '../../base/durable-file.ts';
import { WeirError } from '../../base/errors.ts';
import { deriveEnrolment, type EnrolmentToken, gatewayNameOf } from './enrolment-token.ts';
import { renderKey, renderPem, renderRequest } from './render-certificate.ts';

/** What a link needs, PEM; the same shape as LinkCredentials. */
export interface AgentCredentials {
  readonly key: string;
  readonly certificate: string;
  /** SHA-256 of the DER of the gateway's CA certificate, hex. */
  readonly caFingerprint: string;
}

/** A key that waits for its certificate. On disk before it is asked for: an answer that got lost is asked for again. */
interface Pending {
  readonly key: string;
  readonly authority: string;
  /** Of the token; absent: a renewal. */
  readonly token?: string;
}

interface StoredIdentity {
  readonly version: 1;
  readonly key?: string;
  readonly certificate?: string;
  readonly authority?: string;
  /** Of the token it enrolled with: the same one given again means nothing new. */
  readonly token?: string;
  readonly pending?: Pending;
}

/** What is left of a certificate when a new one is asked for: a third of 90 days. */
const renewBeforeMicros = 30 * 86_400e6;

const agentName = (certificate: X509Certificate): string | undefined => /^CN=([a-z0-9-]{1,32})$/.exec(certificate.subject)?.[1];

function isStored(value: unknown): value is StoredIdentity {
  if (typeof value !== 'object' || value === null) return false;
  const { version, key, certificate, authority, token, pending } = value as Record<string, unknown>;
  const texts = [key, certificate, authority, token];
  if (pending !== undefined) {
    if (typeof pending !== 'object' || pending === null) return false;
    const { key: waiting, authority: of, token: by } = pending as Record<string, unknown>;
    if (typeof waiting !== 'string' || typeof of !== 'string' || (by !== undefined && typeof by !== 'string')) return false;
  }
  const complete = [key, certificate, authority].every((one) => one === undefined) || texts.slice(0, 3).every(Boolean);
  return version === 1 && complete && texts.every((one) => one === undefined || typeof one === 'string');
}

/** Opens with `AgentIdentity.open`; one process at a time. */
export class AgentIdentity {
  readonly #path: string;
  #stored: StoredIdentity;
  #certificate: X509Certificate | undefined;

  private constructor(path: string, stored: StoredIdentity) {
    this.#path = path;
    this.#stored = stored;
    this.#certificate = stored.certificate === undefined ? undefined : new X509Certificate(stored.certificate);
  }

  /** Below `directory` (made when absent, mode 0700): `identity.json`, mode 0600. Throws `identity-damaged`. */
  static async open(directory: string): Promise<AgentIdentity> {
    await ensureDirectory(directory);
    const path = join(directory, 'identity.json');
    const text = await readWhole(path);
    if (text === undefined) return new AgentIdentity(path, { version: 1 });
    try {
      const stored: unknown = JSON.parse(text);
      if (isStored(stored)) return new AgentIdentity(path, stored);
    } catch {
      // Said below: the parser's message may quote the key.
    }
    throw new WeirError('identity-damaged', `${path} is not an identity`, {
      path,
      next: 'remove it, run `weir agents add NAME` on the gateway, and give this agent the new token',
    });
  }

  get enrolled(): boolean {
    return this.#certificate !== undefined;
  }

  /** The name the gateway gave it. */
  get agent(): string | undefined {
    return this.#certificate && agentName(this.#certificate);
  }

  get certificateUntil(): Micros | undefined {
    return this.#certificate && Date.parse(this.#certificate.validTo) * 1000;
  }

  /** The name to check the gateway's certificate for, whatever address leads there. Throws `unauthorized` before enrolment. */
  get serverName(): string {
    return gatewayNameOf(this.credentials().caFingerprint);
  }

  /** For every link. Throws `unauthorized` before enrolment. */
  credentials(): AgentCredentials {
    const { key, certificate, authority } = this.#stored;
    if (key === undefined || certificate === undefined || authority === undefined)
      throw new WeirError('unauthorized', 'this agent has not enrolled', {
        next: 'run `weir agents add NAME` on the gateway, and give the token it prints with --token',
      });
    return { key, certificate, caFingerprint: authority };
  }

  /** True when this token would give a new identity: never enrolled, or with another token. */
  wants(token: EnrolmentToken): boolean {
    return !this.enrolled || this.#stored.token !== deriveEnrolment(token).id;
  }

  /**
   * What to connect with and what to ask for. The same key each time for the same token, which the gateway counts as one use,
   * so an enrolment that broke off is simply begun again.
   */
  async beginEnrolment(
    token: EnrolmentToken,
  ): Promise<{ readonly credentials: AgentCredentials; readonly serverName: string; readonly request: string }> {
    const { id, key, certificate } = deriveEnrolment(token);
    const waiting = this.#stored.pending;
    const request = await this.#request(
      waiting?.token === id ? waiting : { key: renderKey(newKey()), authority: token.authority, token: id },
    );
    return {
      credentials: {
        key: renderKey(key),
        certificate: renderPem('CERTIFICATE', certificate),
        caFingerprint: token.authority,
      },
      serverName: gatewayNameOf(token.authority),
      request,
    };
  }

  /** True when a new certificate is due. By the gateway's clock (`welcome`), never by our own. */
  renewalDue(gatewayNow: Micros): boolean {
    const until = this.certificateUntil;
    return until !== undefined && until - gatewayNow < renewBeforeMicros;
  }

  /** The request, PEM, for a new key; the same until its certificate is here. Throws `unauthorized` before enrolment. */
  async beginRenewal(): Promise<string> {
    const { caFingerprint: authority } = this.credentials();
    const waiting = this.#stored.pending;
    const renewal = waiting && waiting.token === undefined && waiting.authority === authority;
    return this.#request(renewal ? waiting : { key: renderKey(newKey()), authority });
  }

  /** The gateway's answer to either; the next link uses it. Throws `bad-request` for a certificate that is not for our request. */
  async accept(certificate: string): Promise<void> {
    const { pending } = this.#stored;
    if (!pending) throw new WeirError('bad-request', 'the gateway sent a certificate nobody asked for');
    let parsed: X509Certificate;
    try {
      parsed = new X509Certificate(certificate);
    } catch {
      throw new WeirError('bad-request', 'what the gateway sent is not a certificate');
    }
    const name = agentName(parsed);
    if (!parsed.checkPrivateKey(createPrivateKey(pending.key)))
      throw new WeirError('bad-request', 'the certificate the gateway sent is for another key');
    if (name === undefined || (pending.token === undefined && name !== this.agent))
      throw new WeirError('bad-request', 'the certificate the gateway sent is for another agent');
    const token = pending.token ?? this.#stored.token;
    await this.#write({
      version: 1,
      key: pending.key,
      certificate: renderPem('CERTIFICATE', parsed.raw),
      authority: pending.authority,
      ...(token === undefined ? {} : { token }),
    });
    this.#certificate = parsed;
  }

  async #request(pending: Pending): Promise<string> {
    if (this.#stored.pending !== pending) await this.#write({ ...this.#stored, pending });
    return renderRequest(createPrivateKey(pending.key));
  }

  async #write(stored: StoredIdentity): Promise<void> {
    await writeDurably(this.#path, `${JSON.stringify(stored)}\n`);
    this.#stored = stored;
  }
}

const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
