// How a decoy looks: which ports are open, what a closed one does, vendor, banners. Data only; the files are in
// rules/personas/, read by config/. What a persona does with bytes is honeypot/; how the kernel shows it is plan/.

import { hasPort, type PortSet } from './port-set.ts';
import type { Transport } from './session.ts';
import type { TcpStack } from './tcp-stack.ts';

/** What a port outside `open` does: `closed` sends a RST (TCP) or port unreachable (UDP), `filtered` stays silent. */
export type ClosedBehaviour = 'closed' | 'filtered';

export interface PersonaPorts {
  readonly open: PortSet;
  readonly otherwise: ClosedBehaviour;
}

export interface Persona {
  readonly name: string;
  readonly description: string;
  /** Vendor prefixes such as `00:0c:29`; 1 to 16 of them. */
  readonly macPrefixes: readonly string[];
  readonly tcp: PersonaPorts;
  readonly udp: PersonaPorts;
  readonly answersEcho: boolean;
  /** Initial TTL the operating system would use. */
  readonly ttl: number;
  /** How its TCP/IP shows itself; absent: as Linux does, with this TTL. */
  readonly stack?: TcpStack;
  /** Which protocol speaks on a port, where it is not the usual one: `{8022: 'ssh'}`. */
  readonly services: Readonly<Record<number, string>>;
  /** First bytes or version text by protocol name: `{ssh: 'SSH-2.0-OpenSSH_9.2p1 Debian-2', http: 'nginx/1.22.1'}`. */
  readonly banners: Readonly<Record<string, string>>;
  /** Host name pattern; `{n}` is replaced by a number computed from the address. */
  readonly hostname: string;
  readonly operatingSystem: string;
}

/** The persona's answer for a port: open, or how it is shut. */
export function portState(persona: Persona, transport: Transport, port: number): 'open' | ClosedBehaviour {
  const ports = transport === 'tcp' ? persona.tcp : persona.udp;
  return hasPort(ports.open, port) ? 'open' : ports.otherwise;
}
