// `weir alerts --follow` and `weir verdicts --follow` against a recorder that streams what the test says.

import assert from 'node:assert/strict';
import { after, beforeEach, describe, it } from 'node:test';
import { CommandBed, now, Screen } from '../../test/support/command-bed.ts';
import { sampleVerdict } from '../../test/support/sample-insights.ts';
import { sampleAlert } from '../../test/support/sample-records.ts';
import type { AlertRecord } from '../model/event.ts';
import type { Verdict } from '../model/insight.ts';
import { alertDocument } from '../record/documents.ts';
import { verdictDocument } from '../record/insight-documents.ts';
import { runCommandLine } from './command-line.ts';

interface Told {
  readonly alerts?: readonly AlertRecord[];
  readonly verdicts?: readonly Verdict[];
  readonly unsaid?: number;
}

const message = ({ alerts = [], verdicts = [], unsaid = 0 }: Told): string => {
  const body = {
    sessions: [],
    skipped: 0,
    unsaid,
    alerts: alerts.map(alertDocument),
    verdicts: verdicts.map((one) => verdictDocument(one)),
  };
  return `data: ${JSON.stringify(body)}\n\n`;
};

describe('following', () => {
  const bed = new CommandBed();
  beforeEach(() => bed.reset());
  after(() => bed.close());

  /** Runs until standard error says `until`, or the stream ends. */
  async function follow(line: string, stream: readonly Told[], earlier: readonly unknown[] = [], until = 'a flood') {
    const stdout = new Screen(false);
    const stderr = new Screen(false);
    const stop = new AbortController();
    stderr.onWrite = () => stderr.text.includes(until) && stop.abort();
    const asked: string[] = [];
    let code = -1;
    await bed.withRecorder(
      (request, response) => {
        asked.push(request.url ?? '');
        if (request.url?.startsWith('/api/live')) response.write(`retry: 2000\n: weir\n\n${stream.map(message).join('')}`);
        else response.end(JSON.stringify({ items: earlier }));
      },
      async () => {
        code = await runCommandLine(line.split(' '), bed.environment(stdout, stderr, stop.signal));
      },
    );
    return { code, out: stdout.text, err: stderr.text, asked };
  }

  it('tells each alert once, those before it only with --since', async () => {
    const [old, fresh] = [sampleAlert(now - 60e6, 1), sampleAlert(now, 2)];
    const stream = [{ alerts: [old] }, { alerts: [fresh, fresh] }, { unsaid: 3 }];
    const { code, out, err, asked } = await follow('alerts --follow --json --since 1h', stream, [alertDocument(old)]);
    assert.equal(code, 0, err);
    assert.deepEqual(
      out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).event.id),
      [old.id, fresh.id],
    );
    assert.match(err, /a flood: 3 or more alerts and verdicts not told here; `weir alerts` has those of its kind/);
    assert.ok(asked.some((url) => url.startsWith('/api/alerts?since=1h&limit=1000')));
    const fromNow = await follow('alerts --follow', [{ alerts: [fresh] }, { unsaid: 1 }]);
    assert.equal(fromNow.out.trimEnd().split('\n').length, 2, 'titles and one row');
    assert.ok(fromNow.asked.every((url) => url.startsWith('/api/live')));
  });

  it('tells a verdict again only when it became more severe, and those asked for alone', async () => {
    const scan = sampleVerdict(now, 1, { severity: 'low' });
    const worse: Verdict = { ...scan, severity: 'high' };
    const other = sampleVerdict(now, 2, { behaviour: 'crawler' });
    const stream = [{ verdicts: [scan, other] }, { verdicts: [scan] }, { verdicts: [worse] }, { unsaid: 1 }];
    const { out } = await follow('verdicts --follow --behaviour port-scan --json', stream);
    assert.deepEqual(
      out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).weir.verdict.severity),
      ['low', 'high'],
    );
  });

  it('ends, and with it the stream, when the earlier ones cannot be told', async () => {
    let open = 0;
    await bed.withRecorder(
      (request, response) => {
        if (request.url?.startsWith('/api/live')) {
          open += 1;
          response.on('close', () => {
            open -= 1;
          });
          response.write('retry: 2000\n: weir\n\n');
        } else {
          response.statusCode = 400;
          response.end(JSON.stringify({ error: { code: 'bad-request', message: 'no such time' } }));
        }
      },
      async () => {
        const { code, err } = await bed.run('verdicts --follow --since nonsense');
        assert.equal(code, 2, err);
        for (let turn = 0; turn < 200 && open > 0; turn += 1) await new Promise((resolve) => setTimeout(resolve, 10));
        assert.equal(open, 0, 'streams that are still open');
      },
    );
  });

  it('refuses what it cannot select by, and says when the recorder goes', async () => {
    const wrong = await follow('alerts --follow --port 22', []);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /--port cannot be followed/);
    await bed.withRecorder(
      (_request, response) => response.end('retry: 2000\n\n'),
      async () => {
        const { code, err } = await bed.run('verdicts --follow');
        assert.equal(code, 1);
        assert.match(err, /the recorder ended the stream/);
      },
    );
  });
});
