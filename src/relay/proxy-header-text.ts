// What a PROXY header's TLVs say, as text that may be shown and recorded: printable, bounded. Pure.

import { type ProxyHeader, tlvType } from '../model/proxy-protocol.ts';

/** The unique id of the hop before: as it is where it is printable ASCII without spaces, else its bytes as hex; at most 128 characters. */
export function uniqueIdOf(header: ProxyHeader): string | undefined {
  const value = tlvOf(header, tlvType.uniqueId);
  if (value === undefined || value.length === 0) return undefined;
  const text = asciiOf(value);
  return (text ?? Buffer.from(value).toString('hex')).slice(0, 128);
}

/** The service that an inner hop is asked for; undefined: none, or none that could be a name. */
export function serviceOf(header: ProxyHeader): string | undefined {
  const value = tlvOf(header, tlvType.service);
  return value === undefined || value.length === 0 || value.length > 128 ? undefined : asciiOf(value);
}

const tlvOf = ({ tlvs }: ProxyHeader, type: number): Uint8Array | undefined => tlvs.find((tlv) => tlv.type === type)?.value;

function asciiOf(value: Uint8Array): string | undefined {
  for (const byte of value) if (byte <= 0x20 || byte >= 0x7f) return undefined;
  return Buffer.from(value).toString('latin1');
}
