// Whom a question means that went to a whole link: the decoy whose name or address it asks for, if that decoy's persona
// answers on the port at all. Pure; hostile bytes give nobody.

import type { Address, Family } from './address.ts';
import { dnsTypes, parseDnsQuery } from './dns-message.ts';
import { netbiosLength } from './host-name.ts';
import { llmnrPort, mdnsPort, type NameBook, type NamedDecoy, netbiosPort, parseReverseName } from './name-book.ts';
import { parseNetbiosQuestion } from './netbios-message.ts';
import { type Persona, portState } from './persona.ts';

/** `family`: of the question's own packet, which is that of the answer. */
export function askedDecoy(names: NameBook, family: Family, port: number, payload: Uint8Array): NamedDecoy | undefined {
  const accepts = (persona: Persona): boolean => portState(persona, 'udp', port) === 'open';
  if (port === netbiosPort) {
    const question = parseNetbiosQuestion(payload);
    if (question?.kind !== 'name' || question.name === '*') return undefined;
    return names.find(question.name, { family, accepts, length: netbiosLength });
  }
  if (port !== mdnsPort && port !== llmnrPort) return undefined;
  for (const { labels, type } of parseDnsQuery(payload)?.questions ?? []) {
    const found =
      type === dnsTypes.ptr ? owner(names, parseReverseName(labels)) : names.find(hostLabel(labels, port), { family, accepts });
    if (found && found.address.family === family && accepts(found.decoy.persona)) return found;
  }
  return undefined;
}

function owner(names: NameBook, address: Address | undefined): NamedDecoy | undefined {
  const named = address && names.nameOf(address);
  return named && { address, decoy: named.decoy };
}

/** The one label of an LLMNR name, the first of `name.local`; empty for anything else. */
function hostLabel(labels: readonly string[], port: number): string {
  if (port === llmnrPort) return labels.length === 1 ? labels[0] : '';
  return labels.length === 2 && labels[1].toLowerCase() === 'local' ? labels[0] : '';
}
