// Which Suricata runs: the first of the usual places whose version will do. Runs it only to ask for that.
// Source: Suricata 7 user guide, "Command Line Options" (-V).

import { statSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { CommandRunner } from '../kernel/command.ts';

const places = ['/usr/bin/suricata', '/usr/local/bin/suricata', '/usr/sbin/suricata'];
/** Configuration, EVE fields and commands are those of this one. */
const oldestMajor = 7;
const askMs = 10_000;

/** `This is Suricata version 7.0.10 RELEASE` is 7; undefined for anything else. Pure. */
export function parseSuricataMajor(text: string): number | undefined {
  const [, major] = /\bSuricata version (\d{1,4})\./.exec(text) ?? [];
  return major === undefined ? undefined : Number(major);
}

const howTo = 'install suricata 7 (on Debian 12: apt-get install -t bookworm-backports suricata), or remove the key `suricata`';

/** Its path. Throws `tool-missing` saying what is missing or too old. */
export async function findSuricata(runner: Pick<CommandRunner, 'run'>, paths: readonly string[] = places): Promise<string> {
  const unfit: string[] = [];
  for (const path of paths) {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat?.isFile() || (stat.mode & 0o111) === 0) continue;
    const { stdout, stderr } = await runner.run(path, ['-V'], { anyCode: true, timeoutMs: askMs });
    const major = parseSuricataMajor(stdout);
    if (major !== undefined && major >= oldestMajor) return path;
    unfit.push(
      `${path} is ${major === undefined ? `no Suricata that runs (${printable(`${stdout}${stderr}`.trim(), 120)})` : `version ${major}`}`,
    );
  }
  throw new WeirError(
    'tool-missing',
    unfit.length > 0
      ? `weir.yaml asks for Suricata ${oldestMajor} or later, but ${unfit.join(', ')}: ${howTo}`
      : `weir.yaml asks for Suricata, which is not installed: ${howTo}`,
    { program: 'suricata' },
  );
}
