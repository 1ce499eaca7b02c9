// Runs nmap's system detection inside a namespace and reads what it found. For tests.

import type { TestNamespace } from './namespace.ts';

export interface ScannedHost {
  readonly mac?: string;
  readonly vendor?: string;
  /** Best first; accuracy in percent. */
  readonly guesses: readonly { readonly name: string; readonly accuracy: number }[];
  /** What was measured, in nmap's notation; absent when nmap gives none. */
  readonly print?: string;
}

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
