// When a ban ends, asked of fail2ban itself: its sets do not always say. Best effort: where it does not run or may not be asked, nothing is said.

import { createCommandRunner } from '../../kernel/command.ts';
import { type Evidence, rungs } from './hop.ts';

const askMs = 3000;

/** `10.0.0.7 \t2026-01-31 12:00:00 + 600 = 2026-01-31 12:10:00`: the end, as fail2ban writes it. Pure. */
export function parseBanEnd(text: string, address: string): string | undefined {
  for (const line of text.split('\n')) {
    const [who, ...rest] = line.trim().split(/\s+/);
    const end = /= (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)$/.exec(rest.join(' '))?.[1];
    if (who === address && end !== undefined) return end;
  }
  return undefined;
}

/** `socket` is fail2ban's; undefined: its own default. */
export async function askBanEnd(jail: string, address: string, socket?: string): Promise<Evidence | undefined> {
  const argv = [...(socket === undefined ? [] : ['-s', socket]), 'get', jail, 'banip', '--with-time'];
  try {
    const { code, stdout } = await createCommandRunner().run('fail2ban-client', argv, { timeoutMs: askMs, anyCode: true });
    const end = code === 0 ? parseBanEnd(stdout, address) : undefined;
    return end === undefined
      ? undefined
      : { rung: rungs.state, text: `fail2ban-client get ${jail} banip: until ${end}, local time` };
  } catch {
    return undefined;
  }
}
