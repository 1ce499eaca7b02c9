// The one schema of weir.yaml: keys, forms, defaults and their explanation. Types, messages and docs/configuration.md
// come from it. How values are written is forms.ts; what they become together is configuration.ts.

import { z } from 'zod';
import { analysisSection } from './analysis-schema.ts';
import * as forms from './forms.ts';
import { agentsSection } from './relay-schema.ts';
import { fallback, optional, required } from './schema-keys.ts';
import { suricataSection } from './suricata-schema.ts';
import * as tunnels from './tunnel-schema.ts';

const mebibyte = 2 ** 20;
const day = 86_400_000;

const retention = z.strictObject({
  days: fallback(forms.wholeNumber(1, 3650), 90, 'days', 'Whole days older than this are dropped.'),
  size: fallback(
    forms.size(256 * mebibyte, 2 ** 50),
    '20GiB',
    'size',
    'Journal, store and bodies together; the oldest days go first when they grow past it.',
  ),
});

const management = z.strictObject({
  ports: fallback(forms.ports, [], 'ports', "Ports of this machine's own addresses that are never diverted."),
  sources: fallback(
    forms.ranges,
    [],
    'addresses',
    "Whoever connects from here to this machine's own addresses is never diverted. Decoys at other addresses answer them as well.",
  ),
});

const consoleSettings = z.strictObject({
  address: fallback(
    forms.form((value) => {
      const range = forms.readRange(value);
      if (range instanceof forms.Wrong) return range;
      return range.first === range.last && typeof value === 'string' && !value.includes('/')
        ? value
        : new forms.Wrong(
            `${forms.quoted(value)} is not one address`,
            'write the address the console listens on, such as 127.0.0.1',
          );
    }),
    '127.0.0.1',
    'address',
    'Where the console listens. Any other than loopback is served by TLS only.',
  ),
  port: fallback(forms.wholeNumber(1, 65535), 8443, 'port', 'TCP port of the console.'),
});

const limits = z.strictObject({
  sessions: fallback(
    forms.wholeNumber(16, 1_000_000),
    32_768,
    'number',
    'Sessions open at once; beyond it the oldest idle ones are closed and counted.',
  ),
  'sessions-per-source': fallback(forms.wholeNumber(1, 1_000_000), 24_576, 'number', 'The same for one source address.'),
  'session-bytes': fallback(
    forms.size(1024, 2 ** 32),
    '1MiB',
    'size',
    'Bytes recorded of one session, both directions together; what comes after is counted only.',
  ),
  'idle-timeout': fallback(forms.duration(1000, day), '60s', 'duration', 'A session without a byte for so long is ended.'),
  'total-timeout': fallback(forms.duration(1000, 7 * day), '1h', 'duration', 'A session is ended after so long in any case.'),
  'banner-delay': fallback(
    forms.duration(0, 60_000),
    '600ms',
    'duration',
    'How long a client may stay silent before the banner of a protocol in which the server speaks first is sent.',
  ),
});

const probing = z.strictObject({
  'claim-rate': fallback(
    forms.wholeNumber(1, 1_000_000),
    65_536,
    'number',
    'ARP probes a second while looking for live hosts: before addresses are claimed, and in segments when they begin, there at most 5,000.',
  ),
});

const baseline = z.strictObject({
  every: optional(
    forms.duration(60_000, 7 * day),
    'duration',
    'How long after one check of who may reach what the next one begins, the first at the start. What differs and did not before becomes alerts. Without it nothing is checked by itself.',
  ),
});

export const portsSection = z.strictObject({
  open: fallback(forms.ports, [], 'ports', 'Ports that answer; `all` is every port.'),
  otherwise: fallback(
    forms.form((value) =>
      value === 'closed' || value === 'filtered'
        ? (value as 'closed' | 'filtered')
        : new forms.Wrong(`${forms.quoted(value)} is neither closed nor filtered`, 'write closed (refused) or filtered (silent)'),
    ),
    'closed',
    '`closed` or `filtered`',
    'Any other port: `closed` refuses (RST, port unreachable), `filtered` stays silent.',
  ),
});

const record = <T>(readKey: (key: string) => string | undefined, readValue: z.ZodType<T>, what: string) =>
  forms.form((value): Readonly<Record<string, T>> | forms.Wrong => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return new forms.Wrong(`${forms.quoted(value)} is not a mapping`, `write ${what}`);
    const result: Record<string, T> = {};
    for (const [key, inner] of Object.entries(value)) {
      const wrong = readKey(key);
      if (wrong !== undefined) return new forms.Wrong(wrong, `write ${what}`, [key]);
      const parsed = readValue.safeParse(inner);
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        const params = issue.code === 'custom' ? issue.params : undefined;
        return new forms.Wrong(issue.message, String(params?.next ?? `write ${what}`), [key, ...issue.path]);
      }
      result[key] = parsed.data;
    }
    return result;
  });

const protocolKey = (key: string): string | undefined =>
  /^[a-z0-9-]{1,32}$/.test(key) ? undefined : `${forms.quoted(key)} is not a protocol's name`;
const portKey = (key: string): string | undefined =>
  /^\d{1,5}$/.test(key) && Number(key) >= 1 && Number(key) <= 65535 ? undefined : `${forms.quoted(key)} is not a port`;

/** Keys of a persona, in rules/personas/*.yaml and below `personas` in weir.yaml. */
export const personaKeys = {
  name: required(forms.name, 'name', 'What decoys call it.'),
  description: required(forms.text(200), 'text', 'One sentence for people.'),
  'operating-system': required(forms.text(80), 'text', 'What it claims to be.'),
  hostname: required(forms.text(63), 'text', 'Host name; `{n}` becomes a number computed from the address.'),
  'mac-prefixes': required(
    forms.form((value): readonly string[] | forms.Wrong => {
      if (!Array.isArray(value) || value.length < 1 || value.length > 16)
        return new forms.Wrong(`${forms.quoted(value)} is not a list of 1 to 16 vendor prefixes`, 'write such as ["00:0c:29"]');
      for (let index = 0; index < value.length; index += 1) {
        const parsed = forms.macPrefix.safeParse(value[index]);
        if (!parsed.success)
          return new forms.Wrong(parsed.error.issues[0].message, 'write three pairs of lower-case hex digits in quotes', [index]);
      }
      return value as string[];
    }),
    'vendor prefixes',
    'The first three bytes of its MAC addresses; with several, the address decides.',
  ),
  stack: optional(
    forms.name,
    'name',
    'How its TCP/IP shows itself: one of rules/stacks. Without it, `windows-10` where the TTL is 128, else `linux`.',
  ),
  ttl: optional(
    forms.form((value) =>
      value === 64 || value === 128 || value === 255
        ? value
        : new forms.Wrong(`${forms.quoted(value)} is no usual TTL`, 'write 64, 128 or 255'),
    ),
    '64, 128 or 255',
    "The TTL its packets start with. Without it, the stack's.",
  ),
  'answers-echo': fallback(forms.truth, true, 'true or false', 'Whether it answers ping.'),
  tcp: portsSection.prefault({}).meta({ description: 'TCP ports.' }),
  udp: portsSection.prefault({}).meta({ description: 'UDP ports.' }),
  services: fallback(
    record(portKey, forms.name, 'ports with a protocol each, such as { 8022: ssh }'),
    {},
    'port: protocol',
    'Which protocol speaks on a port where it is not the usual one.',
  ),
  banners: fallback(
    record(protocolKey, forms.text(400), 'protocols with a text each, such as { ssh: SSH-2.0-OpenSSH_9.2p1 }'),
    {},
    'protocol: text',
    'First bytes or version text by protocol.',
  ),
};
export const personaFile = z.strictObject(personaKeys);

/** A persona in weir.yaml: whole, or `like` another with some keys changed. */
export const ownPersona = z.strictObject({
  ...(Object.fromEntries(
    Object.entries(personaKeys).map(([key, schema]) => [
      key,
      key === 'name'
        ? schema
        : z
            .unknown()
            .optional()
            .meta({ ...schema.meta() }),
    ]),
  ) as { name: typeof personaKeys.name }),
  like: optional(forms.name, 'name', 'The persona whose keys hold where this one says nothing.'),
});

export const shares = record(
  (key) => (/^[a-z0-9-]{1,32}$/.test(key) ? undefined : `${forms.quoted(key)} is not a persona's name`),
  forms.share,
  'personas with a share each, such as { windows-workstation: 60%, printer: 10% }',
);

export const namedPopulation = z.strictObject({
  name: required(forms.name, 'name', 'What decoys call it.'),
  description: fallback(forms.text(200), 'no description', 'text', 'One sentence for people.'),
  shares: required(shares, 'persona: share', 'Shares of the addresses; together at most 100%, what is left over is dead.'),
});

export const decoyEntry = z.strictObject({
  addresses: optional(
    forms.decoyAddresses,
    'addresses',
    "Addresses, blocks (`10.66.0.0/17`) and ranges (`10.66.0.10-10.66.0.20`) of both families, or `own`: this machine's own addresses.",
  ),
  address: optional(forms.decoyAddresses, 'addresses', 'The same word for a single one.'),
  exclude: optional(forms.ranges, 'addresses', 'Taken out of `addresses`: hosts that live there.'),
  persona: optional(forms.name, 'name', 'How all of them look.'),
  population: optional(
    forms.form((value): string | Readonly<Record<string, number>> | forms.Wrong => {
      const parsed = (typeof value === 'string' ? forms.name : shares).safeParse(value);
      if (parsed.success) return parsed.data as string | Readonly<Record<string, number>>;
      const [issue] = parsed.error.issues;
      const next = issue.code === 'custom' ? String(issue.params?.next) : 'write a name or shares';
      return new forms.Wrong(issue.message, next, issue.path);
    }),
    'name, or persona: share',
    'How they look when they differ: the name of a population, or shares such as `{windows-workstation: 60%, printer: 10%}`.',
  ),
  alive: optional(
    forms.share,
    'share',
    'How many of them live; the rest stays silent. Which ones is computed from address and seed.',
  ),
  seed: optional(
    forms.wholeNumber(0, 0xffffffff),
    'number',
    "Decides who lives where. Without it, it is computed from the diversion's name.",
  ),
  mac: optional(
    forms.mac,
    'MAC address',
    "The exact MAC of a single decoy; without it, it is computed from the persona's vendor prefixes.",
  ),
  claim: optional(
    forms.form((value) =>
      value === 'anyip' || value === 'macvlan' || value === 'address'
        ? (value as 'anyip' | 'macvlan' | 'address')
        : new forms.Wrong(`${forms.quoted(value)} is neither anyip, macvlan nor address`, 'write one of them, or leave it out'),
    ),
    '`anyip`, `macvlan` or `address`',
    'How the addresses become ours: `anyip` (the default) by one route for any number of them; `macvlan` by a link each; `address` by a place on the interface each. The last two for at most 256 addresses of a diversion.',
  ),
});

export const hostDiversion = z.strictObject({
  name: required(forms.name, 'name', 'Stands in every event of its decoys.'),
  kind: required(forms.text(32), '`host`', 'How packets reach Weir: addresses on an interface of this machine.'),
  interface: optional(
    forms.interfaceName,
    'interface',
    'Where the addresses are. Required, except for `own`: there it narrows to one interface.',
  ),
  agent: optional(forms.name, 'name', 'The agent on whose machine this happens; without it, on this one.'),
  transport: optional(tunnels.transport, '`sessions` or `packets`', tunnels.transportMeaning),
  tunnel: tunnels.tunnelSettings.optional().meta({ description: 'The way of the packets.' }),
  decoys: required(z.array(decoyEntry, { error: () => 'this is not a list' }), 'list', 'What is claimed, and how it looks.'),
});

export const configurationFile = z.strictObject({
  version: required(
    forms.form((value) =>
      value === 1 ? (1 as const) : new forms.Wrong(`version ${forms.quoted(value)} is not known`, 'write `version: 1`'),
    ),
    '1',
    'Version of this format.',
  ),
  data: fallback(forms.absolutePath, '/var/lib/weir', 'path', 'Everything Weir keeps. An absolute path.'),
  retention: retention.prefault({}).meta({ description: 'How long and how much is kept.' }),
  management: management.prefault({}).meta({
    description:
      "What is never diverted. The operator's own SSH session, the default gateway and whatever already listens are protected in any case.",
  }),
  console: consoleSettings.prefault({}).meta({ description: 'The web page.' }),
  limits: limits.prefault({}).meta({ description: 'Bounds of what attackers can occupy. What they cut is counted and shown.' }),
  probing: probing.prefault({}).meta({ description: 'Looking for live hosts.' }),
  suricata: suricataSection.optional().meta({
    description:
      'Suricata beside Weir: with this key, also an empty one (`{}`), it judges what decoys are told. See [docs/suricata.md](suricata.md).',
  }),
  baseline: baseline.prefault({}).meta({
    description: 'Checks of what `weir baseline record` wrote down. See [docs/baseline.md](baseline.md).',
  }),
  analysis: analysisSection.prefault({}).meta({ description: 'What is made of the records.' }),
  diversions: z
    .array(z.unknown(), { error: () => 'this is not a list' })
    .optional()
    .meta({
      form: 'list',
      description: "Which packets come to Weir. Without this key: all free ports of this machine's own addresses.",
    }),
  personas: z
    .array(ownPersona, { error: () => 'this is not a list' })
    .prefault([])
    .meta({ form: 'list', description: 'Personas of your own, besides those that come with Weir.' }),
  populations: z
    .array(namedPopulation, { error: () => 'this is not a list' })
    .prefault([])
    .meta({ form: 'list', description: 'Populations of your own, besides those that come with Weir.' }),
  services: z
    .array(z.unknown(), { error: () => 'this is not a list' })
    .prefault([])
    .meta({ form: 'list', description: 'What answers instead of the built-in catch-all: machines and programs of yours.' }),
  bindings: z
    .array(z.unknown(), { error: () => 'this is not a list' })
    .prefault([])
    .meta({
      form: 'list',
      description: 'Which service answers which decoys. What is not bound goes to `catch-all`.',
    }),
  agents: agentsSection.prefault({}).meta({ description: 'Other machines that hand over what touches them.' }),
  gateways: z
    .array(z.unknown(), { error: () => 'this is not a list' })
    .prefault([])
    .meta({ form: 'list', description: 'Agents that reach services this machine does not reach itself: inner gateways.' }),
  agent: optional(forms.name, 'name', 'Only in the rules of an agent, which its gateway writes: whose they are.'),
});

export type ConfigurationText = z.output<typeof configurationFile>;
export type DecoyEntry = z.output<typeof decoyEntry>;
export type PersonaText = z.output<typeof personaFile>;
