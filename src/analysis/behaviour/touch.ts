// One touch as detectors see it: a session that began, or packets to one port of one decoy. Reused from event to event.

import type { Micros } from '../../base/clock.ts';
import { parseIpv4Number } from '../../model/address.ts';
import { mix32 } from './number-set.ts';

export interface Touch {
  at: Micros;
  /** As hostNumber. */
  host: number;
  hostName: string;
  /** As portKeyOf. */
  port: number;
  hits: number;
  /** As touchFlags. */
  flags: number;
  /** Identifier of the record. */
  record: string;
  diversion: string;
  /** Its place in the source's list of touches; -1 while it is part of a scan. */
  index: number;
}

export const emptyTouch = (): Touch => ({
  at: 0,
  host: 0,
  hostName: '',
  port: 0,
  hits: 0,
  flags: 0,
  record: '',
  diversion: '',
  index: -1,
});

/** Of IPv4 the address; of IPv6 32 bits of a digest. A source touches decoys of its own family only. */
export function hostNumber(ip: string): number {
  const four = parseIpv4Number(ip);
  if (four >= 0) return four;
  return textNumber(ip);
}

/** 32 bits of a digest of a text. */
export function textNumber(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return mix32(hash);
}

/** UDP services whose answers go astray when somebody asks in another's name: DNS, NTP, SNMP, LDAP, QUIC and the other reflectors. */
const answeringPorts = new Set([17, 19, 53, 69, 111, 123, 137, 161, 389, 443, 1900, 3283, 3478, 3702, 5353, 11_211]);

/** Whether a datagram looks like the answer of a service to a client's port: nobody here asked, so its source was asked in our name. */
export const isAnswer = (sourcePort: number, port: number): boolean =>
  port >= 1024 && answeringPorts.has(sourcePort) && !answeringPorts.has(port);

/** traceroute(8) sends each datagram to another port from 33434 on, three for each hop: together they are one port. */
const firstTraced = 33_434;
const tracedPorts = 100;

export const untracedPort = (port: number): number =>
  port >= firstTraced && port < firstTraced + tracedPorts ? firstTraced : port;

/** One port of one decoy, below 2^50. */
export const targetNumber = ({ host, port }: Touch): number => host * 0x40000 + port;
