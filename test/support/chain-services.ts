// What stands at the end of a chain: an inner gateway's machine and, behind it, one with OpenSSH, nginx, and programs that measure
// streams. It owns the decoys' addresses (AnyIP), so that whoever dials as the attacker reaches it at them; each service writes
// its own log, and a capture sees its wire.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type NamespaceLab, runCommand, type TestNamespace, until } from '../../src/kernel/namespace-lab.ts';
import { lacksProgram } from './namespace.ts';

export const chain = {
  /** Where the inner gateway takes what the one before hands on, on the wire between both. */
  door: '10.8.0.2:7000',
  before: '10.8.0.1',
  service: { 4: '10.200.0.9', 6: 'fd20::9' },
  from: { 4: '10.200.0.2/24', 6: 'fd20::2/64' },
  ssh: 22,
  /** nginx, dialled as the attacker. */
  plain: 8088,
  /** nginx, which expects a PROXY header there. */
  headed: 8080,
  /** Answers each datagram with the same bytes. */
  echo: 9999,
  /** Reads to the end, then sends as many bytes as it got and their SHA-256 in front, as hex. */
  bulk: 8089,
  /** Resets when it hears `reset`, and logs every reset it sees. */
  resets: 8090,
} as const;

export const lacksChainServices = (): string | false =>
  lacksProgram('sshd', 'openssh-server') ||
  lacksProgram('ssh-keyscan', 'openssh-client') ||
  lacksProgram('nginx', 'nginx-light') ||
  lacksProgram('tcpdump', 'tcpdump');

export interface ChainServices {
  readonly inner: TestNamespace;
  readonly machine: TestNamespace;
  /** What sshd, nginx and the programs logged so far. */
  log(of: 'ssh' | 'web' | 'programs'): string;
  /** Packets of the service's wire so far, one a line, without names. */
  captured(filter: string): Promise<string>;
}

const programs = (decoys: Readonly<Record<4 | 6, string>>): string => `
const net = require('node:net'), dgram = require('node:dgram'), { createHash } = require('node:crypto');
const log = (...words) => console.log(words.join(' '));
const ends = (s) => [s.remoteAddress.replace('::ffff:', ''), s.remotePort, s.localAddress.replace('::ffff:', ''), s.localPort].join(' ');
net.createServer({ allowHalfOpen: true }, (s) => {
  const hash = createHash('sha256');
  let bytes = 0;
  s.on('error', () => {});
  s.on('data', (d) => { hash.update(d); bytes += d.length; });
  s.on('end', () => {
    log('bulk', ends(s), bytes);
    s.write(hash.digest('hex'));
    const piece = Buffer.alloc(65536, 'weir');
    const more = () => {
      while (bytes > 0) {
        const part = piece.subarray(0, Math.min(bytes, piece.length));
        bytes -= part.length;
        if (!s.write(part)) { s.once('drain', more); return; }
      }
      s.end();
    };
    more();
  });
}).listen(${chain.bulk}, '::');
net.createServer({ allowHalfOpen: true }, (s) => {
  const who = ends(s);
  s.on('error', (e) => log('resets', who, e.code));
  s.on('data', (d) => { log('resets', who, 'heard', d); if (String(d) === 'reset') s.resetAndDestroy(); });
}).listen(${chain.resets}, '::', () => log('up'));
for (const [type, address] of [['udp4', '${decoys[4]}'], ['udp6', '${decoys[6]}']]) {
  const udp = dgram.createSocket(type).bind(${chain.echo}, address, () => log('up'));
  udp.on('message', (m, r) => { log('echo', r.address, r.port, address); udp.send(m, r.port, r.address); });
}`;

/** `directory` is the test's own; the lab ends what runs. */
export async function openChainServices(
  lab: NamespaceLab,
  sensor: TestNamespace,
  directory: string,
  decoys: Readonly<Record<4 | 6, string>>,
): Promise<ChainServices> {
  const [inner, machine] = [await lab.namespace('vm'), await lab.namespace('v')];
  await lab.join(
    { namespace: sensor, link: 'inner0', addresses: [`${chain.before}/24`] },
    { namespace: inner, link: 'eth0', addresses: ['10.8.0.2/24'] },
  );
  await lab.join(
    { namespace: inner, link: 'wire0', addresses: ['10.200.0.1/24', 'fd20::1/64'] },
    { namespace: machine, link: 'eth0', addresses: [`${chain.service[4]}/24`, `${chain.service[6]}/64`] },
  );
  const owned = [`${decoys[4]}/32`, `${decoys[6]}/128`].map((one) => `route add local ${one} dev lo\n`).join('');
  const back = [chain.from[4], chain.from[6]].map((one) => `route add default via ${one.split('/')[0]}\n`).join('');
  await machine.ip(owned + back);
  // Binding to an address that is only routed here; IPv4 needs no word for it.
  await machine.setSysctl('net/ipv6/ip_nonlocal_bind', '1');

  const file = (name: string): string => path.join(directory, name);
  await machine.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', file('host-key')]);
  writeFileSync(
    file('sshd.conf'),
    `Port ${chain.ssh}\nHostKey ${file('host-key')}\nPidFile none\nUsePAM no\nLogLevel VERBOSE\nUseDNS no\n`,
  );
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const logs = { ssh: '', programs: '' };
  const keep = (name: keyof typeof logs, argv: readonly string[]): void => {
    const child = machine.spawn(argv);
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text) => {
        if (logs[name].length < 1 << 20) logs[name] += String(text);
      });
  };
  keep('ssh', ['/usr/sbin/sshd', '-D', '-e', '-f', file('sshd.conf')]);
  keep('programs', [process.execPath, '-e', programs(decoys)]);
  const seen = '$remote_addr $remote_port $server_addr $server_port';
  const headed = '$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port';
  writeFileSync(
    file('nginx.conf'),
    `daemon off; master_process off; pid ${file('nginx.pid')}; error_log ${file('nginx.err')};
events {}
http {
  log_format plain "plain ${seen} $uri";
  log_format headed "headed ${headed} $uri";
  client_body_temp_path ${file('body')}; proxy_temp_path ${file('proxy')}; fastcgi_temp_path ${file('fastcgi')};
  uwsgi_temp_path ${file('uwsgi')}; scgi_temp_path ${file('scgi')};
  server { listen ${chain.plain}; listen [::]:${chain.plain}; access_log ${file('web.log')} plain; return 200 "${seen}\\n"; }
  server { listen ${chain.headed} proxy_protocol; access_log ${file('web.log')} headed; return 200 "${headed}\\n"; }
}
`,
  );
  machine.spawn(['nginx', '-c', file('nginx.conf'), '-p', directory]);
  machine.spawn(['tcpdump', '-i', 'eth0', '-U', '-Z', 'root', '-s', '200', '-c', '20000', '-w', file('wire.pcap')]);
  const listens = async (port: number): Promise<boolean> =>
    (await machine.run(['ss', '-Hltn', `sport = :${port}`])).stdout.trim() !== '';
  for (const port of [chain.ssh, chain.plain, chain.headed]) await until(`port ${port} listens`, () => listens(port));
  await until('the programs listen', () => logs.programs.split('up').length > 3);
  const read = (name: string): string => {
    try {
      return readFileSync(file(name), 'utf8');
    } catch {
      return '';
    }
  };
  await until('the capture runs', () => read('wire.pcap').length > 0);
  return {
    inner,
    machine,
    log: (of) => (of === 'web' ? read('web.log') : logs[of]),
    captured: async (filter) =>
      (await runCommand(['tcpdump', '-nn', '-t', '-r', file('wire.pcap'), filter], { anyCode: true })).stdout,
  };
}
