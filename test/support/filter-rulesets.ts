// Random rulesets as text for nft, iptables on nft and iptables-legacy, over a small universe of addresses, ports and marks, so that
// rules meet packets often. Every one of them loads.

import fc from 'fast-check';

export const sources = ['10.70.0.1', '10.70.0.2', '10.70.0.77', '10.99.0.1'];
export const ownAddresses = ['10.70.0.254', '10.70.0.253'];
export const farAddresses = ['10.71.0.2', '10.71.0.3'];
export const ports = [22, 80, 443, 8080, 31000];
export const sourcePorts = [1024, 5353, 40000, 40001];

export interface Ruleset {
  readonly nft: string;
  /** For `iptables-nft-restore` and `iptables-legacy-restore`; empty: not used. */
  readonly iptablesNft: string;
  readonly legacy: string;
}

const pick = <T>(...values: T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
const addresses = [...sources, ...ownAddresses, ...farAddresses];
const address = pick(...addresses);
const network = pick('10.70.0.0/24', '10.71.0.0/24', '10.70.0.0/30', '10.0.0.0/8', '10.71.0.2/31');
const port = pick(...ports);
const mark = pick(1, 2, 3, 16);
const not = pick('', '!= ');
const flags = '(syn|ack|fin|rst)';

const inSet = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<string> =>
  fc.uniqueArray(one, { minLength: 2, maxLength: 4, selector: String }).map((list) => `{ ${list.join(', ')} }`);

/** Conditions of nft; `hook` says what may be asked there. */
const nftMatch: fc.Arbitrary<string> = fc.oneof(
  fc.tuple(pick('ip saddr', 'ip daddr'), not, fc.oneof(address, network, inSet(address))).map((part) => part.join(' ')),
  fc.tuple(pick('ip saddr', 'ip daddr'), not, pick('@nets', '@hosts')).map((part) => part.join(' ')),
  fc
    .tuple(
      pick('tcp dport', 'udp dport', 'th dport'),
      not,
      fc.oneof(port.map(String), inSet(port), pick('1-1023', '8000-9000', '@ports')),
    )
    .map(([field, negation, value]) =>
      field === 'th dport' ? `meta l4proto { tcp, udp } th dport ${negation}${value}` : `${field} ${negation}${value}`,
    ),
  pick('tcp dport >= 1024', 'tcp dport < 443', 'udp sport > 5353', 'tcp sport 40000-40001', 'tcp dport & 1 == 1'),
  pick(
    'meta l4proto tcp',
    'meta l4proto != udp',
    'ip protocol icmp',
    'meta l4proto { tcp, icmp }',
    'meta nfproto ipv4',
    'meta nfproto ipv6',
    'ip6 saddr ::1',
    'meta protocol ip',
    'meta pkttype host',
    'ip version 4',
  ),
  pick(
    `tcp flags & ${flags} == syn`,
    'tcp flags syn',
    'tcp flags & (syn|ack) == ack',
    'tcp flags != syn',
    'tcp flags ! ack',
    'tcp flags { syn, ack }',
  ),
  pick(
    'ct state new',
    'ct state established,related',
    'ct state invalid',
    'ct state != new',
    'ct state { new, untracked }',
    'ct state ! invalid',
    'ct state untracked',
  ),
  pick(
    'ct direction original',
    'ct direction reply',
    'ct status dnat',
    'ct status ! dnat',
    'ct mark 0x1',
    'ct mark & 0x3 == 0x2',
    'ct mark != 0x0',
    'ct original ip daddr 10.70.0.254',
  ),
  fc.tuple(not, mark).map(([negation, value]) => `meta mark ${negation}${value}`),
  fc.tuple(mark, mark).map(([mask, value]) => `meta mark & ${mask} == ${value & mask}`),
  fc.tuple(pick('iifname', 'oifname'), not, pick('"gc"', '"gs"', '"g*"', '"lo"', '{ "gc", "lo" }')).map((part) => part.join(' ')),
  pick('iif "gc"', 'iif != "gs"', 'icmp type echo-request', 'icmp type { echo-reply, destination-unreachable }', 'icmp code 0'),
  pick('fib daddr type local', 'fib daddr type != local', 'fib saddr type { local, multicast }', 'fib daddr type unicast'),
  pick(
    'ip saddr . tcp dport @pairs',
    'ip saddr . tcp dport != @pairs',
    'ip saddr . ip daddr . meta l4proto { 10.70.0.1 . 10.70.0.254 . tcp, 10.70.0.2 . 10.71.0.2 . udp }',
    'iifname . ip saddr { "gc" . 10.70.0.1, "gs" . 10.71.0.2 }',
    'ip saddr & 255.255.0.255 == 10.70.0.1',
  ),
);

const markWrite = fc.oneof(
  mark.map((value) => `meta mark set ${value}`),
  pick(
    'meta mark set meta mark | 0x10',
    'meta mark set meta mark & 0x2',
    'ct mark set meta mark',
    'meta mark set ct mark',
    'ct mark set 1',
    'ct mark set ct mark | 2',
    'meta mark set tcp dport map { 22 : 1, 80 : 2 }',
    'meta mark set ip saddr map @marks',
  ),
);

const nftVerdict = (below: readonly string[]): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 3, arbitrary: pick('accept', 'drop') },
    { weight: 1, arbitrary: pick('return', 'continue', 'counter', 'log prefix "x "') },
    { weight: 2, arbitrary: markWrite },
    { weight: 1, arbitrary: pick('limit rate 100000/second counter', 'limit rate 1/day burst 1 packets accept') },
    ...(below.length === 0
      ? []
      : [
          { weight: 4, arbitrary: fc.tuple(pick('jump', 'goto'), pick(...below)).map((part) => part.join(' ')) },
          {
            weight: 2,
            arbitrary: pick(...below).map((chain) => `tcp dport vmap { 22 : jump ${chain}, 80 : drop, 443-9000 : accept }`),
          },
          {
            weight: 1,
            arbitrary: pick(...below).map(
              (chain) => `ip saddr . meta l4proto vmap { 10.70.0.1 . tcp : goto ${chain}, 10.70.0.2 . udp : drop }`,
            ),
          },
          {
            weight: 2,
            arbitrary: pick(
              'iifname vmap { "gs" : drop, * : accept }',
              'iifname vmap { "lo" : accept, * : continue }',
              'ip saddr . tcp dport vmap { 10.70.0.1 . 22 : accept, * : drop }',
              'tcp dport vmap { 22 : accept, 80 : continue, * : drop }',
            ),
          },
          { weight: 1, arbitrary: pick('udp dport vmap @verdicts', 'ip daddr vmap @others') },
        ]),
  );

/** Protocols and families that a part of a rule is about; nft refuses rules that are about two. */
const aboutOf = (part: string): string[] => [
  ...(part.match(/\b(tcp|udp|icmp)(?= (dport|sport|flags|type|code))/g) ?? []),
  ...(part.match(/(?<=(meta l4proto|ip protocol) )(tcp|udp|icmp)/g) ?? []),
  ...(part.includes('th dport') ? ['th'] : part.includes('meta l4proto {') ? ['several'] : []),
];
const familyOf = (part: string): string[] => [
  ...(/\bip6 |nfproto ipv6/.test(part) ? ['6'] : []),
  ...(/\bip (saddr|daddr|protocol|version)|ct original ip|nfproto ipv4|meta protocol ip|icmp /.test(part) ? ['4'] : []),
];

const withoutConflicts = (parts: readonly string[]): string[] => {
  let [about, family] = ['', ''];
  return parts.filter((part) => {
    const [protocols, families] = [new Set(aboutOf(part)), new Set(familyOf(part))];
    for (const [has, wanted] of [
      [about, protocols],
      [family, families],
    ] as const)
      if (wanted.size > 1 || (has !== '' && wanted.size === 1 && !wanted.has(has))) return false;
    [about] = about === '' ? [...protocols, ''] : [about];
    [family] = family === '' ? [...families, ''] : [family];
    return true;
  });
};

const nftRule = (below: readonly string[], verdict: fc.Arbitrary<string> = nftVerdict(below)): fc.Arbitrary<string> =>
  fc
    .tuple(fc.array(nftMatch, { maxLength: 2 }), fc.option(markWrite, { freq: 6, nil: '' }), verdict)
    .map(([matches, write, end]) => {
      // The end stays whatever the conditions are.
      const [last, ...rest] = withoutConflicts([end, ...matches, write].filter((part) => part !== ''));
      return [...rest, last].join(' ');
    });

const nftDnat = pick(
  'tcp dport 80 dnat ip to 10.71.0.2',
  'tcp dport 8080 dnat ip to 10.71.0.3:80',
  'ip daddr 10.70.0.253 dnat ip to 10.71.0.2',
  'meta l4proto udp dnat ip to udp dport map { 22 : 10.71.0.2, 80 : 10.70.0.253 }',
  'tcp dport 22 redirect to :443',
  'ip daddr 10.71.0.3 dnat ip to 10.70.0.254',
  'tcp dport { 443, 31000 } dnat ip to 10.71.0.2-10.71.0.3',
  'ip daddr 10.71.0.0/24 accept',
  'tcp dport 443 drop',
  'ip saddr 10.70.0.2 return',
);

interface Base {
  readonly hook: string;
  readonly priority: number;
  readonly policy: string;
}

const base: fc.Arbitrary<Base> = fc.record({
  hook: pick('prerouting', 'prerouting', 'input', 'input', 'forward', 'forward', 'postrouting'),
  priority: pick(-310, -300, -150, -150, -90, 0, 0, 0, 10, 50),
  policy: pick('accept', 'accept', 'accept', 'drop'),
});

const nftTable = (name: string, family: string): fc.Arbitrary<string> =>
  fc
    .record({
      bases: fc.array(fc.tuple(base, fc.array(nftRule(['c0', 'c1', 'c2']), { maxLength: 6 })), { minLength: 1, maxLength: 4 }),
      raw: fc.array(nftRule([], pick('notrack', 'accept', 'meta mark set 2')), { maxLength: 2 }),
      c0: fc.array(nftRule(['c1', 'c2']), { maxLength: 4 }),
      c1: fc.array(nftRule(['c2']), { maxLength: 4 }),
      c2: fc.array(nftRule([]), { maxLength: 4 }),
      nat: fc.option(fc.array(nftDnat, { minLength: 1, maxLength: 4 }), { nil: undefined }),
      snat: fc.boolean(),
    })
    .map(({ bases, raw, c0, c1, c2, nat, snat }) => {
      const chain = (label: string, head: string, rules: readonly string[]): string =>
        `  chain ${label} {\n${head}${rules.map((rule) => `    ${rule}\n`).join('')}  }\n`;
      const text = [
        '  set hosts { type ipv4_addr; elements = { 10.70.0.2, 10.71.0.3, 10.70.0.254 } }\n',
        '  set nets { type ipv4_addr; flags interval; elements = { 10.70.0.0/30, 10.71.0.3-10.71.0.9 } }\n',
        '  set ports { type inet_service; flags interval; elements = { 22, 80-443 } }\n',
        '  set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.70.0.0/24 . 22, 10.70.0.2 . 80-9000 } }\n',
        '  map marks { type ipv4_addr : mark; elements = { 10.70.0.1 : 1, 10.70.0.2 : 16 } }\n',
        '  map verdicts { type inet_service : verdict; elements = { 22 : drop, 80 : accept, 443 : continue } }\n',
        '  map others { type ipv4_addr : verdict; elements = { 10.70.0.254 : accept, * : drop } }\n',
        chain('c2', '', c2),
        chain('c1', '', c1),
        chain('c0', '', c0),
        ...(raw.length === 0 ? [] : [chain('raw', '    type filter hook prerouting priority -300; policy accept;\n', raw)]),
        ...bases.map(([{ hook, priority, policy }, rules], index) =>
          chain(`b${index}`, `    type filter hook ${hook} priority ${priority}; policy ${policy};\n`, rules),
        ),
        ...(nat ? [chain('targets', '    type nat hook prerouting priority -100; policy accept;\n', nat)] : []),
        ...(snat
          ? [chain('sources', '    type nat hook postrouting priority 100; policy accept;\n', ['oifname "gs" masquerade'])]
          : []),
      ];
      // A table of one family refuses words about the other.
      const body =
        family === 'ip' ? text.join('').replaceAll(/ip6 saddr ::1|meta nfproto ipv[46]/g, 'ip version 4') : text.join('');
      return `table ${family} ${name} {\n${body}}\n`;
    });

const iptablesMatch: fc.Arbitrary<string> = fc.oneof(
  fc
    .tuple(pick('', '! '), pick('-s', '-d'), fc.oneof(address, network))
    .map(([negation, side, value]) => `${negation}${side} ${value}`),
  pick('-i gc', '! -i gs', '-i g+', '-i lo'),
  fc
    .tuple(pick('', '! '), pick('--dport', '--sport'), pick('22', '80', '1:1023', '40000'))
    .map(([negation, side, value]) => `-p tcp -m tcp ${negation}${side} ${value}`),
  pick('-p udp -m udp --dport 22:443', '-p icmp -m icmp --icmp-type 8', '-p icmp', '! -p tcp', '-p udp'),
  pick('-p tcp --syn', '-p tcp ! --syn', '-p tcp -m tcp --tcp-flags SYN,ACK ACK'),
  pick(
    '-p tcp -m multiport --dports 22,80:443',
    '-p tcp -m multiport ! --dports 22,8080',
    '-p udp -m multiport --ports 22,5353',
    '-p tcp -m multiport --sports 40000:40001',
  ),
  pick(
    '-m conntrack --ctstate NEW',
    '-m conntrack --ctstate RELATED,ESTABLISHED',
    '-m state --state INVALID',
    '-m conntrack ! --ctstate NEW',
    '-m conntrack --ctstate DNAT',
    '-m conntrack --ctstate NEW,UNTRACKED',
    '-m conntrack --ctdir REPLY',
    '-m conntrack --ctorigdst 10.70.0.254',
  ),
  pick('-m mark --mark 1', '-m mark ! --mark 0x0/0x3', '-m connmark --mark 0x1', '-m mark --mark 0x10/0x10'),
  pick('-m addrtype --dst-type LOCAL', '-m addrtype ! --dst-type LOCAL', '-m addrtype --src-type LOCAL,MULTICAST'),
  pick('-m iprange --src-range 10.70.0.1-10.70.0.2', '-m iprange ! --dst-range 10.71.0.3-10.71.0.9'),
  pick('-m comment --comment "any thing"', '-m pkttype --pkt-type unicast', '-s 10.70.0.1/255.255.0.255'),
  pick(
    '-m set --match-set hosts src',
    '-m set ! --match-set nets dst',
    '-m set --match-set pairs src,dst',
    '-m set --match-set both src',
  ),
);

const oneProtocol = (matches: readonly string[]): string[] => {
  // iptables refuses two protocols, two addresses of one side, two devices.
  const seen = new Set<string>();
  return matches.filter((match) => {
    const words =
      match.match(/-[psdi](?= )|-m (conntrack|state|mark|connmark|addrtype|iprange|set|pkttype|comment|multiport)/g) ?? [];
    if (words.some((word) => seen.has(word))) return false;
    for (const word of words) seen.add(word);
    return true;
  });
};

const iptablesTarget = (below: readonly string[], isTop: boolean): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 4, arbitrary: pick('-j ACCEPT', '-j DROP') },
    { weight: 1, arbitrary: isTop ? pick('-j LOG', '') : pick('-j RETURN', '-j REJECT', '') },
    {
      weight: 3,
      arbitrary:
        below.length === 0 ? fc.constant('-j DROP') : fc.tuple(pick('-j', '-g'), pick(...below)).map((part) => part.join(' ')),
    },
  );

const iptablesRules = (chain: string, target: fc.Arbitrary<string>, maxLength = 6): fc.Arbitrary<string[]> =>
  fc.array(
    fc
      .tuple(fc.array(iptablesMatch, { maxLength: 3 }), target)
      .map(([matches, end]) => `-A ${chain} ${oneProtocol(matches).join(' ')} ${end}`),
    { maxLength },
  );

const mangleTarget = pick(
  '-j MARK --set-mark 1',
  '-j MARK --set-xmark 0x2/0x2',
  '-j MARK --or-mark 0x10',
  '-j CONNMARK --save-mark',
  '-j CONNMARK --restore-mark',
  '-j CONNMARK --set-mark 1',
  '-j ACCEPT',
  '-j DROP',
  '-j RETURN',
);

const dnat = pick(
  '-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.71.0.2',
  '-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.71.0.3:80',
  '-A PREROUTING -d 10.70.0.253 -j DNAT --to-destination 10.71.0.3',
  '-A PREROUTING -p udp -m udp --dport 22 -j REDIRECT --to-ports 443',
  '-A PREROUTING -m addrtype --dst-type LOCAL -j P0',
  '-A P0 -i gs -j RETURN',
  '-A P0 ! -i gs -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.71.0.2:22',
  '-A PREROUTING -d 10.71.0.0/24 -j NETMAP --to 10.70.0.0/24',
  '-A PREROUTING -s 10.70.0.2 -j ACCEPT',
);

/** A restore file; `-t raw` with notrack, mangle with marks, nat, and filter with chains of the user's. */
const iptables: fc.Arbitrary<string> = fc
  .record({
    input: pick('ACCEPT', 'ACCEPT', 'DROP'),
    forward: pick('ACCEPT', 'ACCEPT', 'DROP'),
    top: iptablesRules('INPUT', iptablesTarget(['U0', 'U1', 'U2'], true)),
    through: iptablesRules('FORWARD', iptablesTarget(['U0', 'U1', 'U2'], true)),
    u0: iptablesRules('U0', iptablesTarget(['U1', 'U2'], false), 4),
    u1: iptablesRules('U1', iptablesTarget(['U2'], false), 4),
    u2: iptablesRules('U2', iptablesTarget([], false), 4),
    mangle: fc.option(iptablesRules('PREROUTING', mangleTarget, 4), { nil: undefined }),
    raw: fc.option(iptablesRules('PREROUTING', pick('-j CT --notrack', '-j ACCEPT', '-j DROP'), 1), { nil: undefined, freq: 3 }),
    nat: fc.option(fc.array(dnat, { minLength: 1, maxLength: 4 }), { nil: undefined }),
  })
  .map(({ input, forward, top, through, u0, u1, u2, mangle, raw, nat }) => {
    const table = (name: string, heads: readonly string[], rules: readonly string[]): string =>
      `*${name}\n${heads.map((head) => `:${head} [0:0]\n`).join('')}${rules.map((rule) => `${rule}\n`).join('')}COMMIT\n`;
    // Connection tracking has not looked yet where raw stands: what asks for it there is refused by nobody and matches as invalid.
    return [
      ...(raw ? [table('raw', ['PREROUTING ACCEPT'], raw)] : []),
      ...(mangle ? [table('mangle', ['PREROUTING ACCEPT'], mangle)] : []),
      ...(nat ? [table('nat', ['PREROUTING ACCEPT', 'P0 -'], nat)] : []),
      table(
        'filter',
        [`INPUT ${input}`, `FORWARD ${forward}`, 'U0 -', 'U1 -', 'U2 -'],
        [...top, ...through, ...u0, ...u1, ...u2],
      ),
    ].join('');
  });

export const rulesets: fc.Arbitrary<Ruleset> = fc
  .record({
    kind: pick('nft', 'nft', 'two', 'iptables-nft', 'legacy', 'legacy', 'nft and legacy', 'both iptables'),
    nft: nftTable('one', 'inet'),
    second: nftTable('two', 'ip'),
    iptables,
    other: iptables,
  })
  .map(({ kind, nft, second, iptables: first, other }) => ({
    nft: kind === 'nft' || kind === 'nft and legacy' ? nft : kind === 'two' ? nft + second : '',
    iptablesNft: kind === 'iptables-nft' || kind === 'both iptables' ? first : '',
    legacy: kind === 'legacy' || kind === 'nft and legacy' ? first : kind === 'both iptables' ? other : '',
  }));
