// Protocols with a request line (HTTP, RTSP, SIP), the HTTP/2 preface, and JSON-RPC.
// Sources: RFC 9112 section 3, RFC 2326 section 6.1, RFC 3261 section 7.1, RFC 9113 section 3.4, JSON-RPC 2.0.

import { firstBytes, firstLine, lineLimit, prefix, type Signature, type Verdict } from '../signature.ts';

const httpMethods = [
  'GET',
  'POST',
  'HEAD',
  'PUT',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'TRACE',
  'TRACK',
  'DEBUG',
  'CONNECT',
  'PROPFIND',
  'PROPPATCH',
  'MKCOL',
  'COPY',
  'MOVE',
  'LOCK',
  'UNLOCK',
  'SEARCH',
  'REPORT',
  'M-SEARCH',
  'NOTIFY',
  'SUBSCRIBE',
  'UNSUBSCRIBE',
  'PURGE',
  'BPROPFIND',
  'RPC_IN_DATA',
  'RPC_OUT_DATA',
  'CCM_POST',
  'VERSION-CONTROL',
];
const rtspMethods = [
  'OPTIONS',
  'DESCRIBE',
  'SETUP',
  'PLAY',
  'PAUSE',
  'TEARDOWN',
  'ANNOUNCE',
  'RECORD',
  'GET_PARAMETER',
  'SET_PARAMETER',
];
const sipMethods = [
  'OPTIONS',
  'REGISTER',
  'INVITE',
  'ACK',
  'BYE',
  'CANCEL',
  'SUBSCRIBE',
  'NOTIFY',
  'MESSAGE',
  'INFO',
  'PUBLISH',
  'REFER',
  'PRACK',
  'UPDATE',
];

function requestLine(protocol: string, versions: readonly string[], methods: readonly string[], lone: boolean): Signature {
  const known = new Set(methods);
  const letters = [...new Set(methods.map((method) => method[0]))].join('');
  return {
    protocol,
    first: firstBytes(letters + letters.toLowerCase()),
    test(bytes): Verdict {
      let end = 0;
      while (end < bytes.length && end < 20 && bytes[end] !== 0x20 && bytes[end] !== 10 && bytes[end] !== 13) end += 1;
      const method = bytes.toString('latin1', 0, end).toUpperCase();
      if (end === bytes.length) return methods.some((candidate) => candidate.startsWith(method)) ? 'more' : 'no';
      if (!known.has(method)) return 'no';
      if (bytes[end] !== 0x20) return lone && (method === 'GET' || method === 'HEAD') && bytes[0] < 0x60 ? 'match' : 'no';
      const line = firstLine(bytes);
      if (line === undefined) return bytes.length < lineLimit ? 'more' : lone && bytes[end + 1] === 0x2f ? 'match' : 'no';
      const space = line.lastIndexOf(' ');
      const version = line.slice(space + 1);
      if (space > end || version.length < line.length) {
        for (const wanted of versions) if (version.toUpperCase().startsWith(wanted)) return 'match';
      }
      // HTTP/0.9 and sloppy tools: a path and nothing, or nonsense, behind it.
      return lone && (bytes[end + 1] === 0x2f || line.startsWith('http', end + 1)) && !/ (?:RTSP|SIP)\//.test(line)
        ? 'match'
        : 'no';
    },
  };
}

export const webSignatures: readonly Signature[] = [
  { protocol: 'http2', first: firstBytes('P'), test: (bytes) => prefix(bytes, Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')) },
  requestLine('rtsp', ['RTSP/'], rtspMethods, false),
  requestLine('sip', ['SIP/'], sipMethods, false),
  requestLine('http', ['HTTP/'], httpMethods, true),
  {
    protocol: 'json-rpc',
    first: firstBytes('{['),
    test(bytes) {
      const text = bytes.toString('latin1', 0, lineLimit);
      if (!/^\s*[{[]\s*(?:["{}\]]|$)/.test(text)) return 'no';
      if (text.includes('"jsonrpc"') || text.includes('"method"') || text.includes('"execute"')) return 'match';
      const last = text.trimEnd().at(-1);
      return text.length < 4096 && last !== '}' && last !== ']' ? 'more' : 'no';
    },
  },
];
