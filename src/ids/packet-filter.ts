// Which captured packets of a service's wire are about bound decoys: the others (our own dialling, the service's own traffic)
// are shown by other ways, or to nobody. Pure.

import { be16, layOut } from '../kernel/packet-header.ts';
import { type Address, type AddressRange, addressFromBytes } from '../model/address.ts';
import { RangeIndex } from '../model/range-index.ts';

export class DecoyPackets {
  readonly #index: RangeIndex<true>;

  /** Ranges that do not overlap. */
  constructor(ranges: readonly AddressRange[]) {
    this.#index = new RangeIndex(ranges.map((range) => ({ range, value: true })));
  }

  /** A frame of IP from or to one of the decoys. */
  holds(frame: Uint8Array): boolean {
    const type = frame.length < 34 ? 0 : be16(frame, 12);
    if (type !== 0x0800 && type !== 0x86dd) return false;
    const layout = layOut(frame, 14);
    if (!layout) return false;
    const [at, length] = layout.version === 4 ? [26, 4] : [22, 16];
    if (frame.length < at + 2 * length) return false;
    const is = (address: Address): boolean => this.#index.at(address) !== undefined;
    return (
      is(addressFromBytes(frame.subarray(at, at + length))) || is(addressFromBytes(frame.subarray(at + length, at + 2 * length)))
    );
  }
}
