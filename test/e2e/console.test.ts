// The console in a real browser: the one-time link, sessions as they come, one session's bytes, hostility without effect,
// a flood, both colour schemes, the keyboard and a telephone.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { systemClock } from '../../src/base/clock.ts';
import type { WeirEvent } from '../../src/model/event.ts';
import { browserRequired, ConsoleBed, hasBrowser, openBrowser } from '../support/browser.ts';
import { contrastOf, widths } from '../support/page-scripts.ts';
import { sampleCampaign, sampleInsights } from '../support/sample-insights.ts';
import {
  hostileSession,
  sampleAlert,
  sampleChunk,
  sampleEvents,
  sampleId,
  sampleProbe,
  sampleSession,
} from '../support/sample-records.ts';

const rowCount = (page: Page): Promise<number> => page.locator('#rows tr').count();
/** Exactly so many; by a selector, for the page forbids evaluating text. */
const rowsToBe = (page: Page, count: number): Promise<void> =>
  page.locator(`#rows:has(> tr:nth-child(${count})):not(:has(> tr:nth-child(${count + 1})))`).waitFor({ state: 'attached' });

describe('the console', { skip: !hasBrowser && !browserRequired ? 'no /usr/bin/chromium' : false }, () => {
  let browser: Browser;
  let bed: ConsoleBed;

  before(async () => {
    browser = await openBrowser();
  });
  after(() => browser?.close());
  beforeEach(async () => {
    bed = new ConsoleBed();
    await bed.server.listen();
  });
  afterEach(async () => {
    await bed.close();
  });

  it('opens with a link that works once', async () => {
    const { url } = bed.server.createSignInLink();
    const page = await bed.openPage(browser);
    await page.goto(url);
    await page.waitForSelector('#live[data-state="live"]');
    assert.equal(new URL(page.url()).pathname, '/');
    assert.equal(new URL(page.url()).search, '');
    const thief = await bed.openPage(browser);
    await thief.goto(url);
    assert.equal(await thief.locator('h1').textContent(), 'This link no longer works');
    await thief.goto(`${bed.server.origin}/`);
    assert.equal(await thief.locator('h1').textContent(), 'Sign in to Weir');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL(/sign-in/);
    await page.goto(`${bed.server.origin}/`);
    assert.equal(await page.locator('h1').textContent(), 'Sign in to Weir');
    assert.deepEqual(
      bed.complaints.filter((text) => !text.includes('403')),
      [],
    );
  });

  it('says what to do while nothing has happened, then shows each session as it comes', async () => {
    const page = await bed.signedIn(browser);
    await page.getByText('Nothing has touched a decoy yet.').waitFor();
    assert.equal(await page.locator('#empty pre').textContent(), 'nc -v 10.66.0.0 2222');
    const at = systemClock();
    await bed.record({
      kind: 'session',
      session: sampleSession(at, 1, {
        outcome: 'open',
        end: undefined,
        protocol: 'http',
        chunks: [sampleChunk(at, 'in', 'GET /live HTTP/1.1\r\n')],
      }),
    });
    const row = page.locator(`tr[data-id="${sampleId(at, 1)}"]`);
    await row.waitFor();
    assert.equal(await page.locator('#empty').isVisible(), false);
    assert.match(
      (await row.textContent()) ?? '',
      /203\.0\.113\.9:40001.*10\.66\.3\.4:22\/tcp.*http.*20 B.*open.*GET \/live HTTP\/1\.1\\r\\n/,
    );
    await bed.record({
      kind: 'session',
      session: sampleSession(at, 1, { sequence: 1, firstChunk: 1, protocol: 'http', bytesIn: 20 }),
    });
    await row.getByText('client-closed').waitFor();
    assert.match((await row.textContent()) ?? '', /GET \/live/, 'first bytes stay when a later record has none');
    assert.equal(await rowCount(page), 1);
    assert.deepEqual(bed.complaints, []);
  });

  it('shows figures, both rankings, alerts and what is not well', async () => {
    bed.status = { ...bed.status, health: 'degraded', reasons: ['netd is restarting'], drops: { 'sessions shed': 1200 } };
    const at = systemClock();
    await bed.record(...sampleEvents(at));
    const page = await bed.signedIn(browser);
    await page.locator('#count-sessions').getByText('5').waitFor();
    assert.equal(await page.locator('#count-probes').textContent(), '4');
    assert.equal(await page.locator('#count-alerts').textContent(), '1');
    await page.locator('#alert-hint').getByText('10.66.3.9 is used by').waitFor();
    assert.match(
      (await page.locator('#banner').textContent()) ?? '',
      /netd is restarting.*Lost and counted: sessions shed 1,200/,
    );
    assert.equal(await page.locator('#health-text').textContent(), 'degraded');
    assert.ok((await page.locator('#top-hits li').count()) >= 5);
    assert.ok((await page.locator('#top-sources li').count()) >= 5);
    await page.locator('#rate-sessions canvas').waitFor();
    await page.locator('#rate-probes canvas').waitFor();
    await page.locator('#top-hits').getByText('3389/tcp').click();
    await rowsToBe(page, 1);
    assert.deepEqual(bed.complaints, []);
  });

  it('filters the list and what is live, and explains a filter that is wrong', async () => {
    const at = systemClock();
    await bed.record(...sampleEvents(at));
    const page = await bed.signedIn(browser);
    await page.getByRole('textbox', { name: 'Port' }).fill('22');
    await rowsToBe(page, 1);
    await page.getByRole('textbox', { name: 'Port' }).fill('22x');
    await page.getByText("port: '22x' is not a port").waitFor();
    await page.getByRole('textbox', { name: 'Port' }).fill('23');
    await page.getByText('No session matches these filters.').waitFor();
    await page.waitForSelector('#live[data-state="live"]');
    const later = systemClock();
    await bed.record(
      { kind: 'session', session: sampleSession(later, 1) },
      { kind: 'session', session: sampleSession(later, 2, { destination: { ip: '10.66.3.4', port: 23 } }) },
    );
    await page.locator(`tr[data-id="${sampleId(later, 2)}"]`).waitFor();
    assert.equal(await rowCount(page), 1);
    await page.getByRole('button', { name: 'Clear' }).click();
    await rowsToBe(page, 7);
  });

  it('pauses, counts what is new, and resumes', async () => {
    const page = await bed.signedIn(browser);
    await page.getByRole('button', { name: 'Pause' }).click();
    const at = systemClock();
    await bed.record({ kind: 'session', session: sampleSession(at, 1) }, { kind: 'session', session: sampleSession(at, 2) });
    await page.getByRole('button', { name: 'Resume (2 new)' }).waitFor();
    assert.equal(await rowCount(page), 0);
    await page.getByRole('button', { name: 'Resume (2 new)' }).click();
    await rowsToBe(page, 2);
  });

  it("shows one session's bytes as text and hex with times and directions, by mouse, keyboard and link", async () => {
    const at = systemClock();
    await bed.record(...sampleEvents(at));
    const id = sampleId(at - 12e6, 1);
    const page = await bed.signedIn(browser);
    await page.locator(`tr[data-id="${id}"] td.preview`).click();
    await page.locator('#detail .chunk').first().waitFor();
    const text = await page.locator('#detail-bytes .chunk').allTextContents();
    assert.deepEqual(text, [
      '← from the decoy+1.2 ms32 BSSH-2.0-OpenSSH_9.2p1 Debian-2\n',
      '→ from the attacker+42.0 ms23 BSSH-2.0-libssh2_1.9.0\n',
    ]);
    assert.match((await page.locator('#detail-facts').textContent()) ?? '', /Linux 3\.11\+ \(a guess from its SYN\)/);
    await page.locator('#detail').getByText('Hex', { exact: true }).click();
    assert.equal(
      await page.locator('#detail-bytes pre').nth(1).textContent(),
      '00000000  53 53 48 2d 32 2e 30 2d  6c 69 62 73 73 68 32 5f  |SSH-2.0-libssh2_|\n00000010  31 2e 39 2e 30 0d 0a                              |1.9.0..|',
    );
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByText('Bytes received').click()]);
    assert.equal(readFileSync(await download.path(), 'latin1'), 'SSH-2.0-libssh2_1.9.0\r\n');
    await page.keyboard.press('Escape');
    await page.locator('#detail').waitFor({ state: 'hidden' });
    await page.waitForURL((url) => url.hash === '');
    await page.locator(`tr[data-id="${id}"] a`).focus();
    await page.keyboard.press('Enter');
    await page.locator('#detail .chunk').first().waitFor();
    await page.goBack();
    await page.locator('#detail').waitFor({ state: 'hidden' });
    // A link from elsewhere: a new document, not a change of the fragment in this one.
    await page.goto('about:blank');
    await page.goto(`${bed.server.origin}/#session/${id}`);
    await page.locator('#detail .chunk').first().waitFor();
    assert.deepEqual(bed.complaints, []);
  });

  it('shows hostile text without acting on it', async () => {
    const at = systemClock();
    await bed.record(
      { kind: 'session', session: hostileSession(at, 1) },
      { kind: 'session', session: hostileSession(at - 1e6, 2) },
      { kind: 'alert', alert: sampleAlert(at, 3, { message: '<img src=x onerror="window.owned=1">' }) },
    );
    bed.status = { ...bed.status, health: 'bad', reasons: ['<script>window.owned=1</script>'] };
    const page = await bed.signedIn(browser);
    await page.locator(`tr[data-id="${sampleId(at, 1)}"] a`).click();
    await page.locator('#detail .chunk').first().waitFor();
    await page.locator('#alert-hint').getByText('<img src=x').waitFor();
    const found = await page.evaluate(`({
      owned: 'owned' in window,
      title: document.title,
      scripts: [...document.scripts].map(({ src }) => new URL(src).pathname),
      images: [...document.images].map(({ src }) => new URL(src).pathname),
      unsafe: /[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u202e]/.test(document.body.innerText),
    })`);
    assert.deepEqual(found, { owned: false, title: 'Weir', scripts: ['/main.js'], images: ['/icon.svg'], unsafe: false });
    assert.match((await page.locator('#detail-facts').textContent()) ?? '', /\\x1b\]0;owned\\x07/);
    assert.deepEqual(bed.complaints, []);
  });

  it('stays usable in a flood of five thousand sessions a second', async () => {
    const page = await bed.signedIn(browser);
    let number = 0;
    const burst = (count: number): void => {
      const at = systemClock();
      bed.stream(
        ...Array.from({ length: count }, (): WeirEvent => {
          number += 1;
          return {
            kind: 'session',
            session: sampleSession(at, number, { chunks: [sampleChunk(at, 'in', `GET /${number} HTTP/1.1\r\n`)] }),
          };
        }),
      );
    };
    const flood = setInterval(() => burst(500), 100);
    try {
      await page.getByText('A flood:').waitFor();
      await rowsToBe(page, 400);
      await page.getByRole('button', { name: 'Pause' }).click();
      await page.getByRole('button', { name: /Resume \([\d,]+ new\)/ }).waitFor();
      await page.locator('#rows a').first().focus();
      assert.equal(await rowCount(page), 400);
    } finally {
      clearInterval(flood);
    }
    assert.ok(number >= 5000, String(number));
    assert.deepEqual(bed.complaints, []);
  });

  for (const colorScheme of ['light', 'dark'] as const)
    it(`is readable in ${colorScheme}`, async () => {
      const at = systemClock();
      await bed.record(...sampleEvents(at), { kind: 'probe', probe: sampleProbe(at, 20) });
      const page = await bed.signedIn(browser, { colorScheme, reducedMotion: 'reduce' });
      await page.locator('#rows tr').nth(4).waitFor();
      await page.locator('#top-hits li button').first().waitFor();
      const selectors = [
        'body',
        'h2',
        '.quiet',
        '#count-sessions',
        '#count-alerts',
        'td a',
        'td .tag',
        'td .quiet',
        '.end-client-closed',
        '.end-open',
        'th',
        '.top-figure',
        '.top-other',
        '#health-text',
        '.doubt',
        '.filters label',
      ];
      for (const { selector, ratio } of await page.evaluate<{ selector: string; ratio: number }[]>(contrastOf(selectors)))
        assert.ok(ratio >= 4.5, `${selector}: ${ratio.toFixed(2)}`);
      const brightness = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
      assert.equal(/^rgb\(2\d\d/.test(brightness), colorScheme === 'light', brightness);
    });

  it('fits a telephone and a desk without scrolling sideways', async () => {
    const at = systemClock();
    await bed.record(...sampleEvents(at));
    const page = await bed.signedIn(browser);
    for (const width of [1280, 768, 390, 320]) {
      await page.setViewportSize({ width, height: 800 });
      await page.locator('#rows tr').first().waitFor();
      const { scroll, inner } = await page.evaluate<{ scroll: number; inner: number }>(widths);
      assert.ok(scroll <= inner, `${width}: ${scroll}`);
    }
    await page.locator('#rows a').first().click();
    await page.locator('#detail .chunk').first().waitFor();
    const sheet = await page.evaluate<number>("document.getElementById('detail').getBoundingClientRect().width");
    assert.ok(sheet <= 320, String(sheet));
  });

  it('shows attackers, one on a sheet, and behaviour with its evidence; hostile text does nothing', async () => {
    const at = systemClock();
    await bed.recordFound(sampleEvents(at), sampleInsights(at));
    const page = await bed.signedIn(browser);
    const marked = page.locator(`tr[data-id="${sampleId(at - 300e6, 2)}"]`);
    await marked.getByText('shell-command-download').waitFor();
    await page.getByRole('link', { name: 'Attackers' }).click();
    const row = page.locator('tr[data-ip="2001:db8::7"]');
    await row.waitFor();
    assert.match((await row.textContent()) ?? '', /2001:db8::7NL, AS64500 Example Net.*exploitation.*shell-command-download/);
    assert.equal(await page.locator('#sessions').isVisible(), false);
    await row.click();
    await page.locator('#attacker h3').getByText('Payload families').waitFor();
    assert.match(
      (await page.locator('#attacker').textContent()) ?? '',
      /matched shell-command-download.*80\/tcp.*HTTP GET \/shell/,
    );
    await page.keyboard.press('Escape');
    await page.getByRole('link', { name: 'Behaviour' }).click();
    await page.locator('#verdicts > li:nth-child(3)').waitFor();
    assert.match(
      (await page.locator('#verdicts > li:nth-child(2)').textContent()) ?? '',
      /port scan198\.51\.100\.7certain · .* at 10\.66\.3\.4 · 120 hits · with ZMap · T1046118 ports of 10\.66\.3\.4 in 42 s/,
    );
    await page.locator('#behaviour-kind').selectOption('exploitation');
    await page.locator('#verdicts:not(:has(> li:nth-child(2)))').waitFor();
    await page.locator('#behaviour-kind').selectOption('');
    await page.locator('#verdicts > li:nth-child(3)').waitFor();
    const grown = { ...sampleInsights(at).verdicts[0], end: at, hits: 4711 };
    await bed.recordFound([], { sessions: [], verdicts: [grown], families: [], places: [] });
    await page.locator('#verdicts').getByText('4,711 hits').waitFor();
    await page.locator('#verdicts a').first().click();
    await page.locator('#attacker-title').getByText('203.0.113.9').waitFor();
    await page.keyboard.press('Escape');
    for (const width of [1280, 768, 320]) {
      await page.setViewportSize({ width, height: 800 });
      for (const view of ['Attackers', 'Behaviour']) {
        await page.getByRole('link', { name: view }).click();
        const { scroll, inner } = await page.evaluate<{ scroll: number; inner: number }>(widths);
        assert.ok(scroll <= inner, `${view} at ${width}: ${scroll}`);
      }
    }
    await page.locator('#tab-sessions').click();
    await marked.click();
    await page.locator('#detail-findings h3').getByText('Part of').waitFor();
    assert.match((await page.locator('#detail-findings').textContent()) ?? '', /urlhttp:\/\/198\.51\.100\.1\/x.*exploitation/);
    assert.equal(await page.evaluate('window.owned'), undefined);
    assert.deepEqual(bed.complaints, []);
  });

  it('leads from a campaign to its members, from a member to its sessions, and back', async () => {
    const at = systemClock();
    const { events, insights } = sampleCampaign(at - 60e6);
    await bed.recordFound(events, insights);
    const page = await bed.signedIn(browser);
    await page.locator('#tab-campaigns').click();
    const campaign = page.locator('#campaign-list > li[data-id]');
    await campaign.locator('summary').click();
    assert.equal(await campaign.count(), 1);
    assert.match((await campaign.locator('header').textContent()) ?? '', /6 sources · 6 hits/);
    assert.equal(await campaign.locator('details li').count(), 6);
    const { scroll, inner } = await page.evaluate<{ scroll: number; inner: number }>(widths);
    assert.ok(scroll <= inner, String(scroll));
    await campaign.locator('details a').first().click();
    await page.locator('#attacker-title').getByText('192.0.2.10').waitFor();
    await page.locator('#attacker h3').getByText('Campaigns').waitFor();
    await page.locator('#attacker-sessions').click();
    await rowsToBe(page, 1);
    assert.equal(await page.locator('#attacker').isVisible(), false);
    assert.equal(await page.locator('input[name="source"]').inputValue(), '192.0.2.10');
    await page.locator('#rows tr').click();
    await page.locator('#detail-attacker[href="#attacker/192.0.2.10"]').click();
    await page.locator('#attacker h3').getByText('Ports').waitFor();
    assert.equal(await page.locator('#detail').isVisible(), false);
    assert.deepEqual(bed.complaints, []);
  });

  it('comes back by itself when the recorder was away', async () => {
    const page = await bed.signedIn(browser);
    await page.context().setOffline(true);
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
    await page.waitForSelector('#live[data-state="lost"]');
    assert.equal(await page.locator('#health-text').textContent(), 'connection lost');
    const at = systemClock();
    await bed.record({ kind: 'session', session: sampleSession(at, 1) });
    await page.context().setOffline(false);
    await page.waitForSelector('#live[data-state="live"]');
    await page.locator(`tr[data-id="${sampleId(at, 1)}"]`).waitFor();
  });
});
