// A request as a client sends it, from the parts a log names: signatures look at bytes. What the log does not name is not there.

/** Parts as logged; a line break inside one would begin another header that was never sent. */
const oneLine = (text: string): string => text.replace(/[\r\n]+/g, ' ');

export interface RequestParts {
  readonly method: string | undefined;
  readonly target: string;
  readonly version?: string | undefined;
  readonly host?: string | undefined;
  readonly agent?: string | undefined;
  readonly contentType?: string | undefined;
  readonly referer?: string | undefined;
}

export function renderRequest({ method, target, version, host, agent, contentType, referer }: RequestParts): string {
  const headers = (
    [
      ['Host', host],
      ['User-Agent', agent],
      ['Referer', referer],
      ['Content-Type', contentType],
    ] as const
  ).filter(([, value]) => value !== undefined && value !== '');
  const first = `${oneLine(method ?? 'GET')} ${oneLine(target)} ${oneLine(version ?? 'HTTP/1.1')}`;
  return `${[first, ...headers.map(([name, value]) => `${name}: ${oneLine(value ?? '')}`)].join('\r\n')}\r\n\r\n`;
}
