// SOCKS 4, 4a and 5: takes credentials, says yes to every CONNECT and connects to nothing. What the client then says to
// its target is detected anew as if it had dialled that port here. Sources: RFC 1928, RFC 1929, the SOCKS4 and 4A memos.

import { clip } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

function proxied(port: number, talk: Conversation): void {
  talk.find({ tags: ['proxy-request'] });
  talk.redetect(port === 0 ? talk.destination.port : port);
}

class Socks5Dialogue implements Dialogue {
  #step: 'methods' | 'login' | 'request' = 'methods';

  receive(bytes: Buffer, talk: Conversation): number {
    if (bytes.length < 2) return 0;
    if (this.#step === 'methods') {
      if (bytes[0] !== 5) return this.#end(bytes, talk);
      const used = 2 + bytes[1];
      if (bytes.length < used) return 0;
      const methods = bytes.subarray(2, used);
      // A password tells more than none.
      const method = methods.includes(2) ? 2 : methods.includes(0) ? 0 : 0xff;
      talk.send(Buffer.from([5, method]));
      if (method === 0xff) talk.end();
      this.#step = method === 2 ? 'login' : 'request';
      return used;
    }
    if (this.#step === 'login') {
      if (bytes[0] !== 1) return this.#end(bytes, talk);
      const userEnd = 2 + bytes[1];
      if (bytes.length <= userEnd) return 0;
      const used = userEnd + 1 + bytes[userEnd];
      if (bytes.length < used) return 0;
      talk.find({
        userName: clip(bytes.toString('latin1', 2, userEnd)),
        password: clip(bytes.toString('latin1', userEnd + 1, used)),
      });
      talk.send(Buffer.from([1, 0]));
      this.#step = 'request';
      return used;
    }
    if (bytes[0] !== 5) return this.#end(bytes, talk);
    if (bytes.length < 5) return 0;
    const addressLength = bytes[3] === 1 ? 4 : bytes[3] === 4 ? 16 : bytes[3] === 3 ? 1 + bytes[4] : -1;
    if (addressLength < 0) {
      talk.send(Buffer.from([5, 8, 0, 1, 0, 0, 0, 0, 0, 0]));
      return this.#end(bytes, talk);
    }
    const used = 4 + addressLength + 2;
    if (bytes.length < used) return 0;
    if (bytes[1] !== 1) {
      talk.send(Buffer.from([5, 7, 0, 1, 0, 0, 0, 0, 0, 0]));
      talk.end();
      return used;
    }
    talk.send(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
    proxied(bytes.readUInt16BE(used - 2), talk);
    return used;
  }

  #end(bytes: Buffer, talk: Conversation): number {
    talk.end();
    return bytes.length;
  }
}

const socks4Dialogue: Dialogue = {
  receive(bytes, talk) {
    if (bytes.length < 9) return 0;
    const userEnd = bytes.indexOf(0, 8);
    if (userEnd < 0) {
      if (bytes.length > 512) talk.end();
      return bytes.length > 512 ? bytes.length : 0;
    }
    let used = userEnd + 1;
    // 0.0.0.x: a host name follows.
    if (bytes[4] === 0 && bytes[5] === 0 && bytes[6] === 0 && bytes[7] !== 0) {
      const nameEnd = bytes.indexOf(0, used);
      if (nameEnd < 0) {
        if (bytes.length > 1024) talk.end();
        return bytes.length > 1024 ? bytes.length : 0;
      }
      used = nameEnd + 1;
    }
    if (userEnd > 8) talk.find({ userName: clip(bytes.toString('latin1', 8, userEnd)) });
    const granted = bytes[0] === 4 && bytes[1] === 1;
    talk.send(Buffer.from([0, granted ? 0x5a : 0x5b, 0, 0, 0, 0, 0, 0]));
    if (granted) proxied(bytes.readUInt16BE(2), talk);
    else talk.end();
    return used;
  },
};

export const socks5: Responder = { protocol: 'socks5', open: () => new Socks5Dialogue() };
export const socks4: Responder = { protocol: 'socks4', open: () => socks4Dialogue };
