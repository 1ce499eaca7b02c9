// A real Chromium for tests of the console, and the console's server around a store in memory. Everything is closed and
// removed by `close`. Without a browser tests skip, unless WEIR_TESTS=required.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { HttpServer } from '../../src/api/http-server.ts';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import type { WeirEvent } from '../../src/model/event.ts';
import type { Insights } from '../../src/model/insight.ts';
import type { Status } from '../../src/model/status.ts';
import { MemoryStore } from '../../src/record/memory-store.ts';

const executable = '/usr/bin/chromium';
const packageRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/** False where tests of the browser have to be skipped. */
export const hasBrowser = existsSync(executable);
export const browserRequired = process.env.WEIR_TESTS === 'required';

/** Nothing of it reaches the network: no updates, no sync, a profile of its own. */
export const openBrowser = (): Promise<Browser> =>
  chromium.launch({
    executablePath: executable,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });

export class ConsoleBed {
  readonly store = new MemoryStore();
  status: Status = { health: 'good', diversions: [{ name: 'dmz', kind: 'host', decoys: '32768', ranges: ['10.66.0.0/17'] }] };
  readonly server: HttpServer;
  readonly #directory = mkdtempSync(path.join(tmpdir(), 'weir-console-'));
  readonly #listeners = new Set<(events: readonly WeirEvent[], insights?: Insights) => void>();
  readonly #contexts: BrowserContext[] = [];
  /** What the page complained about: script errors, refused content. */
  readonly complaints: string[] = [];

  constructor(clock: Clock = systemClock) {
    this.server = new HttpServer({
      store: this.store,
      live: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      status: async () => this.status,
      socket: { path: path.join(this.#directory, 'r.sock'), mode: 0o600 },
      console: { address: '127.0.0.1', port: 0, tlsDirectory: this.#directory, packageRoot },
      log: silentLog,
      clock,
    });
  }

  /** Into the store, then to whoever follows: the order the recorder keeps. */
  async record(...events: WeirEvent[]): Promise<void> {
    await this.store.apply(events, {});
    this.stream(...events);
  }

  /** The same with what analysis found in them. */
  async recordFound(events: readonly WeirEvent[], insights: Insights): Promise<void> {
    await this.store.apply(events, {}, insights);
    for (const listener of this.#listeners) listener(events, insights);
  }

  /** To whoever follows only, for floods. */
  stream(...events: WeirEvent[]): void {
    for (const listener of this.#listeners) listener(events);
  }

  async openPage(browser: Browser, options: BrowserContextOptions = {}): Promise<Page> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    this.#contexts.push(context);
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.on('pageerror', (error) => this.complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.complaints.push(message.text());
    });
    page.on('dialog', (dialog) => {
      this.complaints.push(`dialog ${dialog.message()}`);
      void dialog.dismiss();
    });
    return page;
  }

  /** A page that went through a new one-time link and is live. */
  async signedIn(browser: Browser, options: BrowserContextOptions = {}): Promise<Page> {
    const page = await this.openPage(browser, options);
    await page.goto(this.server.createSignInLink().url);
    await page.waitForSelector('#live[data-state="live"]');
    return page;
  }

  async close(): Promise<void> {
    for (const context of this.#contexts) await context.close();
    await this.server.close();
    rmSync(this.#directory, { recursive: true });
  }
}
