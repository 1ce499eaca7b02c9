// One attacker and a thousand decoys on its wire, each of them a neighbour in the kernel's table: nobody's touch is on another's record.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests } from '../support/namespace.ts';

const skip = lacksKernelTests();

const configuration = `
limits: { sessions-per-source: 100000 }
diversions:
  - name: dmz
    kind: host
    interface: eth0
    decoys:
      - { addresses: 10.64.0.0/17, persona: all-open }
      - { addresses: "fd99:0:0:64::/64", persona: all-open }
`;

interface Tcppc {
  readonly flow: { readonly src: string; readonly sport: number; readonly dst: string; readonly dport: number };
  readonly payloads: readonly { readonly data: string }[];
}

test('one source port to 1,000 decoys gives 1,000 right sessions, TCP and UDP to 1,000 ports (IPv4 and IPv6)', { skip }, () =>
  withWeirLab({ configuration }, async (lab) => {
    await lab.up();
    const script = `
      const net = require('node:net'), dgram = require('node:dgram');
      const touch = (host, localPort, text) => new Promise((resolve, reject) => {
        const socket = net.connect({ host, port: 445, localPort });
        socket.on('error', reject);
        socket.on('connect', () => socket.write(text, () => setTimeout(() => { socket.resetAndDestroy(); resolve(); }, 1)));
      });
      (async () => {
        for (let n = 0; n < 1000; n++) await touch('10.64.' + (40 + (n >> 8)) + '.' + (n & 255), 40404, 'four ' + n);
        // An IPv6 decoy answers its first solicitation a third of a second late: it asks for a real owner before.
        for (let n = 0; n < 1000; n += 100)
          await Promise.all(Array.from({ length: 100 }, (_, k) => touch('fd99:0:0:64::4:' + (n + k + 1).toString(16), 40406, 'six ' + (n + k + 1))));
        for (const [kind, host] of [['udp4', '10.64.90.1'], ['udp6', 'fd99:0:0:64::90:1']]) {
          const socket = dgram.createSocket(kind);
          await new Promise((resolve) => socket.bind(40500, resolve));
          for (let n = 0; n < 1000; n++) {
            await new Promise((resolve) => socket.send(kind + ' ' + n, 20000 + n, host, resolve));
            if (n % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
          }
          socket.close();
        }
      })().catch((error) => { console.error(error); process.exit(1); });`;
    const { code, stderr } = await lab.attack([process.execPath, '-e', script], { timeoutMs: 120_000 });
    assert.equal(code, 0, stderr);
    await lab.settled();
    const { stdout } = await lab.weir(['export', 'tcppc'], { timeoutMs: 120_000 });
    const touches = stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Tcppc);
    const of = (sport: number, src: string): Tcppc[] => touches.filter(({ flow }) => flow.sport === sport && flow.src === src);
    const textOf = ({ payloads }: Tcppc): string =>
      Buffer.concat(payloads.map(({ data }) => Buffer.from(data, 'base64'))).toString();
    for (const [list, destination] of [
      [of(40404, '10.0.0.1'), (n: number) => `10.64.${40 + (n >> 8)}.${n & 255}:445`],
      [of(40406, 'fd99::1'), (n: number) => `fd99::64:0:0:4:${n.toString(16)}:445`],
      [of(40500, '10.0.0.1'), (n: number) => `10.64.90.1:${20_000 + n}`],
      [of(40500, 'fd99::1'), (n: number) => `fd99::64:0:0:90:1:${20_000 + n}`],
    ] as const) {
      assert.equal(list.length, 1000);
      assert.equal(new Set(list.map(({ flow }) => `${flow.dst} ${flow.dport}`)).size, 1000);
      // What was said to a decoy carries that decoy's number: no touch is on another's record.
      for (const touch of list) {
        const text = textOf(touch);
        assert.equal(`${touch.flow.dst}:${touch.flow.dport}`, destination(Number(text.split(' ')[1])), text);
      }
    }
  }),
);
