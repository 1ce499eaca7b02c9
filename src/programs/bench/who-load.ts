// Traffic for `weir bench who`: `--serve PORT` answers; `--to A --port N --steady N --short N` keeps so many connections that say something every
// second, and makes so many short ones each second. Ends with its standard input.

import { connect, createServer } from 'node:net';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    serve: { type: 'string' },
    to: { type: 'string' },
    port: { type: 'string' },
    steady: { type: 'string' },
    short: { type: 'string' },
  },
});
/** Asked with one byte, a server answers so much: `s` for a short connection, anything else for one that stays. */
const answers = { steady: Buffer.alloc(2000, 'x'), short: Buffer.alloc(6000, 'y') };
const say = (line: string): void => void process.stdout.write(`${line}\n`);

if (values.serve !== undefined) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => {
      if (data[0] === 0x73) socket.end(answers.short);
      else socket.write(answers.steady);
    });
  });
  server.listen({ port: Number(values.serve), backlog: 4096 }, () => say('listening'));
} else {
  const target = { host: values.to ?? '', port: Number(values.port) };
  const steady = Number(values.steady);
  let open = 0;
  let begun = 0;
  const more = (): void => {
    if (begun === steady) return;
    begun += 1;
    const socket = connect(target, () => {
      open += 1;
      if (open === steady) say('steady');
      more();
      const timer = setInterval(() => socket.write('m'), 1000);
      socket.on('close', () => clearInterval(timer));
    });
    socket.on('error', () => {}).on('data', () => {});
  };
  for (let parallel = 0; parallel < 64; parallel += 1) more();
  const perTick = Number(values.short) / 50;
  let owed = 0;
  setInterval(() => {
    if (open < steady) return;
    for (owed += perTick; owed >= 1; owed -= 1) {
      const socket = connect(target, () => socket.write('s'));
      socket.on('error', () => {}).on('data', () => {});
    }
  }, 20);
}
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
