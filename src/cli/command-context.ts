// What every verb gets: which configuration, where to read, how to print. One per command that runs.

import { existsSync } from 'node:fs';
import path from 'node:path';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { Configuration } from '../model/configuration.ts';
import type { ActionContext, ActionResult } from './actions.ts';
import type { CommandEnvironment } from './environment.ts';
import { type Reader, RecorderReader, StoreReader } from './reader.ts';
import { type Style, styleFor } from './style.ts';
import { type Column, renderTable } from './table.ts';

export interface CommonOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** Of a line: many file names are one. */
const longestNote = 65_536;
const systemConfiguration = '/etc/weir/weir.yaml';

export class CommandContext {
  readonly environment: CommandEnvironment;
  readonly json: boolean;
  readonly style: Style;
  readonly #given: string | undefined;
  #configuration: Configuration | undefined;

  constructor(environment: CommandEnvironment, options: CommonOptions) {
    this.environment = environment;
    this.json = options.json === true;
    this.style = styleFor(environment.stdout, environment.variables);
    this.#given = options.config;
  }

  /** Microseconds now. */
  get now(): number {
    return this.environment.clock();
  }

  /** -c, else ./weir.yaml, else /etc/weir/weir.yaml, else undefined: the defaults. Throws `config-unreadable`. */
  get configurationFile(): string | undefined {
    const { cwd } = this.environment;
    if (this.#given !== undefined) {
      const file = path.resolve(cwd, this.#given);
      if (!existsSync(file)) throw new WeirError('config-unreadable', `there is no ${file}`, { file });
      return file;
    }
    return [path.join(cwd, 'weir.yaml'), systemConfiguration].find((file) => existsSync(file));
  }

  async configuration(): Promise<Configuration> {
    this.#configuration ??= await this.environment.readConfiguration(this.configurationFile);
    return this.#configuration;
  }

  get action(): ActionContext {
    return { configurationFile: this.configurationFile, json: this.json, environment: this.environment };
  }

  /** Where a recorder answers, if one runs. */
  async recorderSocket(): Promise<string> {
    const { data } = await this.configuration();
    return path.join(data, 'run', 'recorder.sock');
  }

  async recorder(): Promise<RecorderReader> {
    return new RecorderReader(await this.recorderSocket());
  }

  /** The recorder when one answers, else the store it left behind. */
  async reader(): Promise<Reader> {
    const { data } = await this.configuration();
    const recorder = await this.recorder();
    try {
      await recorder.sessions({ limit: '1', until: '1970-01-02' });
      return recorder;
    } catch (error) {
      if (!(error instanceof WeirError) || error.code !== 'not-running') throw error;
      try {
        const store = await this.environment.openStore(data);
        await this.note(`no recorder runs: reading what is stored below ${data}`);
        return new StoreReader(store, this.environment.clock);
      } catch (opening) {
        if (!(opening instanceof WeirError) || opening.code !== 'not-found') throw opening;
        throw new WeirError('not-running', `Weir does not run and nothing is recorded below ${data}`, {
          next: 'start it with `weir up`, or name another configuration with -c',
        });
      }
    }
  }

  /** Runs `use` with a reader and closes it. */
  async read<T>(use: (reader: Reader) => Promise<T>): Promise<T> {
    const reader = await this.reader();
    try {
      return await use(reader);
    } finally {
      await reader.close();
    }
  }

  async print(text: string): Promise<void> {
    await this.environment.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
  }

  async printJson(value: unknown): Promise<void> {
    await this.environment.stdout.write(`${JSON.stringify(value)}\n`);
  }

  /** JSON lines. */
  async printJsonLines(values: readonly unknown[]): Promise<void> {
    for (let at = 0; at < values.length && !this.environment.stdout.closed; at += 500)
      await this.environment.stdout.write(
        values
          .slice(at, at + 500)
          .map((value) => `${JSON.stringify(value)}\n`)
          .join(''),
      );
  }

  async printResult(result: ActionResult): Promise<number> {
    if (this.json) await this.printJson(result.json);
    else if (result.text !== '') await this.print(result.text);
    return result.exitCode ?? 0;
  }

  /** Cut to the terminal's width; in full when the output goes elsewhere. */
  async printTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], titles = true): Promise<void> {
    const lines = renderTable(columns, rows, {
      width: this.width,
      paintTitle: this.style.dim,
      titles,
    });
    await this.print(lines.map((line) => line.trimEnd()).join('\n'));
  }

  get width(): number {
    return this.environment.stdout.isTerminal ? this.environment.stdout.columns() : 0;
  }

  /** Progress and remarks: standard error. Names in it may be somebody else's choice, of interfaces too: only its line ends are kept. */
  async note(text: string): Promise<void> {
    const lines = text.split('\n').map((line) => printable(line, longestNote));
    await this.environment.stderr.write(`weir: ${lines.join('\n')}\n`);
  }
}
