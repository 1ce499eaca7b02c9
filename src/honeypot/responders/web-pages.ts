// Which page a decoy's web server shows for a path: start pages, logins, 401 and 404 in the server's own manner, and the
// answers scanners of Docker, Hadoop, Elasticsearch and others look for. Pure: request and persona in, bytes out.

import { addressNumber } from '../../model/host-name.ts';
import type { Conversation } from '../responder.ts';

export interface WebRequest {
  readonly method: string;
  readonly target: string;
  /** `HTTP/1.1`; `HTTP/0.9` for a request line without a version. */
  readonly version: string;
  readonly headers: ReadonlyMap<string, string>;
}

interface Page {
  readonly status: string;
  readonly type: string;
  readonly body: string;
  readonly extra?: string;
}

const html = 'text/html; charset=UTF-8';
const json = 'application/json';

const page = (body: string, type = html, status = '200 OK', extra?: string): Page => ({
  status,
  type,
  body,
  ...(extra === undefined ? {} : { extra }),
});

function errorPage(status: string, server: string, host: string): string {
  const text = status.slice(4);
  if (/nginx/i.test(server))
    return `<html>\r\n<head><title>${status}</title></head>\r\n<body>\r\n<center><h1>${status}</h1></center>\r\n<hr><center>${server}</center>\r\n</body>\r\n</html>\r\n`;
  if (/IIS|HTTPAPI/i.test(server))
    return `<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN""http://www.w3.org/TR/html4/strict.dtd">\r\n<HTML><HEAD><TITLE>${text}</TITLE></HEAD>\r\n<BODY><h2>${text}</h2>\r\n<hr><p>HTTP Error ${status.slice(0, 3)}. ${text}.</p>\r\n</BODY></HTML>\r\n`;
  return `<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n<title>${status}</title>\n</head><body>\n<h1>${text}</h1>\n<hr>\n<address>${server} Server at ${host}</address>\n</body></html>\n`;
}

function startPage(server: string, host: string): string {
  if (/IIS|HTTPAPI/i.test(server))
    return '<!DOCTYPE html>\r\n<html>\r\n<head>\r\n<title>IIS Windows Server</title>\r\n</head>\r\n<body>\r\n<div id="container"><a href="http://go.microsoft.com/fwlink/?linkid=66138"><img src="iisstart.png" alt="IIS" width="960" height="600" /></a></div>\r\n</body>\r\n</html>\r\n';
  return `<!DOCTYPE html>\n<html>\n<head><title>${host}</title></head>\n<body>\n<h1>${host}</h1>\n<form method="post" action="/login">\n<label>User <input name="username"></label>\n<label>Password <input name="password" type="password"></label>\n<button>Sign in</button>\n</form>\n</body>\n</html>\n`;
}

const dockerVersion = {
  Platform: { Name: 'Docker Engine - Community' },
  Version: '20.10.24',
  ApiVersion: '1.41',
  MinAPIVersion: '1.12',
  GitCommit: '5d6db84',
  GoVersion: 'go1.19.7',
  Os: 'linux',
  Arch: 'amd64',
  KernelVersion: '5.10.0-28-amd64',
  BuildTime: '2023-04-04T18:21:10.000000000+00:00',
};

/** A container's identifier that is the decoy's own and stays the same. */
const containerId = (ip: string): string => {
  let text = '';
  let value = addressNumber(ip);
  while (text.length < 64) {
    value = (Math.imul(value, 1_103_515_245) + 12_345) >>> 0;
    text += value.toString(16).padStart(8, '0');
  }
  return text.slice(0, 64);
};

function docker(path: string, method: string, talk: Conversation): Page | undefined {
  const bare = path.replace(/^\/v1\.\d{1,2}\//, '/');
  const versioned = bare !== path;
  if (bare === '/_ping')
    return page('OK', 'text/plain; charset=utf-8', '200 OK', 'Api-Version: 1.41\r\nDocker-Experimental: false\r\n');
  if (
    !versioned &&
    talk.destination.port !== 2375 &&
    talk.destination.port !== 2376 &&
    bare !== '/version' &&
    !bare.startsWith('/containers/')
  )
    return undefined;
  if (bare === '/version') return page(`${JSON.stringify(dockerVersion)}\n`, json);
  if (bare === '/info')
    return page(
      `${JSON.stringify({ ID: 'QX7E:LKBM:4TCH:PLNF', Containers: 1, ContainersRunning: 1, Images: 4, Driver: 'overlay2', NCPU: 2, MemTotal: 4_127_195_136, Name: talk.host, ServerVersion: '20.10.24', OperatingSystem: 'Debian GNU/Linux 11 (bullseye)', OSType: 'linux', Architecture: 'x86_64', KernelVersion: '5.10.0-28-amd64' })}\n`,
      json,
    );
  const id = containerId(talk.destination.ip);
  if (bare.startsWith('/containers/json'))
    return page(
      `${JSON.stringify([{ Id: id, Names: ['/web'], Image: 'nginx:latest', State: 'running', Status: 'Up 3 weeks', Ports: [] }])}\n`,
      json,
    );
  if (bare.startsWith('/images/json')) return page('[]\n', json);
  if (method === 'POST' && bare.startsWith('/containers/create'))
    return page(`{"Id":"${id}","Warnings":[]}\n`, json, '201 Created');
  if (method === 'POST' && /^\/containers\/[^/]{1,128}\/exec/.test(bare)) return page(`{"Id":"${id}"}\n`, json, '201 Created');
  if (method === 'POST' && /^\/(containers|exec)\/[^/]{1,128}\/(start|stop|kill|restart)/.test(bare))
    return page('', json, '204 No Content');
  if (method === 'POST' && bare.startsWith('/images/create'))
    return page('{"status":"Pulling from library/alpine","id":"latest"}\r\n', json);
  if (method === 'DELETE' && bare.startsWith('/containers/')) return page('', json, '204 No Content');
  return versioned ? page('{"message":"page not found"}\n', json, '404 Not Found') : undefined;
}

function known(path: string, method: string, talk: Conversation): Page | undefined {
  const { port } = talk.destination;
  if (path === '/ws/v1/cluster/apps/new-application')
    return page(
      '{"application-id":"application_1716200000000_0007","maximum-resource-capability":{"memory":8192,"vCores":8}}',
      json,
    );
  if (path === '/ws/v1/cluster/apps' && method === 'POST') return page('', json, '202 Accepted');
  if (path.startsWith('/ws/v1/cluster'))
    return page(
      '{"clusterInfo":{"id":1716200000000,"state":"STARTED","haState":"ACTIVE","resourceManagerVersion":"2.7.3","hadoopVersion":"2.7.3"}}',
      json,
    );
  if (port === 9200 && path === '/')
    return page(
      `{\n  "name" : "${talk.host}",\n  "cluster_name" : "elasticsearch",\n  "version" : {\n    "number" : "6.4.2",\n    "lucene_version" : "7.4.0"\n  },\n  "tagline" : "You Know, for Search"\n}\n`,
      json,
    );
  if (path.startsWith('/_cat/indices'))
    return page('yellow open customers 1 1 10231 0 4.1mb 4.1mb\n', 'text/plain; charset=UTF-8');
  if (path.startsWith('/_nodes') || path.startsWith('/_cluster'))
    return page('{"cluster_name":"elasticsearch","status":"yellow","number_of_nodes":1}', json);
  if (path.startsWith('/wsman'))
    return page('', html, '401 Unauthorized', 'WWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic realm="WSMAN"\r\n');
  if (path === '/robots.txt') return page('User-agent: *\nDisallow: /admin/\n', 'text/plain');
  if (/^\/(wp-login\.php|phpmyadmin|pma|login|signin|admin\/login)/i.test(path))
    return method === 'POST'
      ? page('', html, '302 Found', `Location: ${path.replaceAll(/[^\w/.-]/g, '')}?error=1\r\n`)
      : page(startPage('', talk.host));
  if (
    /^\/(manager\/|host-manager\/|admin|cgi-bin\/|HNAP1|config|setup|GponForm|boaform|remote\/|owa|ecp|ISAPI|onvif)/i.test(path)
  )
    return page('', html, '401 Unauthorized', 'WWW-Authenticate: Basic realm="Restricted"\r\n');
  return undefined;
}

const dayNames = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const monthNames = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const pad = (value: number): string => String(value).padStart(2, '0');

/** RFC 9110 section 5.6.7. */
export const httpDate = (at: Date): string =>
  `${dayNames[at.getUTCDay()]}, ${pad(at.getUTCDate())} ${monthNames[at.getUTCMonth()]} ${at.getUTCFullYear()} ${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}:${pad(at.getUTCSeconds())} GMT`;

/** The whole answer. `status` forces an error page. A HEAD request's answer has no body. */
export function renderAnswer(request: WebRequest, talk: Conversation, keep: boolean, status?: string): Buffer {
  const server =
    talk.persona.banners.http ?? (talk.persona.operatingSystem.startsWith('Windows') ? 'Microsoft-IIS/10.0' : 'nginx/1.22.1');
  const path = pathOf(request.target);
  const method = request.method.toUpperCase();
  let answer: Page;
  if (status !== undefined) answer = page(errorPage(status, server, talk.host), html, status);
  else if (method === 'OPTIONS') answer = page('', html, '200 OK', 'Allow: GET, HEAD, POST, OPTIONS\r\n');
  else
    answer =
      docker(path, method, talk) ??
      known(path, method, talk) ??
      (path === '/' || path.startsWith('/index.')
        ? page(startPage(server, talk.host))
        : method === 'GET' || method === 'HEAD'
          ? page(errorPage('404 Not Found', server, talk.host), html, '404 Not Found')
          : page(''));
  if (answer.status.startsWith('401') && answer.body === '')
    answer = { ...answer, body: errorPage('401 Unauthorized', server, talk.host) };
  if (request.version === 'HTTP/0.9') return Buffer.from(answer.body);
  const empty = answer.status.startsWith('204');
  const head =
    `HTTP/1.1 ${answer.status}\r\nServer: ${server}\r\nDate: ${httpDate(new Date())}\r\n` +
    (empty ? '' : `Content-Type: ${answer.type}\r\nContent-Length: ${Buffer.byteLength(answer.body)}\r\n`) +
    `${answer.extra ?? ''}Connection: ${keep ? 'keep-alive' : 'close'}\r\n\r\n`;
  return Buffer.from(method === 'HEAD' || empty ? head : head + answer.body);
}

/** Path without query, of an origin or absolute target, decoded where that is harmless. */
function pathOf(target: string): string {
  const absolute = /^[a-z]{1,8}:\/\/[^/]{0,256}(\/.*)?$/i.exec(target);
  const path = absolute ? (absolute[1] ?? '/') : target;
  const end = path.search(/[?#]/);
  return end < 0 ? path : path.slice(0, end);
}
