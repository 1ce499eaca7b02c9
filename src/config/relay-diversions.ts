// Diversions of kind `agent` and `proxy`: their keys together and against each other. Values one by one are relay-forms.ts;
// whether somebody listens on a port already is plan/guard.ts.

import { type AddressRange, renderAddress, renderRange } from '../model/address.ts';
import { noPorts, type PortSet, renderPorts, subtractPorts } from '../model/port-set.ts';
import type { AgentDiversion, ProxyDiversion } from '../model/relayed-service.ts';
import type { Vocabulary } from './decoy-groups.ts';
import type { Mistakes } from './issues.ts';
import { addUnknownPersona } from './personas.ts';
import type { AddressWithPort } from './relay-forms.ts';
import { agentDiversion, proxyDiversion } from './relay-schema.ts';

type Path = readonly PropertyKey[];

interface FlowContext {
  readonly vocabulary: Vocabulary;
  readonly mistakes: Mistakes;
  readonly file: string;
  readonly agent?: string;
}

/** An address at which this machine listens for others, and the line that says so. */
export interface Door extends AddressWithPort {
  readonly what: string;
  readonly at: Path;
}

export const renderListen = ({ address, port }: AddressWithPort): string =>
  address.family === 6 ? `[${renderAddress(address)}]:${port}` : `${renderAddress(address)}:${port}`;

/** All of IPv4 or of IPv6. */
const isEverybody = ({ family, first, last }: AddressRange): boolean =>
  first === 0n && last === (1n << (family === 4 ? 32n : 128n)) - 1n;

/** Reads those of one file in their order. */
export class FlowDiversionReading {
  readonly #context: FlowContext;
  readonly #agents: AgentDiversion[] = [];
  readonly #proxies: ProxyDiversion[] = [];

  constructor(context: FlowContext) {
    this.#context = context;
  }

  finish(): { readonly agents: readonly AgentDiversion[]; readonly proxies: readonly ProxyDiversion[] } {
    return { agents: this.#agents, proxies: this.#proxies };
  }

  readAgent(value: unknown, at: Path): void {
    const { mistakes, file, agent: own } = this.#context;
    const parsed = agentDiversion.safeParse(value);
    if (!parsed.success) {
      mistakes.addIssues(parsed.error, agentDiversion, at);
      return;
    }
    const { name, listen, persona, agent = own } = parsed.data;
    if (agent === undefined) {
      mistakes.add(at, '`agent` is missing', 'add `agent:` with the name given to `weir agents add`');
      return;
    }
    if (own !== undefined && agent !== own)
      mistakes.add([...at, 'agent'], `this file is the part of \`${own}\``, 'leave this diversion out');
    this.#checkPersona(persona, at);
    const diversion: AgentDiversion = Object.freeze({
      kind: 'agent',
      name,
      agent,
      tcp: listen.ports,
      udp: listen['udp-ports'],
      addresses: listen.addresses ?? [],
      persona,
      place: { file, line: mistakes.lineOf(at) },
    });
    if (diversion.tcp.length + diversion.udp.length === 0)
      mistakes.add(
        [...at, 'listen'],
        'the agent would listen on no port',
        'add `ports:`, such as `ports: [23, 445]`, or `udp-ports:`',
      );
    for (const before of this.#agents) this.#checkShared(diversion, before, at);
    this.#agents.push(diversion);
  }

  /** Who connects to a port of an agent is in one diversion. */
  #checkShared(one: AgentDiversion, before: AgentDiversion, at: Path): void {
    const meets =
      one.addresses.length === 0 ||
      before.addresses.length === 0 ||
      one.addresses.some((a) => before.addresses.some((b) => a.family === b.family && a.value === b.value));
    if (one.agent !== before.agent || !meets) return;
    for (const [key, shared] of [
      ['ports', sharedPorts(one.tcp, before.tcp)],
      ['udp-ports', sharedPorts(one.udp, before.udp)],
    ] as const)
      if (shared.length > 0)
        this.#context.mistakes.add(
          [...at, 'listen', key],
          `\`${before.name}\` on line ${before.place.line} has port ${renderPorts(shared)} of the same agent`,
          'take it out of one of them, or give each `addresses` of its own',
        );
  }

  readProxy(value: unknown, at: Path): void {
    const { mistakes, file, agent: own } = this.#context;
    const parsed = proxyDiversion.safeParse(value);
    if (!parsed.success) {
      mistakes.addIssues(parsed.error, proxyDiversion, at);
      return;
    }
    const { name, listen, allow, persona, inner } = parsed.data;
    if (inner && own === undefined)
      mistakes.add(
        [...at, 'inner'],
        '`inner` stands in the rules of an agent only, which its gateway writes',
        'leave it out, and write `gateways:` and `via:`: the inner gateway is told by itself',
      );
    const everybody = allow.find(isEverybody);
    if (everybody)
      mistakes.add(
        [...at, 'allow'],
        `\`allow\`: ${renderRange(everybody)} is everybody, and whoever may connect can claim to be anybody`,
        'list the addresses of your proxies',
      );
    else if (allow.length === 0 && !inner)
      mistakes.add([...at, 'allow'], '`allow` is empty: nobody could connect', 'list the addresses of your proxies');
    this.#checkPersona(persona, at);
    this.#proxies.push(
      Object.freeze({
        kind: 'proxy',
        name,
        listen,
        allow,
        persona,
        ...(inner ? { inner } : {}),
        place: { file, line: mistakes.lineOf(at) },
      }),
    );
  }

  #checkPersona(persona: string, at: Path): void {
    const { personas } = this.#context.vocabulary;
    if (!personas.has(persona)) addUnknownPersona(persona, personas, [...at, 'persona'], this.#context.mistakes);
  }
}

const sharedPorts = (a: PortSet, b: PortSet): PortSet => (a.length === 0 ? noPorts : subtractPorts(a, subtractPorts(a, b)));

/** Two doors cannot be at one place. */
export function checkDoors(doors: readonly Door[], mistakes: Mistakes): void {
  for (const [index, door] of doors.entries()) {
    const before = doors.slice(0, index).find((other) => collide(door, other));
    if (before)
      mistakes.add(
        door.at,
        `${door.what} and ${before.what} would both listen at ${renderListen(door)}`,
        'give one of them another port',
      );
  }
}

/** `[::]` takes IPv4 as well, as `0.0.0.0` takes all of IPv4. */
function collide(a: AddressWithPort, b: AddressWithPort): boolean {
  if (a.port !== b.port) return false;
  const wide = ({ address: { family, value } }: AddressWithPort): boolean => family === 6 && value === 0n;
  if (wide(a) || wide(b)) return true;
  return (
    a.address.family === b.address.family &&
    (a.address.value === b.address.value || a.address.value === 0n || b.address.value === 0n)
  );
}
