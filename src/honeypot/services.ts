// Which protocol usually speaks on a TCP port: what a persona leaves unsaid. Personas override it; detection by first
// bytes outranks either.

import type { Persona } from '../model/persona.ts';

const usual: Readonly<Record<number, string>> = {
  21: 'ftp',
  22: 'ssh',
  23: 'telnet',
  25: 'smtp',
  53: 'dns',
  80: 'http',
  81: 'http',
  102: 's7',
  110: 'pop3',
  111: 'sunrpc',
  135: 'dcerpc',
  139: 'smb',
  143: 'imap',
  222: 'ssh',
  389: 'ldap',
  443: 'http',
  445: 'smb',
  465: 'smtp',
  502: 'modbus',
  554: 'rtsp',
  587: 'smtp',
  636: 'ldap',
  990: 'ftp',
  992: 'telnet',
  993: 'imap',
  995: 'pop3',
  1080: 'socks5',
  1099: 'rmi',
  1433: 'mssql',
  1883: 'mqtt',
  2121: 'ftp',
  2222: 'ssh',
  2323: 'telnet',
  2375: 'http',
  2525: 'smtp',
  3268: 'ldap',
  3306: 'mysql',
  3307: 'mysql',
  3389: 'rdp',
  4786: 'smart-install',
  5060: 'sip',
  5432: 'postgres',
  5555: 'adb',
  5672: 'amqp',
  5900: 'vnc',
  5901: 'vnc',
  5902: 'vnc',
  6379: 'redis',
  7001: 't3',
  8000: 'http',
  8009: 'ajp',
  8022: 'ssh',
  8080: 'http',
  8081: 'http',
  8443: 'http',
  8888: 'http',
  9000: 'fastcgi',
  9200: 'http',
  10022: 'ssh',
  11211: 'memcached',
  22222: 'ssh',
  26: 'telnet',
  27017: 'mongodb',
  33060: 'mysql',
  33306: 'mysql',
};

/** Ports on which the client is expected to open TLS before anything else is said. */
const wrapped = new Set([443, 465, 636, 853, 990, 992, 993, 995, 8443, 8883, 5061]);

/** The protocol of a port: the persona's word, else the registry's, else undefined. */
export const serviceOf = (persona: Persona, port: number): string | undefined => persona.services[port] ?? usual[port];

/** True when a silent client on this port waits for a TLS server, which never speaks first. */
export const isWrapped = (persona: Persona, port: number): boolean => persona.services[port] === undefined && wrapped.has(port);

/** Ports that mean one protocol to everybody. */
const settled = new Set([
  21, 22, 23, 25, 53, 102, 110, 111, 135, 139, 143, 389, 445, 502, 554, 1433, 1883, 3306, 3389, 5432, 5900, 6379, 11211, 27017,
]);

/** Protocols one real server answers on the same port. */
const families: readonly (readonly string[])[] = [
  ['http', 'http2', 'json-rpc', 'rtsp'],
  ['socks4', 'socks5'],
  ['t3', 'iiop', 'http', 'http2'],
];

const kindred = (one: string, other: string): boolean =>
  one === other || families.some((family) => family.includes(one) && family.includes(other));

const everyPort = ({ tcp }: Persona): boolean => tcp.open.length === 1 && tcp.open[0].first <= 1 && tcp.open[0].last === 65_535;

/**
 * The port's own protocol where a real machine would speak nothing else whatever the client opens with: a persona that picks
 * its ports, on a port it names or everybody knows. Undefined where `protocol` is answered as itself: always for TLS, and for
 * a persona with every port open.
 */
export function exclusiveService(persona: Persona, port: number, protocol: string): string | undefined {
  if (protocol === 'tls' || protocol === 'sslv2' || everyPort(persona)) return undefined;
  if (persona.services[port] === undefined && !settled.has(port)) return undefined;
  const service = serviceOf(persona, port);
  return service === undefined || kindred(service, protocol) ? undefined : service;
}
