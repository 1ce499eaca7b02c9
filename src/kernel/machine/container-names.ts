// What Docker calls its containers, asked of its socket: one question, bounded in time and size. Who may not ask sees identifiers alone.
// Source: Docker Engine API, `GET /containers/json`; podman answers the same.

import { request } from 'node:http';
import { printable } from '../../base/printable.ts';

export const dockerSocket = '/var/run/docker.sock';
const maxAnswerBytes = 8 << 20;

/** `why` when nothing could be learned although something answers to that name. */
export interface ContainerNames {
  readonly names: ReadonlyMap<string, string>;
  readonly why?: string;
}

/** Names by full identifier; empty where there is no such socket. Never throws. */
export async function readContainerNames(socketPath = dockerSocket, timeoutMs = 1000): Promise<ContainerNames> {
  try {
    return { names: parseContainerNames(await ask(socketPath, timeoutMs)) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { names: new Map() };
    return {
      names: new Map(),
      why: code === 'EACCES' ? `may not ask ${socketPath}` : printable(`${socketPath}: ${message}`, 200),
    };
  }
}

function ask(socketPath: string, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: '/containers/json', signal: AbortSignal.timeout(timeoutMs) }, (answer) => {
      const parts: Buffer[] = [];
      let size = 0;
      answer.on('error', reject);
      answer.on('data', (part: Buffer) => {
        size += part.length;
        if (size > maxAnswerBytes) answer.destroy(new Error('its answer is too long'));
        else parts.push(part);
      });
      answer.on('end', () => {
        if (answer.statusCode === 200) resolve(Buffer.concat(parts).toString());
        else reject(new Error(`it answered ${answer.statusCode}`));
      });
    });
    asked.on('error', reject);
    asked.end();
  });
}

/** Throws SyntaxError for what is no JSON; what has another shape is left out. */
export function parseContainerNames(text: string): Map<string, string> {
  const found = new Map<string, string>();
  const list: unknown = JSON.parse(text);
  if (!Array.isArray(list)) return found;
  for (const item of list as { Id?: unknown; Names?: unknown }[]) {
    const [name] = Array.isArray(item?.Names) ? item.Names : [];
    if (typeof item?.Id === 'string' && typeof name === 'string') found.set(item.Id, printable(name.replace(/^\//, ''), 128));
  }
  return found;
}
