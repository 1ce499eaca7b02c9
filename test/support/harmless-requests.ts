// HTTP requests nobody means harm with: browsers, programs, health checks, package managers, uploads, and people who search for words
// that attackers use too. What a rule set must leave alone.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: what people write, not templates

const browsers = [
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15',
  'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
  'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148',
];

const clients = [
  'curl/8.7.1',
  'python-requests/2.32.3',
  'Go-http-client/1.1',
  'okhttp/4.12.0',
  'git/2.45.2',
  'pip/24.1 {"ci":null,"cpu":"x86_64","implementation":{"name":"CPython","version":"3.12.4"}}',
  'npm/10.8.1 node/v20.15.0 linux x64 workspaces/false',
  'Debian APT-HTTP/1.3 (2.6.1)',
  'kube-probe/1.30',
  'Prometheus/2.53.0',
  'ELB-HealthChecker/2.0',
  'Wget/1.24.5',
  'Apache-HttpClient/5.3 (Java/21)',
  'PostmanRuntime/7.39.0',
  'Uptime-Kuma/1.23.13',
];

const pages = [
  '/',
  '/index.html',
  '/products/42?color=red&size=XL',
  '/blog/2026/03/how-we-moved-to-kubernetes',
  '/wiki/Main_Page',
  '/assets/app.3f9c1b2a.js',
  '/assets/style.css?v=1.2.3',
  '/images/logo%20small.png',
  '/cart?item=7&qty=2&coupon=SPRING%2B10',
  '/de/%C3%BCber-uns',
  '/news;jsessionid=0A1B2C3D4E5F6A7B8C9D',
  '/api/v1/users/17/orders?limit=50&offset=100&sort=-created_at',
  '/download/weir-0.1.0.tar.gz',
  '/feed.xml',
  '/calendar?from=2026-01-01T00:00:00%2B01:00&to=2026-02-01',
  '/map?bbox=8.1,47.2,8.9,47.9&zoom=12',
  '/login?next=%2Faccount%2Fsettings%3Ftab%3Dsecurity',
  '/oauth2/callback?code=4%2F0AY0e-g7&state=xyz&scope=openid%20email',
  '/docs/install.html#curl',
  '/search.php?cat=12&page=3',
];

/** People search for these. */
const phrases = [
  'union select committee members',
  'how to select rows from two tables and order by date',
  'drop table manners for children',
  "o'reilly learning sql",
  "rock 'n' roll or blues",
  'insert coin or credit card',
  'delete from album not working',
  'what is 1=1 in sql',
  'sleep(5) javascript alternative',
  'benchmark (computing) score',
  'wget recursive download example',
  'curl post json header',
  'cat /etc/hosts meaning',
  'chmod 777 is bad',
  'bash script for beginners',
  'powershell download file',
  'cmd.exe vs powershell',
  'what is log4shell and jndi',
  'log4j ${date} pattern layout',
  'struts ognl expression tutorial',
  'php eval function',
  'base64_decode online',
  '<script> tag in html5',
  'alert(1) debugging',
  '../ relative path meaning',
  'etc/passwd file format explained',
  'php://input vs $_POST',
  'xml entity declaration',
  'ping -c 4 explained',
  'id; name; address csv',
  'uname -a output',
  'sh vs bash | comparison',
  'ls -l && cd explained',
  '$(document).ready jquery',
  '`backticks` in markdown',
  'a && b || c in javascript',
  '{{ user.name }} in vue',
  '${variable} in template strings',
  'redis config set maxmemory',
  'docker run --privileged meaning',
  'kubernetes pods list api',
  'shellshock bug history',
  'heartbleed explained',
  'mirai botnet source analysis',
  'metasploit course',
  'how does eternalblue work',
  'cobalt strike detection',
  'thinkphp documentation',
  'phpunit tutorial',
  'wordpress wp-login.php redirect',
  'drupal [#markup] render arrays',
  'nc -e netcat option',
  'reverse proxy with nginx',
  'crontab every 5 minutes */5 * * * *',
  'ssh authorized_keys permissions',
  'admin:admin default password list',
  'cve-2021-44228 patch',
  'group by having count(*) > 1',
  'and or not boolean search',
  "it's and/or 'either'",
];

const jwt =
  'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkFsaWNlIiwiaWF0IjoxNTE2MjM5MDIyfQ.c2lnbmF0dXJl';
const cookies = [
  `session=${Buffer.from('{"user":"alice","cart":[1,2,3],"theme":"dark"}').toString('base64')}`,
  `token=${jwt}`,
  '_ga=GA1.2.1234567890.1700000000; _gid=GA1.2.987654321.1700000001; consent=%7B%22ads%22%3Afalse%7D',
  'PHPSESSID=3k5c9q8v7b2n1m4x6z0a; lang=de',
  'csrftoken=Zk3pQ7vX9bN2mL5cR8tY1wE4uI6oP0aS; sessionid=8f14e45fceea167a5a36dedd4bea2543',
];

const bodies: readonly (readonly [target: string, type: string, body: string])[] = [
  ['/api/login', 'application/json', '{"user":"alice","password":"correct horse battery staple"}'],
  ['/login', 'application/x-www-form-urlencoded', 'user=alice&password=p%40ss%3Bw0rd%26more&remember=on'],
  [
    '/comment',
    'application/x-www-form-urlencoded',
    'text=I+like+it%3B+curl+works+too+%26+wget.+See+http%3A%2F%2Fexample.com&post=7',
  ],
  ['/graphql', 'application/json', '{"query":"query($id:ID!){user(id:$id){name,orders{total}}}","variables":{"id":"17"}}'],
  ['/rpc', 'application/json', '{"jsonrpc":"2.0","id":1,"method":"list_items","params":{"filter":"name like \'a%\'"}}'],
  [
    '/soap',
    'text/xml; charset=utf-8',
    '<?xml version="1.0"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><GetPrice><Item>Apples</Item></GetPrice></soap:Body></soap:Envelope>',
  ],
  [
    '/upload',
    'multipart/form-data; boundary=x',
    '--x\r\nContent-Disposition: form-data; name="file"; filename="notes.txt"\r\nContent-Type: text/plain\r\n\r\nshopping; eggs; milk\n$100 (cash)\r\n--x--\r\n',
  ],
  [
    '/upload',
    'multipart/form-data; boundary=x',
    '--x\r\nContent-Disposition: form-data; name="file"; filename="photo.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\r\n--x--\r\n',
  ],
  ['/metrics/job/backup', 'text/plain', 'backup_duration_seconds{host="a"} 12.5\nbackup_bytes_total 1e9\n'],
  [
    '/telemetry',
    'application/json',
    '{"stack":"TypeError: x is undefined\\n at eval (app.js:1:1)\\n at system.load","level":"error"}',
  ],
  ['/wiki/save', 'application/x-www-form-urlencoded', 'title=Shell&text=%23%21%2Fbin%2Fsh%0Aecho+hello%0Als+-l+%7C+wc+-l%0A'],
  [
    '/forum/post',
    'application/json',
    '{"text":"Run `sudo apt update && sudo apt install nginx` and then edit /etc/nginx/nginx.conf"}',
  ],
  ['/editor', 'application/json', '{"html":"<p>Hello &amp; welcome &lt;b&gt;</p><script src=\\"/app.js\\"></script>"}'],
  ['/query', 'application/json', '{"sql_like":"select a rating from 1 to 5","note":"drop us a line; or call"}'],
  ['/hook', 'application/json', '{"ref":"refs/heads/main","commits":[{"message":"fix: escape ../ in paths; remove exec()"}]}'],
  ['/v1/traces', 'application/x-protobuf', '\x0a\x10\x12\x04http\x1a\x03GET\0\xff\xfe\x01'],
  [
    '/xmlrpc',
    'text/xml',
    '<?xml version="1.0"?><methodCall><methodName>weblogUpdates.ping</methodName><params><param><value>Blog</value></param></params></methodCall>',
  ],
  [
    '/dav/calendar',
    'application/xml',
    '<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:getetag/></D:prop></D:propfind>',
  ],
];

const machines = [
  ['GET', '/healthz'],
  ['GET', '/livez?verbose'],
  ['HEAD', '/'],
  ['GET', '/simple/requests/'],
  ['GET', '/@types%2fnode'],
  ['GET', '/debian/dists/bookworm/InRelease'],
  ['GET', '/debian/pool/main/c/curl/curl_7.88.1-10+deb12u5_amd64.deb'],
  ['GET', '/ubuntu/pool/main/b/bash/bash_5.2.21-2ubuntu4_arm64.deb'],
  ['GET', '/project.git/info/refs?service=git-upload-pack'],
  ['GET', '/v2/library/nginx/manifests/1.25'],
  ['GET', '/maven2/org/apache/logging/log4j/log4j-core/2.23.1/log4j-core-2.23.1.pom'],
  ['GET', '/repodata/repomd.xml'],
  ['GET', '/golang.org/x/net/@v/v0.26.0.info'],
  ['GET', '/.well-known/acme-challenge/Zk3pQ7vX9bN2mL5c'],
  ['OPTIONS', '/api/v1/users'],
  ['GET', '/socket.io/?EIO=4&transport=polling&t=P0x1'],
  ['GET', '/api/query?query=sum(rate(http_requests_total%7Bjob%3D%22api%22%7D%5B5m%5D))&time=1700000000'],
  ['PUT', '/files/report%20(final).pdf'],
  ['DELETE', '/api/v1/sessions/17'],
  ['PATCH', '/api/v1/users/17'],
] as const;

const withBody = (target: string, headers: string, type: string, body: string): string =>
  `POST ${target} HTTP/1.1\r\nHost: www.example.com\r\n${headers}Content-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

/** Whole requests, bytes as latin-1; the same every time. */
export function harmlessRequests(): string[] {
  const requests: string[] = [];
  const get = (target: string, headers: string, method = 'GET'): void => {
    requests.push(
      `${method} ${target} HTTP/1.1\r\nHost: www.example.com\r\n${headers}Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n\r\n`,
    );
  };
  for (const [index, page] of pages.entries())
    for (const [number, browser] of browsers.entries())
      get(
        page,
        `User-Agent: ${browser}\r\nAccept-Language: de-CH,de;q=0.9,en;q=0.8\r\nCookie: ${cookies[(index + number) % cookies.length]}\r\nReferer: https://www.example.com/search?q=${encodeURIComponent(phrases[index])}\r\n`,
      );
  for (const [index, phrase] of phrases.entries()) {
    const agent = `User-Agent: ${browsers[index % browsers.length]}\r\n`;
    get(`/search?q=${encodeURIComponent(phrase).replaceAll('%20', '+')}`, agent);
    get(`/search?q=${encodeURIComponent(phrase)}&hl=en`, agent);
    requests.push(withBody('/search', agent, 'application/x-www-form-urlencoded', `q=${encodeURIComponent(phrase)}&page=1`));
    requests.push(withBody('/api/search', agent, 'application/json', JSON.stringify({ query: phrase, page: 1 })));
  }
  for (const [index, [target, type, body]] of bodies.entries())
    for (const agent of [browsers[0], clients[index % clients.length]])
      requests.push(withBody(target, `User-Agent: ${agent}\r\n`, type, body));
  for (const [index, [method, target]] of machines.entries())
    for (const agent of [clients[index % clients.length], clients[(index + 5) % clients.length]])
      get(target, `User-Agent: ${agent}\r\nAuthorization: Bearer ${jwt}\r\n`, method);
  return requests;
}
