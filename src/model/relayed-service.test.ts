import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AddressRange, parseRange } from './address.ts';
import { parsePorts } from './port-set.ts';
import { BindingTable, type RelayBinding } from './relayed-service.ts';

const place = { file: 'weir.yaml', line: 1 };
const range = (text: string): AddressRange => parseRange(text) as AddressRange;
const bind = (service: string, more: Partial<RelayBinding> = {}): RelayBinding => ({ diversion: 'dmz', service, place, ...more });

test('the most specific binding wins: addresses, then ports, then transport', () => {
  const table = new BindingTable([
    bind('wide'),
    bind('web', { ports: parsePorts('80,443') }),
    bind('net', { addresses: [range('10.0.0.0/24')] }),
    bind('one', { addresses: [range('10.0.0.7')], ports: parsePorts('1-1024') }),
    bind('dns', { ports: parsePorts('53'), transport: 'udp' }),
    bind('dns-any', { ports: parsePorts('53') }),
    bind('other', { diversion: 'branch' }),
  ]);
  assert.equal(table.find('dmz', '10.9.0.1', 22, 'tcp'), 'wide');
  assert.equal(table.find('dmz', '10.9.0.1', 443, 'tcp'), 'web');
  assert.equal(table.find('dmz', '10.0.0.8', 443, 'tcp'), 'net');
  assert.equal(table.find('dmz', '10.0.0.7', 22, 'tcp'), 'one');
  assert.equal(table.find('dmz', '10.0.0.7', 2222, 'tcp'), 'net');
  assert.equal(table.find('dmz', '10.9.0.1', 53, 'udp'), 'dns');
  assert.equal(table.find('dmz', '10.9.0.1', 53, 'tcp'), 'dns-any');
  assert.equal(table.find('branch', '2001:db8::1', 1, 'udp'), 'other');
  assert.equal(table.find('nowhere', '10.0.0.7', 22, 'tcp'), undefined);
});

test('a binding of IPv4 addresses does not take IPv6 ones', () => {
  const table = new BindingTable([bind('four', { addresses: [range('0.0.0.0/0')] })]);
  assert.equal(table.find('dmz', '::1', 22, 'tcp'), undefined);
  assert.equal(table.find('dmz', '1.2.3.4', 22, 'tcp'), 'four');
});
