// UDP protocols that are named and never answered: their honest answer is larger than the question, or reveals us.
// One line each; `ports` limits what has no magic of its own to the ports it lives on.

import type { DatagramResponder } from '../datagram.ts';

type Test = (payload: Buffer) => boolean;

const text =
  (...beginnings: readonly string[]): Test =>
  (payload) => {
    const head = payload.toString('latin1', 0, 32);
    return beginnings.some((beginning) => head.startsWith(beginning));
  };

const bytes = (hex: string): Test => {
  const wanted = Buffer.from(hex, 'hex');
  return (payload) => payload.length >= wanted.length && payload.subarray(0, wanted.length).equals(wanted);
};

/** Any payload on the protocol's own port. */
const anything: Test = () => true;

/** `bound`: told by the port too, because the bytes alone say little. */
const silent = (protocol: string, ports: readonly number[], test: Test, bound = false): DatagramResponder => ({
  protocol,
  ports,
  recognises: (payload, port) => (!bound || ports.includes(port)) && test(payload),
});

export const silentResponders: readonly DatagramResponder[] = [
  silent('ssdp', [1900], text('M-SEARCH ', 'NOTIFY * HTTP')),
  silent(
    'ws-discovery',
    [3702],
    (payload) =>
      payload.includes('schemas.xmlsoap.org') || payload.includes('<:/>') || (payload[0] === 0x3c && payload.length < 32),
  ),
  silent('ipmi', [623], bytes('0600ff')),
  silent('mssql-browser', [1434], (payload) => payload.length <= 40 && [2, 3, 4, 15].includes(payload[0]), true),
  silent('nat-pmp', [5351], (payload) => payload.length >= 2 && payload[0] <= 2 && payload[1] < 0x80, true),
  silent('openvpn', [1194], (payload) => payload.length >= 14 && (payload[0] >> 3 === 7 || payload[0] >> 3 === 1), true),
  silent('rip', [520], (payload) => payload.length >= 24 && payload[0] === 1 && (payload[1] === 1 || payload[1] === 2)),
  silent('xdmcp', [177], (payload) => payload.length >= 7 && payload.readUInt16BE(0) === 1 && payload.readUInt16BE(2) <= 3, true),
  silent(
    'ubiquiti',
    [10001],
    (payload) => payload.length >= 4 && (payload[0] === 1 || payload[0] === 2) && payload.readUInt16BE(2) <= payload.length,
    true,
  ),
  silent('db2', [523], text('DB2GETADDR')),
  silent('digi', [2362], text('DIGI\0', 'DVKT\0', 'DGDP\0')),
  silent('citrix', [1604], (payload) => payload.length >= 4 && payload.readUInt16LE(0) === payload.length, true),
  silent('pcanywhere', [5632, 22], text('NQ', 'ST'), true),
  silent('sentinel', [5093], anything, true),
  silent('netis', [53413], anything, true),
  silent(
    'wdbrpc',
    [17185],
    (payload) => payload.length >= 24 && payload.readUInt32BE(8) === 2 && payload.readUInt32BE(12) >= 0x40000000,
  ),
  silent('ard', [3283], bytes('001400')),
  silent('rdp', [3389], (payload) => payload.length >= 16 && payload.readUInt32BE(0) === 0xffffffff, false),
  silent('rdp', [3389], (payload) => payload.length >= 8 && payload[0] === 0, true),
  silent('chargen', [19], anything, true),
  silent('qotd', [17], anything, true),
  silent('echo', [7], anything, true),
  silent('dht', [6881], text('d1:ad2:id20:', 'd1:rd2:id20:')),
  silent('syslog', [514], (payload) => payload[0] === 0x3c && /^<\d{1,3}>/.test(payload.toString('latin1', 0, 8))),
  silent(
    'ike',
    [500, 4500],
    (payload) =>
      payload.length >= 28 && (payload[17] === 0x10 || payload[17] === 0x20) && payload.readUInt32BE(24) === payload.length,
  ),
  silent(
    'radius',
    [1812, 1813],
    (payload) => payload.length >= 20 && payload[0] <= 13 && payload.readUInt16BE(2) === payload.length,
    true,
  ),
  silent('wireguard', [51820], (payload) => payload.length === 148 && payload.readUInt32LE(0) === 1),
];
