// The one signature every TCP responder has, and what it may do with a connection: send, tell what it learned, end.
// A responder opens no socket, reads no file and runs nothing; sessions, timers and bounds are tcp-session.ts.

import type { NameBook } from '../model/name-book.ts';
import type { Persona } from '../model/persona.ts';
import type { Endpoint, SessionFindings } from '../model/session.ts';

/** A responder's view of one connection. Calls never throw; after `end` they do nothing. */
export interface Conversation {
  readonly persona: Persona;
  /** The decoy's host name, from the persona's pattern and the address. */
  readonly host: string;
  /** Of the decoys of the network it arrived in. */
  readonly names: NameBook | undefined;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** True inside TLS. */
  readonly encrypted: boolean;
  /** Text is sent as UTF-8. Bytes are kept by reference: do not write into them afterwards. */
  send(bytes: Uint8Array | string): void;
  find(findings: SessionFindings): void;
  /** Closes from the decoy's side once what was sent is out. */
  end(): void;
  /** What the client sends next is a TLS ClientHello; the dialogue goes on inside. */
  startTls(): void;
  /** Forgets this dialogue; what follows is detected anew as if the client had dialled `port` (a proxy's inner connection). */
  redetect(port: number): void;
}

/** The state of one connection in one protocol. */
export interface Dialogue {
  /** Sent when the client waits, or before its first bytes are read: banners of server-first protocols. */
  greet?(talk: Conversation): void;
  /**
   * `bytes` is everything not consumed yet, never empty. Gives how many bytes were used: 0 asks for more, and the
   * same bytes come again with the next ones behind them. Called again at once while it consumes and bytes remain.
   * Must not write into `bytes`; anything may be in it. A throw is counted as a defect and ends the dialogue.
   */
  receive(bytes: Buffer, talk: Conversation): number;
  /** The TLS handshake asked for by `startTls` is done. */
  secured?(talk: Conversation): void;
}

export interface Responder {
  /** As detect.ts names it and as it is recorded in `protocol`. */
  readonly protocol: string;
  /** True when the server speaks first: silent clients on such a port get the greeting after a wait. */
  readonly serverFirst?: boolean;
  /** True when any bytes on this protocol's own port are worth giving to it, even if detection knows nothing. */
  readonly takesAnything?: boolean;
  open(talk: Conversation): Dialogue;
}
