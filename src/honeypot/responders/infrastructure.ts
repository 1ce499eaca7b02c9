// DNS over TCP, ONC RPC's port mapper, Cisco Smart Install, AMQP, ZooKeeper, DCE/RPC: short answers that keep a scanner going.
// Sources: RFC 1035 4.2.2, RFC 1833, RFC 5531, AMQP 0-9-1 section 1.4, ZooKeeper's four letter words, C706 12.6.

import { parseDnsQuery } from '../../model/dns-message.ts';
import { renderNameAnswer } from '../datagrams/naming.ts';
import { clip, takeLine } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

/** Looking a name up costs a moment: a client that wants more asks for another connection. */
const queriesPerConnection = 64;

class DnsDialogue implements Dialogue {
  #queries = 0;

  receive(bytes: Buffer, talk: Conversation): number {
    if (bytes.length < 2) return 0;
    const length = bytes.readUInt16BE(0);
    if (length < 12) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < 2 + length) return 0;
    const query = bytes.subarray(2, 2 + length);
    const parsed = parseDnsQuery(query);
    const answer = parsed ? renderNameAnswer(parsed, query, talk.names) : Buffer.from(query.subarray(0, 12));
    if (!parsed) {
      // NOTIMP for what is no plain query.
      answer[2] |= 0x80;
      answer[3] = 4;
      answer.fill(0, 4, 12);
    }
    const head = Buffer.alloc(2);
    head.writeUInt16BE(answer.length);
    talk.send(Buffer.concat([head, answer]));
    this.#queries += 1;
    if (this.#queries >= queriesPerConnection) talk.end();
    return 2 + length;
  }
}

/** An accepted reply to an ONC RPC call; undefined when it is none. Over UDP it is given without the record mark. */
export function answerRpc(call: Buffer): Buffer | undefined {
  if (call.length < 24 || call.readUInt32BE(4) !== 0 || call.readUInt32BE(8) !== 2) return undefined;
  const program = call.readUInt32BE(12);
  const procedure = call.readUInt32BE(20);
  const head = Buffer.alloc(24);
  call.copy(head, 0, 0, 4);
  head.writeUInt32BE(1, 4);
  if (program !== 100_000) {
    head.writeUInt32BE(1, 20);
    return head;
  }
  // NULL has no result; GETPORT and DUMP say nothing is registered; the rest is no procedure.
  if (procedure === 0) return head;
  if (procedure === 3 || procedure === 4) return Buffer.concat([head, Buffer.alloc(4)]);
  head.writeUInt32BE(3, 20);
  return head;
}

const rpcDialogue: Dialogue = {
  receive(bytes, talk) {
    if (bytes.length < 4) return 0;
    const length = bytes.readUInt32BE(0) & 0x7fffffff;
    if (length > 60_000) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < 4 + length) return 0;
    const answer = answerRpc(bytes.subarray(4, 4 + length));
    if (answer) {
      const mark = Buffer.alloc(4);
      mark.writeUInt32BE((0x80000000 | answer.length) >>> 0);
      talk.send(Buffer.concat([mark, answer]));
    } else talk.end();
    return 4 + length;
  },
};

/** The answer scanners know an open Smart Install client by. */
const smartInstallAnswer = Buffer.from('000000040000000000000003000000080000000100000000', 'hex');

class SmartInstallDialogue implements Dialogue {
  #answered = false;

  receive(bytes: Buffer, talk: Conversation): number {
    if (!this.#answered) talk.send(smartInstallAnswer);
    this.#answered = true;
    return bytes.length;
  }
}

const amqpStart = (() => {
  const long = (text: string): Buffer => {
    const bytes = Buffer.alloc(4 + text.length);
    bytes.writeUInt32BE(text.length);
    bytes.write(text, 4, 'latin1');
    return bytes;
  };
  const field = (name: string, value: string): Buffer =>
    Buffer.concat([Buffer.from([name.length]), Buffer.from(`${name}S`), long(value)]);
  const properties = Buffer.concat([
    field('product', 'RabbitMQ'),
    field('version', '3.10.8'),
    field('platform', 'Erlang/OTP 25.2.3'),
  ]);
  const size = Buffer.alloc(4);
  size.writeUInt32BE(properties.length);
  return Buffer.concat([Buffer.from([0, 10, 0, 10, 0, 9]), size, properties, long('PLAIN AMQPLAIN'), long('en_US')]);
})();

const amqpFrame = (body: Buffer): Buffer => {
  const head = Buffer.alloc(7);
  head[0] = 1;
  head.writeUInt32BE(body.length, 3);
  return Buffer.concat([head, body, Buffer.from([0xce])]);
};

class AmqpDialogue implements Dialogue {
  #started = false;

  receive(bytes: Buffer, talk: Conversation): number {
    if (!this.#started) {
      if (bytes.length < 8) return 0;
      if (bytes.readUInt32BE(4) !== 0x00000901) {
        talk.send(Buffer.from('AMQP\0\0\x09\x01', 'latin1'));
        talk.end();
      } else talk.send(amqpFrame(amqpStart));
      this.#started = true;
      return 8;
    }
    if (bytes.length < 8) return 0;
    const length = bytes.readUInt32BE(3);
    if (length > 60_000) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < 8 + length) return 0;
    const body = bytes.subarray(7, 7 + length);
    if (length >= 4 && body.readUInt32BE(0) === 0x000a000b) {
      const plain = /PLAIN[\s\S]{4}\0([^\0]{0,256})\0([\x20-\x7e]{0,256})/.exec(body.toString('latin1', 0, 4096));
      if (plain) {
        // The response's own length cuts the locale behind it off.
        const at = body.indexOf('PLAIN') + 5;
        const size = body.readUInt32BE(at);
        const password = plain[2].slice(0, Math.max(0, size - 2 - plain[1].length));
        talk.find({ userName: clip(plain[1]), password: clip(password) });
      }
      const text = 'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.';
      talk.send(
        amqpFrame(Buffer.concat([Buffer.from([0, 10, 0, 50, 1, 0x93, text.length]), Buffer.from(text), Buffer.alloc(4)])),
      );
      talk.end();
    }
    return 8 + length;
  }
}

const fourLetters: Readonly<Record<string, string>> = {
  ruok: 'imok',
  conf: 'clientPort=2181\ndataDir=/var/lib/zookeeper/version-2\ntickTime=2000\nmaxClientCnxns=60\nserverId=0\n',
  cons: '\n',
  wchs: '0 connections watching 0 paths\nTotal watches:0\n',
  wchp: '\n',
  dump: 'SessionTracker dump:\nSession Sets (0):\n',
  envi: 'Environment:\nzookeeper.version=3.4.13-2d71af4dbe22557fda74f9a9b4309b15a7487f03\njava.version=1.8.0_292\nos.name=Linux\nos.arch=amd64\n',
};

const zookeeperStat =
  'Zookeeper version: 3.4.13-2d71af4dbe22557fda74f9a9b4309b15a7487f03, built on 06/29/2018 04:05 GMT\nLatency min/avg/max: 0/0/12\nReceived: 1204\nSent: 1203\nConnections: 1\nOutstanding: 0\nZxid: 0x4b\nMode: standalone\nNode count: 41\n';

const zookeeperDialogue: Dialogue = {
  receive(bytes, talk) {
    const word = (takeLine(bytes, 64)?.text ?? bytes.toString('latin1')).trim();
    if (word.length < 4) return bytes.length > 8 ? bytes.length : 0;
    const key = word.slice(0, 4);
    talk.send(Object.hasOwn(fourLetters, key) ? fourLetters[key] : zookeeperStat);
    talk.end();
    return bytes.length;
  },
};

class DceRpcDialogue implements Dialogue {
  receive(bytes: Buffer, talk: Conversation): number {
    if (bytes.length < 16) return 0;
    const little = bytes[4] === 0x10;
    const length = little ? bytes.readUInt16LE(8) : bytes.readUInt16BE(8);
    if (bytes[0] !== 5 || length < 16 || !little) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < length) return 0;
    if (bytes[2] === 11 && length >= 72) {
      // Bind acknowledged for the first context with the transfer syntax the client offered.
      const ack = Buffer.alloc(60);
      bytes.copy(ack, 0, 0, 16);
      ack[2] = 12;
      ack.writeUInt16LE(60, 8);
      ack.writeUInt16LE(0, 10);
      ack.writeUInt16LE(5840, 16);
      ack.writeUInt16LE(5840, 18);
      ack.writeUInt32LE(0x4b2f, 20);
      ack.writeUInt16LE(4, 24);
      ack.write('135\0', 26, 'latin1');
      ack[32] = 1;
      bytes.copy(ack, 40, 52, 72);
      talk.send(ack);
    } else if (bytes[2] === 0 && length >= 24) {
      const fault = Buffer.alloc(32);
      bytes.copy(fault, 0, 0, 16);
      fault[2] = 3;
      fault[3] = 3;
      fault.writeUInt16LE(32, 8);
      fault.writeUInt16LE(0, 10);
      fault.writeUInt32LE(5, 24);
      talk.send(fault);
    } else talk.end();
    return length;
  }
}

export const dns: Responder = { protocol: 'dns', open: () => new DnsDialogue() };
export const sunrpc: Responder = { protocol: 'sunrpc', open: () => rpcDialogue };
export const smartInstall: Responder = { protocol: 'smart-install', open: () => new SmartInstallDialogue() };
export const amqp: Responder = { protocol: 'amqp', open: () => new AmqpDialogue() };
export const zookeeper: Responder = { protocol: 'zookeeper', open: () => zookeeperDialogue };
export const dcerpc: Responder = { protocol: 'dcerpc', open: () => new DceRpcDialogue() };
