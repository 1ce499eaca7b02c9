// Which translation is a socket's: of its transport, and only where no other namespace may be meant.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, parseAddress, renderAddress } from '../../model/address.ts';
import { passingConnections, translatedViews } from './find-connections.ts';

const at = (text: string): Address => parseAddress(text) as Address;
const [client, outside, inside] = [at('203.0.113.9'), at('10.0.0.1'), at('172.17.0.2')];
const tuple = (source: Address, sourcePort: number, destination: Address, destinationPort: number) => ({
  source,
  sourcePort,
  destination,
  destinationPort,
});
const translation = (netns: string, protocol = 6) => ({
  netns: { inode: netns },
  entry: { protocol, original: tuple(client, 5000, outside, 8080), reply: tuple(inside, 80, client, 5000) },
});
const socket = (netns: string, transport: 'tcp' | 'udp' = 'tcp') => ({
  netns: { inode: netns },
  entry: { transport, local: inside, localPort: 80, remote: client, remotePort: 5000 },
});
const found = (...args: Parameters<typeof translatedViews>) => {
  const { views, unclear } = translatedViews(...args);
  const of = (transport: string) =>
    (views.get(`${transport} 172.17.0.2 80 203.0.113.9 5000`) ?? []).map(
      ({ local, localPort }) => `${renderAddress(local)} ${localPort}`,
    );
  return { tcp: of('tcp'), udp: of('udp'), unclear };
};

test('a socket has the translation of its transport', () => {
  assert.deepEqual(found([socket('web')], [translation('host')]), { tcp: ['10.0.0.1 8080'], udp: [], unclear: 0 });
  assert.deepEqual(found([socket('web', 'udp')], [translation('host', 17)]), { tcp: [], udp: ['10.0.0.1 8080'], unclear: 0 });
});

test('where several namespaces have the same ends no translation is given', () => {
  assert.deepEqual(found([socket('web'), socket('other')], [translation('host')]), { tcp: [], udp: [], unclear: 1 });
  assert.deepEqual(found([socket('web')], [translation('host'), translation('second')]), { tcp: [], udp: [], unclear: 1 });
});

test('what passes two namespaces with the same addresses is ended in both', () => {
  const entry = { ...translation('host').entry, tcpState: 'ESTABLISHED' };
  const places = (own: readonly string[], ...netns: string[]) =>
    passingConnections(
      netns.map((inode) => ({ netns: { inode }, entry })),
      new Set(own),
    ).map((one) => one.netns.inode);
  assert.deepEqual(places([], 'one', 'two', 'one'), ['one', 'two']);
  assert.deepEqual(places(['tcp 172.17.0.2 80 203.0.113.9 5000'], 'one', 'two'), [], 'it ends here');
});
