// The connection to what happens now: opens the stream for a filter, says when it breaks, comes back by itself.
// Rests while the page is hidden; whoever comes back asks for what was missed.

import { ApiError, ask, type LiveMessage, type Query, queryText } from './api.ts';

export interface LiveHandlers {
  readonly onMessage: (message: LiveMessage) => void;
  readonly onState: (connected: boolean) => void;
  /** Called when messages may have been missed: load anew. */
  readonly onGap: () => void;
}

const retryMs = 3000;

export class Live {
  readonly #handlers: LiveHandlers;
  #source: EventSource | undefined;
  #query: Query = {};
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(handlers: LiveHandlers) {
    this.#handlers = handlers;
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.#stop();
      else {
        this.#handlers.onGap();
        this.open(this.#query);
      }
    });
  }

  open(query: Query): void {
    this.#query = query;
    this.#stop();
    const source = new EventSource(`/api/live${queryText({ ...query, rows: '40' })}`);
    this.#source = source;
    let opened = false;
    source.onopen = () => {
      if (opened) this.#handlers.onGap();
      opened = true;
      this.#handlers.onState(true);
    };
    source.onmessage = (event: MessageEvent<string>) => this.#handlers.onMessage(JSON.parse(event.data) as LiveMessage);
    source.addEventListener('end', () => this.#broken());
    source.onerror = () => this.#broken();
  }

  /** EventSource does not say why: the API is asked, which leads to the sign-in page when that is it. */
  #broken(): void {
    this.#handlers.onState(false);
    this.#stop();
    ask('status').then(
      () => this.#later(),
      (error: unknown) => {
        if (!(error instanceof ApiError) || error.status !== 401) this.#later();
      },
    );
  }

  #later(): void {
    this.#retry = setTimeout(() => {
      if (document.hidden) return;
      this.#handlers.onGap();
      this.open(this.#query);
    }, retryMs);
  }

  #stop(): void {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = undefined;
  }
}
