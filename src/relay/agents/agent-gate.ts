// Who may speak on a link: what the link's server asks of whoever keeps identities. Types only; agent-registry.ts is the
// one that keeps them on disk, with the gateway's own certification authority.

import type { TLSSocket, TlsOptions } from 'node:tls';

/** Somebody whose handshake is through: an agent with its own certificate, or somebody with a token who may only enrol. */
export type LinkPeer = { readonly agent: string; readonly certificateUntil: string } | { readonly enrolment: string };

export interface AgentGate {
  /** For tls.createServer: TLS 1.3 alone, client certificates asked for and required. New ones after `onChange`. */
  tlsOptions(): TlsOptions;
  /** Called once a handshake is through, before a byte is read; undefined: the connection is reset (revoked, replaced, unknown). */
  admit(socket: TLSSocket): LinkPeer | undefined;
  /**
   * Uses the token up and signs the agent's key (a PKCS #10 request, PEM). Throws WeirError `bad-request` for a request that
   * is not one, `not-permitted` for a token used, expired or withdrawn.
   */
  enrol(enrolment: string, request: string): Promise<{ readonly agent: string; readonly certificate: string }>;
  /** A new certificate for the same agent. The old one holds until the new one was seen. */
  renew(agent: string, request: string): Promise<string>;
  /** Tokens and certificates have changed; `gone` are agents whose links must end now. */
  onChange(listener: (gone: readonly string[]) => void): void;
  /** Names of all agents, also those that wait or are revoked. */
  agents(): readonly AgentEntry[];
}

export interface AgentEntry {
  readonly name: string;
  readonly state: 'waiting' | 'enrolled' | 'revoked';
  /** ISO 8601. */
  readonly since: string;
  readonly certificateUntil?: string;
  /** Why it cannot come, or what is odd about it, with the next step. */
  readonly reason?: string;
}
