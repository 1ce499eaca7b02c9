// What heals a fault: now, and for good; the smallest there is, each with what takes it back. A line that begins with # is not a command
// but what only the operator or the program's author can do. Pure.

import { type Address, bitsOf, renderAddress } from '../../model/address.ts';
import type { DiagnosisFix } from '../../model/diagnosis.ts';
import type { Machine, MachineLink, MachineNamespace } from '../../model/machine.ts';
import { ruleAt } from './filter-hop.ts';
import { exceptionFrom, insideNamespace, nftPlace, quoted, quotedWords } from './fix-rule.ts';
import type { Fault, FaultParts, WalkHop } from './hop.ts';
import { decideRoute } from './route-decision.ts';
import { sameAddress } from './wire.ts';

/** RT_TABLE_MAIN, rtnetlink(7). */
const mainTable = 254;

type Draft = Omit<DiagnosisFix, 'when'> & { readonly when?: DiagnosisFix['when'] };

export function planFixes(machine: Machine, hop: WalkHop): DiagnosisFix[] {
  const { fault, namespace } = hop;
  if (!fault) return [];
  return draftsOf(machine, namespace, fault).map(({ when = 'now', cmd, undo, risk, scope }) => ({
    when,
    cmd: insideNamespace(namespace, cmd),
    undo: insideNamespace(namespace, undo),
    risk,
    scope,
  }));
}

const advice = (text: string, when: DiagnosisFix['when'] = 'now'): Draft => ({
  when,
  cmd: `# ${text}`,
  undo: '',
  risk: 'none by itself',
  scope: 'the program or its configuration',
});
const persist = (text: string): Draft => ({
  when: 'persist',
  cmd: `# ${text}`,
  undo: '',
  risk: 'takes effect with the next restart of what owns it',
  scope: 'for good',
});

/** What `ip route` prints of a state and does not read, and what names something that may be another by then. */
const notReplayable = /\b(dead|linkdown|unresolved|pervasive|expires|nhid|tos)\b/;

/** A host's route that wins over every network: back by where the question came from. In the table that decides for it. */
function hostRoute(namespace: MachineNamespace, parts: FaultParts): Draft[] {
  const { address, inputDevice, table = mainTable } = parts;
  if (!address || inputDevice === undefined) return [];
  const gateway = parts.gateway ?? defaultGateway(namespace, address, inputDevice);
  const onLink = gateway === undefined || sameAddress(gateway, address);
  const prefix = `${renderAddress(address)}/${bitsOf(address.family)}`;
  const place = table === mainTable ? '' : ` table ${table}`;
  const way = `${onLink ? '' : ` via ${renderAddress(gateway)}`} dev ${quoted(inputDevice)}`;
  const rest = {
    risk: 'lost with the next restart of the network; a host behind the other way with that very address is not reached meanwhile',
    scope: `only what goes to ${renderAddress(address)}`,
  };
  // Of routes of one prefix the kernel takes the smallest metric; `replace` replaces one of the same metric, and adds one where there is none.
  const [there] = namespace.routes
    .filter(
      (route) =>
        route.table === table && sameAddress(route.destination, address) && route.prefixLength === bitsOf(address.family),
    )
    .sort((a, b) => a.metric - b.metric);
  if (!there) {
    const words = `${prefix}${way}${place}`;
    return [{ cmd: `ip route add ${words}`, undo: `ip route del ${words}`, ...rest }];
  }
  const replacing = `ip route replace ${prefix}${way}${place}${there.metric === 0 ? '' : ` metric ${there.metric}`}`;
  if (there.partial || notReplayable.test(there.text)) return [advice(`${replacing}: instead of ${quotedWords(there.text)}`)];
  return [{ cmd: replacing, undo: `ip route replace ${quotedWords(there.text)}`, ...rest }];
}

/** A host of the network the device is in: the gateway of a route by it, else where the default leads. */
function defaultGateway(namespace: MachineNamespace, address: Address, device: string): Address | undefined {
  const routes = namespace.routes.filter(({ family, type }) => family === address.family && type === 'unicast');
  const hop = routes.flatMap(({ hops }) => hops).find((candidate) => candidate.device === device && candidate.via !== undefined);
  return hop?.via;
}

/** Names of devices that sysctl(8) would read as more than a name: its separator, its patterns. */
const oddToSysctl = /[=*?[\]\\\s]/;

/** With slashes: a dot in a key may be one of a device's name (eth0.100). All of them or none. */
function sysctls(
  namespace: MachineNamespace,
  values: readonly (readonly [key: string, value: string])[],
  risk: string,
  scope: string,
): Draft {
  if (values.length === 0 || values.some(([key]) => oddToSysctl.test(key)))
    return advice(`write into /proc/sys: ${values.map(([key, value]) => `${value} to ${key}`).join(', ')}`);
  const write = (of: (key: string, value: string) => string): string =>
    `sysctl -w ${values.map(([key, value]) => quoted(`${key}=${of(key, value)}`)).join(' ')}`;
  const cmd = write((_, value) => value);
  const undo = write((key) => namespace.sysctls[key] ?? '0');
  return { cmd: values.length === 1 ? cmd : `${cmd} || { ${undo}; false; }`, undo, risk, scope };
}

function exception(namespace: MachineNamespace, fault: Fault, risk: string, options: { anySource?: boolean } = {}): Draft[] {
  const { rule } = fault.parts;
  const chain =
    rule &&
    namespace.filter?.chains.find(
      ({ table, family, name, backend }) =>
        table === rule.table && family === rule.family && name === rule.chain && backend === rule.backend,
    );
  const at = rule && chain && namespace.filter ? chain.rules.indexOf(ruleAt(namespace.filter, rule) ?? chain.rules[0]) + 1 : 1;
  const commands = exceptionFrom(fault.parts, { ...options, position: Math.max(1, at) });
  return commands ? [{ ...commands, risk }] : [advice('take the rule away where it was made')];
}

const whoWrote = ({ rule }: FaultParts): string =>
  rule?.owner
    ? `change it in ${rule.owner}, which writes this rule again when it starts`
    : 'write it where the rules of this machine are kept (/etc/nftables.conf, iptables-persistent)';

function draftsOf(machine: Machine, namespace: MachineNamespace, fault: Fault): Draft[] {
  const { parts } = fault;
  const { address, link, listener, packet } = parts;
  if (parts.rule?.owner === 'weir')
    return [
      advice('this is a decoy, and its persona says so: give it another persona, or bind a service to that port, in weir.yaml'),
    ];
  switch (fault.id) {
    case 'fw-rule-drop':
    case 'fw-legacy-drop':
    case 'fw-reject-rst':
    case 'fw-reject-icmp':
    case 'fw-reply-drop':
    case 'fw-rate-limit':
    case 'docker-raw-isolation':
      return [
        ...exception(namespace, fault, 'somebody meant this rule: ask why before it stays open'),
        persist(
          fault.id === 'docker-raw-isolation'
            ? 'publish the port (`-p`), or allow direct routing to that network in the engine'
            : whoWrote(parts),
        ),
      ];
    case 'ct-invalid-asymmetric':
      return [
        ...exception(namespace, fault, 'packets that connection tracking cannot place are let through for this flow'),
        persist('make both directions take the same router, or let this one track neither'),
      ];
    case 'nfqueue-no-consumer':
      return [
        ...exception(namespace, fault, 'this flow is no longer inspected'),
        persist('start the program that reads the queue, or give the rule --queue-bypass'),
      ];
    case 'banned': {
      const { set } = parts;
      if (!packet) return [];
      const source = renderAddress(packet.source);
      const lasting = persist(
        `fail2ban-client set ${quoted(parts.jail ?? 'JAIL')} unbanip ${source}; and ignoreip for it in jail.local`,
      );
      if (!set) return [...exception(namespace, fault, 'the ban had a reason: see the log of the jail'), lasting];
      if (set.backend === 'legacy') {
        const add = `ipset add ${quoted(set.name)} ${source}`;
        return [
          {
            cmd: `ipset del ${quoted(set.name)} ${source}`,
            // For ever has to be said where the set has a time of its own, and cannot be where it knows none.
            undo: parts.expires === undefined ? `${add} timeout 0 2>/dev/null || ${add}` : `${add} timeout ${parts.expires}`,
            risk: 'it is banned again when the jail sees the same behaviour',
            scope: `one address, ${source}`,
          },
          lasting,
        ];
      }
      const place = nftPlace(set.family, set.table, set.name);
      if (place === undefined) return [lasting];
      const timeout = parts.expires === undefined ? '' : ` timeout ${parts.timeout ?? parts.expires}s expires ${parts.expires}s`;
      return [
        {
          cmd: `nft delete element ${place} '{ ${source} }'`,
          undo: `nft add element ${place} '{ ${source}${timeout} }'`,
          risk: 'it is banned again when the jail sees the same behaviour',
          scope: `one address, ${source}`,
        },
        lasting,
      ];
    }
    case 'rpfilter':
      return [
        sysctls(
          namespace,
          [[`net/ipv4/conf/${parts.inputDevice}/rp_filter`, '2']],
          'forged sources that have a route by another device are no longer dropped there',
          `what comes in by ${parts.inputDevice}`,
        ),
        persist(`net/ipv4/conf/${parts.inputDevice}/rp_filter=2 in /etc/sysctl.d, or route back the way it comes`),
      ];
    case 'return-route-captured-by-bridge':
      return [
        ...hostRoute(namespace, parts),
        persist('give the container engine networks that are nobody else’s: "default-address-pools" in /etc/docker/daemon.json'),
      ];
    case 'no-return-route':
    case 'return-route-blackhole':
      return [...hostRoute(namespace, parts), persist('put the route into the network configuration of this machine')];
    case 'policy-rule-prohibit':
    case 'policy-route-captured':
      return [
        ...policyRule(namespace, parts),
        persist('change the rule where it is made (systemd-networkd, a VPN client, /etc/network)'),
      ];
    case 'gateway-ip-is-local': {
      if (!link || !address) return [advice('take the address off the other link')];
      const prefix = `${renderAddress(address)}/${parts.prefixLength ?? bitsOf(address.family)}`;
      const lasting = persist('give that bridge another network: it has the one the machine itself is in');
      if (!comesBack(namespace, link, address))
        return [
          advice(`ip addr del ${prefix} dev ${quoted(link.name)}: with it goes what \`ip addr add\` does not bring back`),
          lasting,
        ];
      return [
        {
          cmd: `ip addr del ${prefix} dev ${quoted(link.name)}`,
          undo: `ip addr add ${prefix} dev ${quoted(link.name)}`,
          risk: `what uses ${link.name} loses its gateway: containers there, most likely`,
          scope: `address ${renderAddress(address)} of ${link.name}`,
        },
        lasting,
      ];
    }
    case 'forwarding-disabled':
      // It writes to every device and drops what routers announced: setting it back restores neither.
      if (packet?.family === 6)
        return [
          advice(
            'sysctl -w net/ipv6/conf/all/forwarding=1: default routes that routers announced go with it (accept_ra=2 keeps them)',
          ),
          persist('net.ipv6.conf.all.forwarding=1 in /etc/sysctl.d, and accept_ra=2 for links whose routes are announced'),
        ];
      return [
        sysctls(
          namespace,
          (parts.devices ?? []).map((device) => [`net/ipv4/conf/${device}/forwarding`, '1'] as const),
          'this machine routes between these devices, as far as its rules let it',
          `devices ${(parts.devices ?? []).join(' and ')}`,
        ),
        persist('net.ipv4.ip_forward=1 in /etc/sysctl.d'),
      ];
    case 'bridge-nf-drop':
      return [
        sysctls(
          namespace,
          [[`net/bridge/bridge-nf-call-ip${packet?.family === 6 ? '6' : ''}tables`, '0']],
          'rules that count on seeing bridged frames (isolation between containers of one network) no longer do',
          'all bridges of this namespace',
        ),
        persist('net.bridge.bridge-nf-call-iptables=0 in /etc/sysctl.d, or a rule that accepts this bridge'),
      ];
    case 'ipsec-policy':
      return ipsec(parts);
    case 'qdisc-drop':
      return qdisc(namespace, fault);
    case 'link-down':
      return [
        ...(link && !link.up
          ? [
              {
                cmd: `ip link set ${quoted(link.name)} up`,
                undo: `ip link set ${quoted(link.name)} down`,
                risk: 'somebody may have switched it off on purpose',
                scope: `link ${link.name}`,
              },
            ]
          : [advice(`there is no signal on ${link?.name ?? 'the link'}: the cable, the switch, or the other end of the pair`)]),
      ];
    case 'reply-lost-off-host':
      return [
        {
          cmd: `ip neigh del ${renderAddress(address ?? { family: 4, value: 0n })} dev ${quoted(link?.name ?? '')}`,
          undo: `ip neigh replace ${renderAddress(address ?? { family: 4, value: 0n })} lladdr ${quoted(parts.mac ?? '')} dev ${quoted(link?.name ?? '')} nud permanent`,
          risk: 'a static entry is sometimes there against ARP spoofing',
          scope: 'one neighbour, which is then asked for again',
        },
      ];
    case 'pmtu-blackhole':
      return [
        ...(parts.rule || parts.policyOf ? exception(namespace, fault, 'none known: RFC 1191 needs these messages') : []),
        persist('never drop ICMP "fragmentation needed"; or clamp the MSS (TCPMSS --clamp-mss-to-pmtu) on the router'),
      ];
    case 'nat-backend-conflict':
      return [
        ...exception(namespace, fault, 'who counted on the other destination loses it', { anySource: true }),
        persist('keep the rules of one backend: iptables-legacy beside nft is chosen with update-alternatives'),
      ];
    case 'service-not-listening':
      return [
        listener
          ? advice(
              `let ${holderOf(machine, listener.pids)}, which has ${renderAddress(listener.address)}, listen on ${renderAddress(packet?.destination ?? listener.address)} too`,
            )
          : advice('start the program that serves this port, and see its log'),
      ];
    case 'service-bound-loopback':
      return [
        advice(
          `let ${holderOf(machine, listener?.pids)} listen on the address that is asked for instead of ${listener ? renderAddress(listener.address) : 'loopback'}`,
        ),
      ];
    case 'service-v6only':
      return [advice(`let ${holderOf(machine, listener?.pids)} listen on 0.0.0.0 too, or without IPV6_V6ONLY`)];
    case 'dnat-target-down':
      return [
        advice(
          `start what was at ${address ? renderAddress(address) : 'the target'}, or publish the port anew: the rule points at an address nobody has`,
        ),
      ];
    case 'dnat-target-not-listening':
      return [
        advice(
          `let the program in ${namespace.container?.name ?? (namespace.name || 'the container')} listen on 0.0.0.0, or correct the published port`,
        ),
      ];
    case 'accept-queue-full':
      return [
        advice(`${holderOf(machine, listener?.pids)} does not accept: see why it hangs; restart it when it must be`),
        persist('a longer queue (its backlog, net.core.somaxconn) only buys time'),
      ];
    case 'cgroup-bpf-deny':
      return cgroup(parts);
    case 'martian-address':
      return [advice('ask for an address that the service has on a network both ends share')];
    case 'next-hop-unreachable':
      return [advice(`see whether ${address ? renderAddress(address) : 'the next hop'} is switched on and on that network`)];
    case 'no-route-to-destination':
      return [advice('give this machine a route to that network, or correct the address')];
    case 'app-abort':
      return [
        advice(
          'the program closes what it has not read: its log and its limits say why (allow lists, TLS wanted, too many clients)',
        ),
      ];
    default:
      return [];
  }
}

/** Of an address that is taken away: that nothing else goes with it (other addresses of its network, routes by its link, what it was given). */
const comesBack = ({ routes }: MachineNamespace, link: MachineLink, address: Address): boolean => {
  const own = link.addresses.filter((one) => one.address.family === 4);
  const others = routes.filter(
    ({ family, protocol, hops }) => family === 4 && protocol !== 'kernel' && hops.some(({ device }) => device === link.name),
  );
  return own.length === 1 && sameAddress(own[0].address, address) && own[0].plain === true && others.length === 0;
};

const holderOf = (machine: Machine, pids: readonly number[] | undefined): string => {
  const process = machine.processes.find(({ pid }) => pids?.includes(pid));
  return process ? `${process.comm} (pid ${process.pid})` : 'the program';
};

/** A rule in front of the one that refuses: this address by the main table. */
function policyRule(namespace: MachineNamespace, parts: FaultParts): Draft[] {
  const { address, rulePriority = 0 } = parts;
  if (!address || rulePriority < 2) return hostRoute(namespace, parts);
  const kept = { ...namespace, rules: namespace.rules.filter(({ priority }) => priority !== rulePriority) };
  if (decideRoute(kept, { to: address }).kind !== 'route') return hostRoute(namespace, parts);
  const rule = `to ${renderAddress(address)} lookup main pref ${rulePriority - 1}`;
  const ip = address.family === 6 ? 'ip -6' : 'ip';
  return [
    {
      cmd: `${ip} rule add ${rule}`,
      undo: `${ip} rule del ${rule}`,
      risk: 'what the other rule was for (a VPN, a blocked network) does not hold for this address',
      scope: `what goes to ${renderAddress(address)}`,
    },
  ];
}

function ipsec({ policy = '' }: FaultParts): Draft[] {
  const selector = /^src (\S+) dst (\S+)((?: proto \S+| sport \d+| dport \d+)*)/.exec(policy);
  const direction = /\bdir (in|out|fwd)/.exec(policy)?.[1];
  const priority = /\bpriority (\d+)/.exec(policy)?.[1] ?? '0';
  if (!selector || !direction) return [advice('take the policy away where it was made')];
  const words = quotedWords(`dir ${direction} src ${selector[1]} dst ${selector[2]}${selector[3]}`);
  return [
    {
      cmd: `ip xfrm policy delete ${words}`,
      undo: `ip xfrm policy add ${words} action block priority ${priority}`,
      risk: 'what it kept out comes in unencrypted',
      scope: `all that this policy selects: ${words}`,
    },
    persist('change it in the IPsec daemon (strongSwan, Libreswan), which writes it again'),
  ];
}

/** What tc prints as what it reads: a latency is called otherwise, and one of nothing must be said as the limit it came from. */
const tcParameters = (text: string): string =>
  text.replace(/\blat 0us\b/, `limit ${/\bburst (\d+\w*)/.exec(text)?.[1] ?? '0'}`).replace(/\blat /, 'latency ');

/** Taken away only where it lets nothing through and is alone: what hangs below one (classes, filters) no command of one line brings back. */
function qdisc(namespace: MachineNamespace, { certain, parts: { qdisc: found } }: Fault): Draft[] {
  if (!found) return [];
  const device = quoted(found.device);
  const alone = namespace.qdiscs.filter((other) => other.device === found.device && !/^(ingress|clsact)$/.test(other.kind));
  if (!certain || !/^(tbf|netem)$/.test(found.kind) || alone.length > 1)
    return [
      advice(`tc -s qdisc show dev ${device}: whether what it drops is more than it should; give it a higher rate or limit`),
    ];
  const words = /^qdisc (\S+) (\S+) (?:dev \S+ )?root (?:refcnt \d+ )?(.*?)\s*$/.exec(found.text);
  if (!words) return [advice(`tc qdisc show dev ${device}: give it parameters that let packets through`)];
  return [
    {
      cmd: `tc qdisc del dev ${device} root`,
      undo: `tc qdisc add dev ${device} root ${quotedWords(`handle ${words[2]} ${words[1]} ${tcParameters(words[3])}`)}`,
      risk: 'what it shaped goes at full speed',
      scope: `all that leaves by ${found.device}`,
    },
    persist('correct it where it is made (systemd-networkd, a shaping script)'),
  ];
}

function cgroup({ cgroup: path, packet }: FaultParts): Draft[] {
  const unit = /([\w@.\\:-]+\.(?:service|slice|scope))(?:\/|$)/.exec(path ?? '')?.[1];
  const source = packet ? renderAddress(packet.source) : 'SOURCE';
  return [
    advice(
      unit
        ? `systemctl set-property --runtime ${quoted(unit)} IPAddressAllow=${source}   (undo: systemctl revert --runtime ${quoted(unit)})`
        : `a BPF program of cgroup ${path ?? '?'} denies it: see who attached it (bpftool cgroup show), and its allow list`,
    ),
    persist('IPAddressAllow= in the unit'),
  ];
}
