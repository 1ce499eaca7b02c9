// Real senders and receivers of PROXY headers, HAProxy and nginx, in a namespace of their own, and our reader behind them on a
// UNIX socket, so that the test's own process needs no namespace. Ends with `close`, then the lab.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProxyHeaderReader, type ProxyReading } from '../../src/model/proxy-header-reader.ts';
import { type NamespaceLab, runCommand, type TestNamespace, until } from './namespace.ts';

/** The client's addresses, and those of HAProxy and nginx, by family. */
export const client = { 4: '203.0.113.9', 6: '2001:db8::9' } as const;
export const peer = { 4: '10.0.0.7', 6: '2001:db8::7' } as const;

/** Where each listens, on both of the peers' addresses. */
export const port = {
  haproxyV1: 8001,
  haproxyV2: 8002,
  /** Speaks TLS, and says in TLVs all that HAProxy 2.6 can say. */
  haproxyTlvs: 8003,
  /** One IPv6 socket for both families. */
  haproxyBoth: 8004,
  haproxyAccepts: 8006,
  nginxV1: 9001,
  nginxAccepts: 9002,
  nginxUdp: 9003,
  nginxUdpTarget: 9004,
} as const;

export const nginxStreamModule = '/usr/lib/nginx/modules/ngx_stream_module.so';
const seen = '|%[src]|%[src_port]|%[dst]|%[dst_port]|%[fc_pp_authority]|%[fc_pp_unique_id]|';
const nginxSeen = '|$proxy_protocol_addr|$proxy_protocol_port|$proxy_protocol_server_addr|$proxy_protocol_server_port|';

const haproxyOf = (directory: string): string => {
  const binds = (number: number, options = ''): string =>
    `  bind ${peer[4]}:${number}${options}\n  bind [${peer[6]}]:${number}${options}\n`;
  const ours = `server ours unix@${directory}/ours`;
  return `global
  nbthread 1
defaults
  mode tcp
  timeout client 5s
  timeout server 5s
  timeout connect 5s
listen v1
${binds(port.haproxyV1)}  ${ours} send-proxy
listen v2
${binds(port.haproxyV2)}  ${ours} send-proxy-v2
listen tlvs
${binds(port.haproxyTlvs, ` ssl crt ${directory}/pair.pem alpn weir`)}  unique-id-format id-of-%cp
  ${ours} send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl,cert-cn,ssl-cipher,cert-sig,cert-key
listen both
  bind :::${port.haproxyBoth} v4v6
  ${ours} send-proxy-v2
listen checked
  bind ${peer[4]}:8005
  server ours unix@${directory}/checks send-proxy-v2 check check-send-proxy inter 100ms
frontend accepts
  mode http
${binds(port.haproxyAccepts, ' accept-proxy')}  http-request return status 200 content-type text/plain lf-string "${seen}"
`;
};

const nginxOf = (directory: string): string => {
  const listens = (number: number, options = ''): string =>
    `listen ${peer[4]}:${number}${options}; listen [${peer[6]}]:${number}${options};`;
  return `load_module ${nginxStreamModule};
daemon off; master_process off; pid ${directory}/nginx.pid; error_log stderr;
events { worker_connections 64; }
stream {
  server { ${listens(port.nginxV1)} proxy_pass unix:${directory}/ours; proxy_protocol on; proxy_half_close on; }
  server { ${listens(port.nginxAccepts, ' proxy_protocol')} return "${nginxSeen}"; }
  server { ${listens(port.nginxUdp, ' udp')} proxy_pass ${peer[4]}:${port.nginxUdpTarget}; proxy_protocol on; proxy_timeout 2s; }
}
`;
};

/** What arrived on one connection, as far as our reader got with it. */
export interface Arrival {
  readonly reading: ProxyReading;
  /** What came behind the header, in Latin-1. */
  readonly payload: string;
}

export class ProxyPeers {
  readonly place: TestNamespace;
  readonly #directory: string;
  readonly #servers: Server[] = [];
  /** Of the connections HAProxy and nginx relayed, in the order in which their senders ended them. */
  readonly arrivals: Arrival[] = [];
  /** Of HAProxy's own health checks. */
  readonly checks: Arrival[] = [];

  private constructor(place: TestNamespace) {
    this.place = place;
    this.#directory = mkdtempSync(join(tmpdir(), 'weir-peers-'));
  }

  static async open(lab: NamespaceLab): Promise<ProxyPeers> {
    const place = await lab.namespace('p');
    await place.ip(
      [client[4], peer[4], client[6], peer[6]]
        .map((address) => `addr add ${address}/${address.includes(':') ? '128 nodad' : 32} dev lo\n`)
        .join(''),
    );
    const peers = new ProxyPeers(place);
    await peers.#listen('ours', peers.arrivals);
    await peers.#listen('checks', peers.checks);
    await peers.#start();
    return peers;
  }

  /** One connection from `from` to `to`, plain or TLS; what came back, in Latin-1. The client's end is closed after `bytes`. */
  async touch(options: {
    readonly from: { readonly ip: string; readonly port: number };
    readonly to: { readonly ip: string; readonly port: number };
    readonly bytes: Uint8Array;
    readonly serverName?: string;
  }): Promise<string> {
    const { from, to, bytes, serverName } = options;
    const { stdout } = await this.place.run([process.execPath, '-e', clientScript], {
      input: JSON.stringify({ from, to, hex: Buffer.from(bytes).toString('hex'), serverName }),
    });
    return stdout;
  }

  async close(): Promise<void> {
    for (const server of this.#servers) await new Promise((resolve) => server.close(resolve));
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #listen(name: string, arrivals: Arrival[]): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const reader = new ProxyHeaderReader();
      let reading: ProxyReading = { state: 'more' };
      let payload = '';
      socket.on('error', () => {});
      socket.on('data', (chunk) => {
        if (reading.state === 'done') payload += chunk.toString('latin1');
        else {
          reading = reader.push(chunk);
          if (reading.state === 'done') payload += Buffer.from(reading.rest).toString('latin1');
        }
      });
      socket.on('end', () => {
        if (arrivals.length < 100) arrivals.push({ reading, payload });
        socket.end('seen');
      });
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(join(this.#directory, name), resolve));
  }

  async #start(): Promise<void> {
    const file = (name: string): string => join(this.#directory, name);
    await runCommand([
      ...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=decoy.example', '-keyout', file('key.pem'), '-out', file('pair.pem')],
    ]);
    const key = (await runCommand(['cat', file('key.pem')])).stdout;
    writeFileSync(file('pair.pem'), key, { flag: 'a' });
    writeFileSync(file('haproxy.cfg'), haproxyOf(this.#directory));
    writeFileSync(file('nginx.conf'), nginxOf(this.#directory));
    for (const [name, argv, wanted] of [
      ['HAProxy', ['haproxy', '-db', '-f', file('haproxy.cfg')], port.haproxyAccepts],
      ['nginx', ['nginx', '-c', file('nginx.conf')], port.nginxAccepts],
    ] as const) {
      const child = this.place.spawn(argv);
      let words = '';
      for (const stream of [child.stdout, child.stderr])
        stream?.on('data', (chunk) => {
          if (words.length < 4096) words += chunk;
        });
      await until(`${name} listens`, async () => {
        if (child.exitCode !== null) throw new Error(`${name} does not start: ${words}`);
        return (await this.place.run(['ss', '-ltn'])).stdout.includes(`[${peer[6]}]:${wanted} `);
      });
    }
  }
}

const clientScript = `
const { from, to, hex, serverName } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const tcp = require('node:net').connect({ host: to.ip, port: to.port, localAddress: from.ip, localPort: from.port, allowHalfOpen: true });
const socket = serverName === undefined ? tcp
  : require('node:tls').connect({ socket: tcp, servername: serverName, rejectUnauthorized: false, ALPNProtocols: ['weir'] });
setTimeout(() => { console.error('no end'); process.exit(1); }, 10000).unref();
socket.on('data', (chunk) => process.stdout.write(chunk, 'latin1'));
for (const one of new Set([tcp, socket])) one.on('error', (error) => { if (error.code !== 'ECONNRESET') { console.error(error.message); process.exit(1); } });
socket.end(Buffer.from(hex, 'hex'));
`;
