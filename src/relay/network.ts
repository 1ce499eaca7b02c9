// The networks a gateway serves: who lives in each, on which interfaces, and which addresses are on its own link. Two
// networks may hold the same addresses, so nothing below is looked up by an address alone. Data only.

import type { AddressRange } from '../model/address.ts';
import type { DecoyDirectory } from '../model/decoy.ts';
import { NameBook } from '../model/name-book.ts';

/** Which diversions use which interface: `{eth0: ['dmz']}`. An interface without an entry serves all. */
export type InterfaceDiversions = Readonly<Record<string, readonly string[]>>;

export interface IntakeNetwork {
  /** Empty: this machine's own namespace; otherwise as in NamedSocket.network. */
  readonly name: string;
  readonly directory: DecoyDirectory;
  readonly interfaces: InterfaceDiversions;
  /** The subnets whose hosts are on the link itself, not behind a router. */
  readonly subnets: readonly AddressRange[];
  /** Decoys that services answer with all they have, their name too: we tell none. */
  readonly nameless?: readonly AddressRange[];
  /** Whose machine the decoys are on, where its packets are carried here: frames come from that machine, not from attackers. */
  readonly agent?: string;
}

/** A machine without segments: its own network alone. */
export const homeNetwork = (directory: DecoyDirectory, interfaces: InterfaceDiversions = {}): IntakeNetwork[] => [
  { name: '', directory, interfaces, subnets: [] },
];

/** The network a socket without one belongs to. */
export const networkOf = (socket: { readonly network?: string }): string => socket.network ?? '';

export const nameBookOf = ({ directory, subnets, nameless }: IntakeNetwork): NameBook =>
  new NameBook(directory, subnets, nameless);
