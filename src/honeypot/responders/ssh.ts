// SSH up to the algorithms: version text and a KEXINIT like OpenSSH's, so that clients show theirs; then a clean refusal.
// Sources: RFC 4253 sections 4.2, 6, 7.1, 11.1.

import { randomBytes } from 'node:crypto';
import { takeLine } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

const defaultBanner = 'SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3';

const algorithms = [
  'sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256',
  'rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519',
  'chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com',
  'chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com',
  'umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-64@openssh.com,umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1',
  'umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-64@openssh.com,umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1',
  'none,zlib@openssh.com',
  'none,zlib@openssh.com',
  '',
  '',
];

const string = (text: string): Buffer => {
  const bytes = Buffer.alloc(4 + text.length);
  bytes.writeUInt32BE(text.length);
  bytes.write(text, 4, 'latin1');
  return bytes;
};

const lists = Buffer.concat(algorithms.map(string));

/** An unencrypted binary packet: multiple of 8 bytes, at least 4 of padding. */
export function renderPacket(payload: Buffer): Buffer {
  const padding = 8 - ((payload.length + 5) % 8) + (8 - ((payload.length + 5) % 8) < 4 ? 8 : 0);
  const packet = Buffer.alloc(5 + payload.length + padding);
  packet.writeUInt32BE(1 + payload.length + padding);
  packet[4] = padding;
  payload.copy(packet, 5);
  return packet;
}

const renderKexInit = (): Buffer => renderPacket(Buffer.concat([Buffer.from([20]), randomBytes(16), lists, Buffer.alloc(5)]));

const renderDisconnect = (reason: number, text: string): Buffer => {
  const code = Buffer.alloc(5);
  code[0] = 1;
  code.writeUInt32BE(reason, 1);
  return renderPacket(Buffer.concat([code, string(text), string('')]));
};

class SshDialogue implements Dialogue {
  #versionSeen = false;
  #packets = 0;

  greet(talk: Conversation): void {
    talk.send(`${talk.persona.banners.ssh ?? defaultBanner}\r\n`);
  }

  receive(bytes: Buffer, talk: Conversation): number {
    if (!this.#versionSeen) {
      const line = takeLine(bytes, 255);
      if (!line) return 0;
      if (!line.text.startsWith('SSH-')) {
        talk.send('Invalid SSH identification string.\r\n');
        talk.end();
        return bytes.length;
      }
      this.#versionSeen = true;
      if (/^SSH-1\.[0-8]/.test(line.text)) {
        talk.send('Protocol major versions differ.\n');
        talk.end();
      } else talk.send(renderKexInit());
      return line.used;
    }
    if (bytes.length < 6) return 0;
    const length = bytes.readUInt32BE(0);
    if (length < 2 || length > 35_000 || ++this.#packets > 32) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < 4 + length) return 0;
    // KEXINIT and its neighbours are taken; the key exchange itself needs a real server behind it.
    if (bytes[5] === 1) talk.end();
    else if (bytes[5] >= 30 && bytes[5] <= 34) {
      talk.send(renderDisconnect(3, 'Key exchange failed'));
      talk.end();
    }
    return 4 + length;
  }
}

export const ssh: Responder = { protocol: 'ssh', serverFirst: true, takesAnything: true, open: () => new SshDialogue() };
