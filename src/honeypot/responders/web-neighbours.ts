// What travels beside HTTP: the HTTP/2 preface, FastCGI, JSON-RPC of miners and wallets.
// Sources: RFC 9113 sections 3.4, 6.5, 6.8; FastCGI 1.0; JSON-RPC 2.0; the Stratum mining protocol.

import { clip } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

/** SETTINGS, then GOAWAY with HTTP_1_1_REQUIRED. */
const http2Refusal = Buffer.from('000000040000000000' + '0000080700000000000000000000000d', 'hex');

class Http2Dialogue implements Dialogue {
  #told = false;

  receive(bytes: Buffer, talk: Conversation): number {
    if (this.#told) return bytes.length;
    // The preface is followed by the client's SETTINGS; both are in before the refusal.
    if (bytes.length < 24 + 9) return 0;
    this.#told = true;
    talk.send(http2Refusal);
    talk.end();
    return bytes.length;
  }
}

const fcgiAnswer = (id: number): Buffer => {
  const text = Buffer.from('Primary script unknown\n');
  const page = Buffer.from(
    'Status: 404 Not Found\r\nX-Powered-By: PHP/7.4.33\r\nContent-type: text/html; charset=UTF-8\r\n\r\nFile not found.\n',
  );
  const record = (type: number, body: Buffer): Buffer =>
    Buffer.concat([Buffer.from([1, type, id >> 8, id & 255, body.length >> 8, body.length & 255, 0, 0]), body]);
  return Buffer.concat([record(7, text), record(6, page), record(6, Buffer.alloc(0)), record(3, Buffer.alloc(8))]);
};

const fcgiDialogue: Dialogue = {
  receive(bytes, talk) {
    if (bytes.length < 8) return 0;
    const length = bytes.readUInt16BE(4);
    const used = 8 + length + bytes[6];
    if (bytes[0] !== 1) {
      talk.end();
      return bytes.length;
    }
    // A record's content may be longer than what may wait: standard input is skipped as it comes.
    if (bytes.length < used) return length > 60_000 ? end(bytes, talk) : 0;
    if (bytes[1] === 5 && length === 0) talk.send(fcgiAnswer(bytes.readUInt16BE(2)));
    return used;
  },
};

function end(bytes: Buffer, talk: Conversation): number {
  talk.end();
  return bytes.length;
}

interface Call {
  readonly id?: unknown;
  readonly method?: unknown;
  readonly params?: unknown;
}

const results: Readonly<Record<string, unknown>> = {
  'mining.subscribe': [
    [
      ['mining.set_difficulty', '1'],
      ['mining.notify', '1'],
    ],
    '08000002',
    4,
  ],
  'mining.authorize': true,
  'mining.extranonce.subscribe': true,
  eth_blockNumber: '0x10d4f2a',
  eth_accounts: [],
  eth_getWork: [],
  eth_chainId: '0x1',
  net_version: '1',
  web3_clientVersion: 'Geth/v1.10.26-stable-e5eb32ac/linux-amd64/go1.18.5',
  getinfo: { version: 180_000, blocks: 790_000, connections: 8 },
};

/** The answer to one call, or to the first of a batch; identifiers come back when they are plain. */
function answerCall(call: Call, talk: Conversation): string {
  const method = typeof call.method === 'string' ? call.method : '';
  const id = typeof call.id === 'number' || (typeof call.id === 'string' && call.id.length <= 64) ? call.id : null;
  const { params } = call;
  if (Array.isArray(params) && method === 'mining.authorize')
    talk.find({ userName: clip(String(params[0] ?? '')), password: clip(String(params[1] ?? '')) });
  else if (method === 'login' && typeof params === 'object' && params !== null) {
    const { login, pass } = params as { login?: unknown; pass?: unknown };
    talk.find({ userName: clip(String(login ?? '')), password: clip(String(pass ?? '')) });
    return JSON.stringify({ id, jsonrpc: '2.0', error: { code: -1, message: 'Unauthenticated' } });
  }
  if (Object.hasOwn(results, method)) return JSON.stringify({ id, jsonrpc: '2.0', result: results[method], error: null });
  return JSON.stringify({ id, jsonrpc: '2.0', error: { code: -32601, message: 'Method not found' } });
}

const jsonRpcDialogue: Dialogue = {
  receive(bytes, talk) {
    const line = bytes.indexOf(10);
    const text = bytes.toString('utf8', 0, line >= 0 ? line : Math.min(bytes.length, 32_768)).trim();
    const used = line >= 0 ? line + 1 : bytes.length;
    if (text === '') return used;
    let call: unknown;
    try {
      call = JSON.parse(text);
    } catch {
      // Without a line end the text may not be complete yet.
      if (line < 0 && bytes.length < 32_768) return 0;
      talk.send('{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}\n');
      talk.end();
      return bytes.length;
    }
    const first: unknown = Array.isArray(call) ? call[0] : call;
    talk.send(`${answerCall(typeof first === 'object' && first !== null ? (first as Call) : {}, talk)}\n`);
    return used;
  },
};

export const http2: Responder = { protocol: 'http2', open: () => new Http2Dialogue() };
export const fastcgi: Responder = { protocol: 'fastcgi', open: () => fcgiDialogue };
export const jsonRpc: Responder = { protocol: 'json-rpc', open: () => jsonRpcDialogue };
