// How numbers, times and bytes read on the page. Pure. Characters that could disguise text are shown as escapes.

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this removes
const unsafe = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\uffff]/g;

/** Attacker text for one line: control characters, invisible ones and direction overrides become escapes. */
export function printable(text: string, maxLength = 500): string {
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
  return cut.replace(unsafe, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}

/** Bytes for one line; everything outside printable ASCII is escaped. */
export function printableBytes(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) {
    if (byte === 0x0a) text += '\\n';
    else if (byte === 0x0d) text += '\\r';
    else if (byte === 0x09) text += '\\t';
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return text;
}

/** Bytes over several lines as their sender ended them. */
export function textOf(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === 0x0a) text += '\n';
    else if (byte === 0x0d && bytes[at + 1] === 0x0a) continue;
    else if (byte === 0x09) text += '\t';
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return text;
}

/** The layout of hexdump -C. */
export function hexOf(bytes: Uint8Array, base: number): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    let hex = '';
    let ascii = '';
    for (let index = 0; index < 16; index += 1) {
      if (index === 8) hex += ' ';
      if (at + index < bytes.length) {
        const byte = bytes[at + index];
        hex += `${byte.toString(16).padStart(2, '0')} `;
        ascii += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.';
      } else hex += '   ';
    }
    lines.push(`${(base + at).toString(16).padStart(8, '0')}  ${hex} |${ascii}|`);
  }
  return lines.join('\n');
}

export function fromBase64(text: string): Uint8Array {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

const group = new Intl.NumberFormat('en-US');
export const countText = (count: number): string => group.format(count);

export function bytesText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  let value = bytes / 1000;
  for (const unit of ['kB', 'MB', 'GB']) {
    if (value < 999.5) return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1000;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} TB`;
}

/** From microseconds. */
export function durationText(micros: number): string {
  if (micros < 1000) return `${Math.round(micros)} µs`;
  if (micros < 99_950) return `${(micros / 1000).toFixed(1)} ms`;
  if (micros < 999_500) return `${Math.round(micros / 1000)} ms`;
  const seconds = micros / 1e6;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
}

/** Microseconds since 1970 of ECS time text. */
export function microsOf(iso: string): number {
  const fraction = /\.(\d{1,6})/.exec(iso)?.[1] ?? '0';
  return Date.parse(`${iso.slice(0, 19)}Z`) * 1000 + Number(fraction.padEnd(6, '0'));
}

/** `05:06:07` today, `Mar 4 05:06:07` before; UTC. */
export function momentText(iso: string, today: string): string {
  const time = iso.slice(11, 19);
  if (iso.slice(0, 10) === today.slice(0, 10)) return time;
  const month = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'][Number(iso.slice(5, 7)) - 1];
  return `${month} ${Number(iso.slice(8, 10))} ${time}`;
}

export const endpointText = (ip: string, port: number): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

const portNames: Readonly<Record<string, string>> = {
  '21/tcp': 'ftp',
  '22/tcp': 'ssh',
  '23/tcp': 'telnet',
  '25/tcp': 'smtp',
  '53/tcp': 'dns',
  '53/udp': 'dns',
  '69/udp': 'tftp',
  '80/tcp': 'http',
  '102/tcp': 's7',
  '110/tcp': 'pop3',
  '111/tcp': 'rpcbind',
  '111/udp': 'rpcbind',
  '123/udp': 'ntp',
  '135/tcp': 'msrpc',
  '139/tcp': 'netbios',
  '143/tcp': 'imap',
  '161/udp': 'snmp',
  '389/tcp': 'ldap',
  '443/tcp': 'https',
  '445/tcp': 'smb',
  '502/tcp': 'modbus',
  '554/tcp': 'rtsp',
  '1080/tcp': 'socks',
  '1433/tcp': 'mssql',
  '1883/tcp': 'mqtt',
  '1900/udp': 'ssdp',
  '2323/tcp': 'telnet',
  '2375/tcp': 'docker',
  '3306/tcp': 'mysql',
  '3389/tcp': 'rdp',
  '5060/tcp': 'sip',
  '5060/udp': 'sip',
  '5432/tcp': 'postgresql',
  '5555/tcp': 'adb',
  '5900/tcp': 'vnc',
  '6379/tcp': 'redis',
  '7547/tcp': 'tr-069',
  '8080/tcp': 'http',
  '8443/tcp': 'https',
  '9200/tcp': 'elastic',
  '11211/tcp': 'memcached',
  '27017/tcp': 'mongodb',
};

export const portName = (key: string): string => portNames[key] ?? '';

const outcomes: Readonly<Record<string, string>> = {
  open: 'still open',
  'client-closed': 'the attacker closed the connection',
  'client-reset': 'the attacker reset the connection',
  'server-closed': 'the service closed the connection',
  idle: 'nothing came for the idle limit',
  'time-limit': 'the time limit was reached',
  'byte-limit': 'the byte limit was reached',
  shed: 'closed to make room under flood',
  shutdown: 'Weir was stopped',
  interrupted: 'the process that held it died',
  'service-unreachable': 'the service it was meant for did not answer',
  unknown: 'the imported log does not say how it ended',
};

export const explainOutcome = (outcome: string): string => outcomes[outcome] ?? printable(outcome, 40);
