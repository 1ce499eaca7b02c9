// The socket or TLS stream a session speaks over, and how its events reach the session: shared functions, not a closure per
// connection, because there are tens of thousands of them.

import type { TLSSocket } from 'node:tls';
import type { VisitStream } from './visit.ts';

export interface StreamOwner {
  received(bytes: Buffer): void;
  clientEnded(): void;
  failed(error: NodeJS.ErrnoException): void;
  closed(): void;
  drained(): void;
  secured(stream: TLSSocket): void;
}

const ownerKey = Symbol('owner');
export type Carrier = (VisitStream | TLSSocket) & { [ownerKey]?: StreamOwner };

function onData(this: Carrier, bytes: Buffer): void {
  this[ownerKey]?.received(bytes);
}
function onEnd(this: Carrier): void {
  this[ownerKey]?.clientEnded();
}
function onError(this: Carrier, error: NodeJS.ErrnoException): void {
  this[ownerKey]?.failed(error);
}
function onClose(this: Carrier): void {
  this[ownerKey]?.closed();
}
function onDrain(this: Carrier): void {
  this[ownerKey]?.drained();
}
function onSecure(this: TLSSocket & Carrier): void {
  this[ownerKey]?.secured(this);
}

/** All events but `drain` from now on, and `secure` of a TLS stream. */
export function attach(stream: Carrier, owner: StreamOwner, tls = false): void {
  stream[ownerKey] = owner;
  if (tls) stream.on('secure', onSecure as () => void);
  stream.on('data', onData);
  stream.on('end', onEnd);
  stream.on('error', onError);
  stream.on('close', onClose);
}

/** What comes from now on is read by somebody else; errors and the end of it still reach the owner. */
export function stopReading(stream: Carrier): void {
  stream.removeListener('data', onData);
  stream.removeListener('end', onEnd);
  stream.pause();
}

export const tellWhenDrained = (stream: Carrier): void => void stream.once('drain', onDrain);
