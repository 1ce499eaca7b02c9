// Renders docs/configuration.md from the schema and the personas that come with Weir, so that it cannot drift. Pure.

import { z } from 'zod';
import { renderPorts } from '../model/port-set.ts';
import {
  agentExample,
  bindingExample,
  chainExample,
  claimExample,
  evpnExample,
  relayExample,
  staticVxlanExample,
  vlanExample,
} from './guide-examples.ts';
import { unwrap } from './issues.ts';
import { bindingEntry, kernelPathService, networkDiversion } from './network-schema.ts';
import type { PersonaLibrary } from './personas.ts';
import { agentDiversion, externalService, gatewayEntry, proxyDiversion } from './relay-schema.ts';
import { configurationFile, decoyEntry, hostDiversion, namedPopulation, personaFile } from './schema.ts';
import type { KeyNotes } from './schema-keys.ts';
import { stackFile } from './stacks.ts';

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** One row per key; sections are flattened as `retention.days`. */
function rows(schema: z.ZodType, prefix = ''): string[] {
  const object = unwrap(schema);
  if (!(object instanceof z.ZodObject)) return [];
  return Object.entries(object.shape as Record<string, z.ZodType>).flatMap(([key, inner]) => {
    const notes = inner.meta() as Partial<KeyNotes> | undefined;
    const name = `${prefix}${key}`;
    if (unwrap(inner) instanceof z.ZodObject)
      return [`| **\`${name}\`** | | | ${cell(notes?.description ?? '')} |`, ...rows(inner, `${name}.`)];
    const state =
      notes?.fallback !== undefined
        ? `\`${notes.fallback}\``
        : inner instanceof z.ZodOptional || inner instanceof z.ZodPrefault
          ? ''
          : '*required*';
    return [`| \`${name}\` | ${cell(notes?.form ?? '')} | ${cell(state)} | ${cell(notes?.description ?? '')} |`];
  });
}

const table = (schema: z.ZodType): string =>
  ['| key | form | default | meaning |', '|---|---|---|---|', ...rows(schema)].join('\n');

const shorten = (ports: string): string => (ports === '1-65535' ? 'all' : ports === '' ? 'none' : ports.replaceAll(',', ', '));

/** The whole document. */
export function renderGuide(library: PersonaLibrary): string {
  const personas = [...library.personas.values()].map(
    ({ name, operatingSystem, tcp, udp, description }) =>
      `| \`${name}\` | ${cell(description)} | ${cell(operatingSystem)} | ${shorten(renderPorts(tcp.open))}; else ${tcp.otherwise} | ${shorten(renderPorts(udp.open))} |`,
  );
  const populations = [...library.populations.values()].map(
    ({ name, description, shares }) =>
      `| \`${name}\` | ${cell(description)} | ${Object.entries(shares)
        .map(([persona, share]) => `${persona} ${share / 100}%`)
        .join(', ')} |`,
  );
  const stacks = [...library.stacks.values()].map(
    ({ name, description, ttl }) => `| \`${name}\` | ${cell(description)} | ${ttl} |`,
  );
  return `<!-- Made from src/config/schema.ts and rules/ by \`npm run guide\`; a test compares. -->
# Configuration

Weir reads the file given with \`-c\`, else \`weir.yaml\` in the working directory, else \`/etc/weir/weir.yaml\`. Without any of them every free port
of this machine's own addresses becomes a decoy. A mistake names its line and the next step, all mistakes are told at once, and nothing
changes in the kernel until there are none.

\`\`\`yaml
${exampleConfiguration}\`\`\`

## Keys

${table(configurationFile)}

## A host diversion

Addresses on an interface of this machine.

${table(hostDiversion)}

## A network diversion

A segment that did not exist: a network namespace of its own, with one link, at which decoys live. Segments share nothing: two of them,
or a segment and the machine itself, may use the same addresses.

${table(networkDiversion)}

### VLANs on a trunk

The switch sends the VLANs tagged to one port. Only those named here are taken from it: the machine's own address on the trunk, untagged
or in a VLAN of its own, stays as it is.

\`\`\`yaml
${vlanExample}\`\`\`

Weir's own addresses, the gateways, and network and broadcast address of each subnet are left out of the decoys; \`weir plan\` shows them.

### Live hosts in a segment

There is no link to look for live hosts on before a segment begins, so it is swept right after: an ARP probe (RFC 5227), and another a
little later, for each living IPv4 decoy, for up to 65,536 in a segment, at \`probing.claim-rate\` but no more than 5,000 a second in all
segments together. Who answers keeps its address: the decoy is given back and an alert (\`address-conflict\`) names host and segment. No decoy
announces itself before it was asked for. Decoys added later are swept for as they are added; IPv6 decoys are asked for at their first touch.
In a segment with \`evpn\` such probes do not reach the other ends, because the bridge holds them back (ARP suppression, RFC 9161): a host behind
another VTEP is noticed when it speaks.

### VXLAN with the other ends listed

Frames travel in UDP between this machine's address \`local\` and the others. What everybody is to hear is copied to each of \`remotes\`.

\`\`\`yaml
${staticVxlanExample}\`\`\`

VXLAN takes 50 bytes of each packet over IPv4 and 70 over IPv6: on an underlay with an MTU of 1500 the segments have 1450 or 1430, unless
both ends are told a smaller \`mtu\`. An \`mtu\` that the underlay cannot carry is refused.

### VXLAN with BGP EVPN

A routing daemon (FRR) learns the other ends from \`peers\`, and tells them of each decoy's MAC and address before the first packet
(RFC 8365). There is one speaker for all segments with \`evpn\`: they name the same \`asn\`, and those of one \`local\` the same \`peers\`.

\`\`\`yaml
${evpnExample}\`\`\`

## An agent diversion

Ports of another machine: an agent there hands over each connection and datagram, with its true source, over one link. \`weir agents add\`
gives the token that lets it in. \`host\` and \`network\` diversions with \`agent:\` are run by an agent with privileges on its machine, with
everything they have here; their addresses have nothing to do with this machine's.

\`\`\`yaml
${agentExample}\`\`\`

${table(agentDiversion)}

Everything an agent has to know of this file is pushed to it over its link, and nothing else.

## A proxy diversion

Connections of proxies and load balancers that say whom they speak for, by the PROXY protocol v1 or v2 (UDP: v2 in front of each
datagram). A connection without a header is reset: it is never guessed. What belongs to its \`listen\` port is never diverted.

${table(proxyDiversion)}

## Decoys of a diversion

Either \`addresses\` (or \`address\`), and either \`persona\` or \`population\`. No address may be a decoy twice.

${table(decoyEntry)}

### Decoys with an interface of their own

By default one route makes whole ranges ours (AnyIP): no state for each decoy, so a million cost as much as one. For the few that shall
have more, \`claim: macvlan\` makes each a link with its own MAC, queue and neighbours, and \`claim: address\` puts each on the interface,
where it shows the interface's MAC and every program of this machine sees it.

\`\`\`yaml
${claimExample}\`\`\`

Blocks are taken as written: \`10.66.0.0/24\` is 256 addresses. Whether its first and last are the network and broadcast address of the
segment depends on the interface, so that is where it is decided: those of the interface's own subnet, the default gateway and every
address at which a live host answers are left out when the plan is made, and \`weir plan\` shows them.

## Services

Who answers instead of the built-in catch-all: a machine, container or program of yours, by the bindings that name it. The gateway
connects to no other address than those written here.

### A service that is dialled

The gateway takes the connection, dials the service, and passes both directions on, with half-closes and resets. The service learns
whom it speaks with in one of three ways: not at all; by a PROXY header (\`proxy-protocol\`); or because the connection itself comes from the
attacker's address and goes to the decoy's (\`path: transparent\`). Either way the session is on record with its true source. Ports
that a binding names are open at its decoys, whatever their persona says. Over UDP no answer is longer than what it answers.

\`\`\`yaml
${relayExample}\`\`\`

${table(externalService)}

### A service behind another gateway

\`via\` names an agent that reaches the service: an inner gateway, in a virtual machine or another network. The chain is written once,
here; each gateway on the way gets its part over its agent's link. Sessions are recorded by the first.

\`\`\`yaml
${chainExample}\`\`\`

${table(gatewayEntry)}

### A service on the kernel path

A machine, container or VM of yours can answer with its own TCP stack instead of the built-in catch-all. Packets to its decoys are routed
to it unchanged, by the kernel alone; it owns their addresses (\`ip route add local 192.168.110.40/32 dev lo\`) and routes back through
Weir's address \`from\`. Its sessions are on record like all others, and it can open no connection to anybody.
Of the \`limits\`, \`sessions\` and \`session-bytes\` hold for them, and \`idle-timeout\` for datagrams: connections last as long as the
service keeps them.

\`\`\`yaml
${bindingExample}\`\`\`

${table(kernelPathService)}

### A binding

${table(bindingEntry)}

## Forms

| form | written as |
|---|---|
| address | \`10.66.0.5\`, \`2001:db8::5\` |
| address:port | \`10.1.0.9:2222\`, \`"[2001:db8::9]:22"\` |
| address/length | an address with the length of its subnet: \`192.168.110.2/24\`, \`2001:db8:110::2/64\` |
| addresses | a list, or one: addresses, blocks \`10.66.0.0/17\`, ranges \`10.66.0.10-10.66.0.20\`, both families |
| ports | a list, or one: \`80\`, \`8000-8100\`, \`"22,80"\`; \`all\` in personas |
| share | a percentage from \`0.01%\` to \`100%\`; a number without the sign is one too |
| size | a number with its unit: \`512MiB\`, \`20GiB\`, \`1TB\` |
| duration | a number with its unit: \`500ms\`, \`60s\`, \`5m\`, \`2h\`, \`1d\` |
| name | 1 to 32 of the characters \`a-z\`, \`0-9\` and \`-\` |
| MAC address | \`00:0c:29:1a:2b:3c\` |

## Personas

One file each in [rules/personas](../rules/personas); your own go below \`personas\`, whole or \`like\` another:

\`\`\`yaml
${examplePersona}\`\`\`

| persona | for | claims to be | open TCP ports | open UDP ports |
|---|---|---|---|---|
${personas.join('\n')}

${table(personaFile)}

Banners are, by protocol: the identification line (\`ssh\`), the \`Server\` header (\`http\`), the text after the reply code (\`ftp\`, \`smtp\`,
\`pop3\`, \`imap\`), the text before the login prompt (\`telnet\`), the version (\`mysql\`, \`postgres\`, \`redis\`, \`vnc\`), the system (\`smb\`, \`rdp\`).

## Stacks

How a persona's TCP/IP shows itself to \`nmap -O\` and the like: one file each in [rules/stacks](../rules/stacks). What a file does not say
is as on Linux.

| stack | of | TTL |
|---|---|---|
${stacks.join('\n')}

${table(stackFile)}

## Populations

Who lives at which address of a range is computed from the address and the seed: it is the same after a restart, for any number of
addresses, without a table. With \`alive: 40%\` the shares are those of the living; the rest answers nothing, not even ARP.

| population | for | shares |
|---|---|---|
${populations.join('\n')}

${table(namedPopulation)}
`;
}

/** Parsed by a test: what the document shows works. */
export const exampleConfiguration = `version: 1
data: /var/lib/weir
retention: { days: 90, size: 20GiB }
management:                       # never diverted, always reachable
  ports: [22, 8443]
  sources: [10.0.0.0/8]
diversions:
  - name: dmz
    kind: host                    # addresses on one of this machine's interfaces
    interface: eth0
    decoys:
      - addresses: [10.66.0.0/17, "2001:db8:66::/64"]
        exclude: [10.66.0.1]
        persona: windows-server
      - { addresses: 10.66.128.0/17, population: mixed-office, alive: 40%, seed: 7 }
      - { address: 10.67.0.5, persona: printer, mac: "c8:d3:ff:00:10:05" }
`;

/** Parsed by a test as well, below \`version: 1\`. */
export const examplePersona = `personas:
  - name: build-nas
    like: nas
    hostname: backup-{n}
    tcp: { open: [22, 80, 5000, 5001] }
    banners: { ssh: SSH-2.0-OpenSSH_8.4 }
`;
