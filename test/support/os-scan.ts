// Runs nmap's system detection inside a namespace and reads what it found. For tests.

import type { Persona } from '../../src/model/persona.ts';
import type { TestNamespace } from './namespace.ts';

export interface ScannedHost {
  readonly mac?: string;
  readonly vendor?: string;
  /** Best first; accuracy in percent. */
  readonly guesses: readonly { readonly name: string; readonly accuracy: number }[];
  /** What was measured, in nmap's notation; absent when nmap gives none. */
  readonly print?: string;
}

/**
 * What nmap's first guess must hold, by stack. Where its list knows nothing newer, or what decides is out of reach (the clock
 * behind timestamps, how much of a packet a refusal quotes), it is the nearest relative: FreeBSD for ESXi, whose stack that
 * is, and Linux for the small systems built on it.
 */
const expected: Readonly<Record<string, RegExp>> = {
  'windows-10': /^Microsoft Windows (10|Server 201[69])/,
  'windows-7': /^Microsoft .*(7|2008)/,
  linux: /Linux [45]\./,
  'linux-3': /^(Linux [34]\.|Synology)/,
  'linux-embedded': /DVR|Hikvision|camera|Linux 2\.6/,
  'linux-phone': /phone|Linux/i,
  routeros: /MikroTik|Linux/,
  jetdirect: /HP|LaserJet|JetDirect/,
  'cisco-ios': /Cisco/,
  'siemens-s7': /Siemens/,
  esxi: /VMware|FreeBSD/,
};

/** Whether nmap's first guess is what the persona claims to be. */
export const asAsked = (persona: Persona | undefined, host: ScannedHost | undefined): boolean =>
  expected[persona?.stack?.name ?? 'linux']?.test(host?.guesses[0]?.name ?? '') ?? false;

const unescapeXml = (text: string): string =>
  text
    .replace(/&#xa;/g, '\n')
    .replace(/&(quot|amp|lt|gt|apos);/g, (_, name: string) => ({ quot: '"', amp: '&', lt: '<', gt: '>', apos: "'" })[name] ?? '');

/** `targets` in nmap's notation. Ports of all personas together, so that each host has an open one, and most a closed one. */
export async function scanSystems(
  from: TestNamespace,
  targets: string,
  more: readonly string[] = [],
): Promise<Map<string, ScannedHost>> {
  const ports = '1,22,23,80,102,111,135,443,445,2000,5060,8728';
  const argv = ['nmap', '-n', '-sS', '-O', '--osscan-guess', '-T4', '--max-retries', '2', '-d', '-p', ports, '-oX', '-'];
  const { stdout } = await from.run([...argv, ...more, targets], { timeoutMs: 200_000 });
  const hosts = new Map<string, ScannedHost>();
  for (const [, body] of stdout.matchAll(/<host [^>]*>(.*?)<\/host>/gs)) {
    const address = /<address addr="([^"]+)" addrtype="ipv/.exec(body)?.[1];
    if (address === undefined) continue;
    const mac = /<address addr="([^"]+)" addrtype="mac"(?: vendor="([^"]*)")?/.exec(body);
    const print = /<osfingerprint fingerprint="([^"]*)"/.exec(body)?.[1];
    hosts.set(address, {
      ...(mac ? { mac: mac[1].toLowerCase() } : {}),
      ...(mac?.[2] ? { vendor: unescapeXml(mac[2]) } : {}),
      guesses: [...body.matchAll(/<osmatch name="([^"]*)" accuracy="(\d+)"/g)].map(([, name, accuracy]) => ({
        name: unescapeXml(name),
        accuracy: Number(accuracy),
      })),
      ...(print === undefined ? {} : { print: unescapeXml(print) }),
    });
  }
  return hosts;
}
