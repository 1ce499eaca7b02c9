// Modbus and S7 as a small controller: registers of zero, writes acknowledged, identification; nothing is behind them.
// Sources: Modbus Application Protocol 1.1b3 section 6, Modbus Messaging on TCP/IP 1.0b, RFC 1006, the S7 dissector's field names.

import type { Conversation, Dialogue, Responder } from '../responder.ts';

function modbusAnswer(body: Buffer, talk: Conversation): Buffer {
  const code = body[0];
  const quantity = body.length >= 5 ? body.readUInt16BE(3) : 0;
  const exception = (reason: number): Buffer => Buffer.from([code | 0x80, reason]);
  switch (code) {
    case 1:
    case 2:
      if (quantity < 1 || quantity > 2000) return exception(3);
      return Buffer.concat([Buffer.from([code, Math.ceil(quantity / 8)]), Buffer.alloc(Math.ceil(quantity / 8))]);
    case 3:
    case 4:
      if (quantity < 1 || quantity > 125) return exception(3);
      return Buffer.concat([Buffer.from([code, quantity * 2]), Buffer.alloc(quantity * 2)]);
    case 5:
    case 6:
    case 15:
    case 16:
      return body.length >= 5 ? Buffer.from(body.subarray(0, 5)) : exception(3);
    case 17: {
      const name = Buffer.from((talk.persona.banners.modbus ?? 'Schneider Electric TM221CE40R').slice(0, 64), 'latin1');
      return Buffer.concat([Buffer.from([17, name.length + 1]), name, Buffer.from([0xff])]);
    }
    case 43: {
      if (body[1] !== 14) return exception(1);
      const name = talk.persona.banners.modbus ?? 'Schneider Electric TM221CE40R';
      const at = name.lastIndexOf(' ');
      const objects = [at < 0 ? name : name.slice(0, at), at < 0 ? name : name.slice(at + 1), 'V1.6'].map((text, index) => {
        const bytes = Buffer.from(text.slice(0, 64), 'latin1');
        return Buffer.concat([Buffer.from([index, bytes.length]), bytes]);
      });
      return Buffer.concat([Buffer.from([43, 14, body[2] ?? 1, 1, 0, 0, objects.length]), ...objects]);
    }
    default:
      return exception(1);
  }
}

const modbusDialogue: Dialogue = {
  receive(bytes, talk) {
    if (bytes.length < 6) return 0;
    const length = bytes.readUInt16BE(4);
    if (bytes.readUInt16BE(2) !== 0 || length < 2 || length > 254) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < 6 + length) return 0;
    const body = modbusAnswer(bytes.subarray(7, 6 + length), talk);
    const head = Buffer.alloc(7);
    bytes.copy(head, 0, 0, 4);
    head.writeUInt16BE(1 + body.length, 4);
    head[6] = bytes[6];
    talk.send(Buffer.concat([head, body]));
    return 6 + length;
  },
};

const tpkt = (body: Buffer): Buffer => {
  const head = Buffer.from([3, 0, 0, 0]);
  head.writeUInt16BE(4 + body.length, 2);
  return Buffer.concat([head, body]);
};

/** Module identification (SZL 0x0011): one record of 28 bytes, the order number in it. */
function identification(reference: Buffer, order: string, parameter: Buffer): Buffer {
  const record = Buffer.alloc(28);
  record.writeUInt16BE(1, 0);
  record.write(order.slice(0, 20).padEnd(20), 2, 'latin1');
  record.writeUInt16BE(0x0003, 26);
  const data = Buffer.concat([Buffer.from([0xff, 9, 0, 8 + record.length, 0, 0x11, 0, 0, 0, 28, 0, 1]), record]);
  const answer = Buffer.from([0, 1, 0x12, 8, 0x12, 0x84, parameter[6] ?? 1, parameter[7] ?? 0, 0, 0, 0, 0]);
  const head = Buffer.from([0x32, 7, 0, 0, reference[0], reference[1], 0, answer.length, 0, data.length]);
  return Buffer.concat([head, answer, data]);
}

class S7Dialogue implements Dialogue {
  receive(bytes: Buffer, talk: Conversation): number {
    if (bytes.length < 4) return 0;
    const length = bytes.readUInt16BE(2);
    if (bytes[0] !== 3 || length < 7 || length > 4096) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < length) return 0;
    const body = bytes.subarray(4, length);
    if ((body[1] & 0xf0) === 0xe0 && body.length >= 7) {
      // Connection confirm: our reference, theirs, and their parameters back.
      const confirm = Buffer.from(body.subarray(0, Math.min(body.length, 64)));
      confirm[0] = confirm.length - 1;
      confirm[1] = 0xd0;
      body.copy(confirm, 2, 4, 6);
      confirm.writeUInt16BE(0x0c, 4);
      talk.send(tpkt(confirm));
    } else if (body[1] === 0xf0 && body.length >= 13 && body[3] === 0x32) this.#job(body.subarray(3), talk);
    return length;
  }

  #job(message: Buffer, talk: Conversation): void {
    const reference = message.subarray(4, 6);
    const data = Buffer.from([2, 0xf0, 0x80]);
    const parameter = message.subarray(10);
    if (message[1] === 1 && parameter[0] === 0xf0)
      talk.send(
        tpkt(
          Buffer.concat([
            data,
            Buffer.from([0x32, 3, 0, 0, reference[0], reference[1], 0, 8, 0, 0, 0, 0, 0xf0, 0, 0, 1, 0, 1, 0, 0xf0]),
          ]),
        ),
      );
    else if (message[1] === 7)
      talk.send(
        tpkt(Buffer.concat([data, identification(reference, talk.persona.banners.s7 ?? '6ES7 315-2EH14-0AB0', parameter)])),
      );
    // Anything else: function not available.
    else talk.send(tpkt(Buffer.concat([data, Buffer.from([0x32, 2, 0, 0, reference[0], reference[1], 0, 0, 0, 0, 0x81, 0x04])])));
  }
}

export const modbus: Responder = { protocol: 'modbus', takesAnything: false, open: () => modbusDialogue };
export const s7: Responder = { protocol: 's7', open: () => new S7Dialogue() };
