// Which of a namespace's listening sockets takes a packet: what the kernel does in __inet_lookup_listener. Pure.

import type { Address } from '../../model/address.ts';
import type { MachineListener, MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { sameAddress } from './wire.ts';

const isAny = ({ value }: Address): boolean => value === 0n;

/** IPv4 arrives at sockets of `::` too, unless they are for IPv6 alone. */
function takes({ address, v6only, device, transparent }: MachineListener, packet: FilterPacket, wanted: Address): boolean {
  if (device !== undefined && device !== packet.inputDevice) return false;
  if (transparent && isAny(address)) return true;
  if (address.family === wanted.family) return isAny(address) || sameAddress(address, wanted);
  return address.family === 6 && wanted.family === 4 && isAny(address) && !v6only;
}

/** The more exactly bound one wins. */
const exactness = ({ address, device }: MachineListener): number => (isAny(address) ? 0 : 2) + (device === undefined ? 0 : 1);

export const findListener = (
  namespace: MachineNamespace,
  packet: FilterPacket,
  address: Address,
  port: number,
): MachineListener | undefined =>
  namespace.listeners
    .filter((listener) => listener.transport === packet.protocol && listener.port === port && takes(listener, packet, address))
    .sort((a, b) => exactness(b) - exactness(a))[0];
