// Finds who tries credentials: by how many different ones came to one port number, and where they cannot be read, by how many
// logins there were. Over all decoys: bots try one pair on each machine they meet.

import type { Micros } from '../../base/clock.ts';
import type { BehaviourThresholds } from '../../model/analysis-settings.ts';
import type { Credential } from '../../model/session.ts';
import type { Episode } from './episode.ts';
import { aboutPort, type EpisodeTable } from './episode-table.ts';
import { episodeKey } from './episodes.ts';
import { NumberMap } from './number-map.ts';
import { NumberSet } from './number-set.ts';
import { portText } from './port-bits.ts';
import { SlidingCount } from './sliding-count.ts';
import type { SourceState } from './source-state.ts';
import { spanText, thresholdText } from './span-text.ts';
import { type Touch, textNumber } from './touch.ts';

/** Ports of one source watched at once. */
const maxGuesses = 8;
const maxShown = 12;
const maxAccepted = 4;
const maxText = 40;
/** What is no longer guessing at one account: so many names, few passwords or as many. */
const manyUsers = 10;

const clipped = (text: string): string => (text.length > maxText ? `${text.slice(0, maxText)}…` : text);
const pairText = ({ userName = '', password = '' }: Credential): string => `${clipped(userName)}:${clipped(password)}`;

export class Guess {
  /** Different credentials of the window, with the time each was last tried. */
  readonly recent = new Map<number, Micros>();
  readonly logins = new SlidingCount();
  readonly users = new NumberSet();
  readonly passwords = new NumberSet();
  /** Decoys of before it had a name. */
  readonly hosts = new NumberSet();
  attempts = 0;
  readonly shown: string[] = [];
  readonly accepted: string[] = [];
  readonly records: string[] = [];
  /** Once it has a name. */
  episode: Episode | undefined;

  get byteLength(): number {
    return (
      1000 +
      this.recent.size * 60 +
      this.users.byteLength +
      this.passwords.byteLength +
      (this.shown.length + this.accepted.length) * 100
    );
  }
}

export class GuessDetector {
  readonly #thresholds: BehaviourThresholds;
  readonly #table: EpisodeTable;
  readonly #window: Micros;

  constructor(thresholds: BehaviourThresholds, table: EpisodeTable) {
    this.#thresholds = thresholds;
    this.#table = table;
    this.#window = thresholds.guessWindowMs * 1000;
  }

  /**
   * A session that ended, with its attempts; none where a login was tried that cannot be read. True when it is part of guessing:
   * a client that always gives the same password is none.
   */
  session(state: SourceState, touch: Touch, attempts: readonly Credential[]): boolean {
    const { at } = touch;
    const key = episodeKey('brute-force', touch.port);
    const active = this.#table.active(state.episodes, key, at);
    const guess = this.#guessOf(state, touch.port, active);
    const fresh = active?.credentials ?? new NumberSet();
    for (const attempt of attempts) this.#note(guess, attempt, at, fresh);
    const logins = guess.logins.add(at, 1, this.#window);
    if (active) {
      this.#extend(active, guess, state, touch);
      return true;
    }
    guess.hosts.add(touch.host);
    guess.records.push(touch.record);
    if (guess.records.length > 16) guess.records.shift();
    const { guessedCredentials, guessedLogins } = this.#thresholds;
    const unread = attempts.length === 0 && logins >= guessedLogins;
    if (!unread && !this.#distinct(guess, at, guessedCredentials)) return false;
    const first = Math.min(guess.logins.first, at, ...guess.recent.values());
    const episode = this.#table.open(state, 'brute-force', touch.port, {
      about: { key: aboutPort(touch.port), port: touch.port },
      start: first,
      at,
      describe: (one) => this.#describe(one, guess),
    });
    if (!episode) {
      // Nobody will ask for them again: what is gathered of one that has no room would grow without end.
      state.guesses?.delete(touch.port);
      return true;
    }
    episode.credentials = new NumberSet();
    episode.hosts.addAll(guess.hosts);
    for (const credential of guess.recent.keys()) episode.credentials.add(credential);
    episode.count(first, logins - 1);
    for (const record of guess.records) episode.rest(record);
    episode.severity = 'medium';
    episode.learn(['T1110.001']);
    guess.episode = episode;
    this.#extend(episode, guess, state, touch);
    return true;
  }

  #guessOf(state: SourceState, port: number, active: Episode | undefined): Guess {
    state.guesses ??= new NumberMap();
    const { guesses } = state;
    let guess = guesses.get(port);
    // What is over is not told again by what comes next.
    if (guess && guess.episode === active) return guess;
    if (!guess) guesses.makeRoom(maxGuesses);
    guess = new Guess();
    guess.episode = active;
    guesses.set(port, guess);
    return guess;
  }

  #note(guess: Guess, attempt: Credential, at: Micros, known: NumberSet): void {
    const { userName = '', password = '', accepted } = attempt;
    const user = textNumber(userName);
    const credential = textNumber(`${userName}\0${password}`);
    guess.attempts += 1;
    guess.users.add(user);
    guess.passwords.add(textNumber(password));
    if (known.add(credential) && guess.shown.length < maxShown) {
      const text = pairText(attempt);
      if (!guess.shown.includes(text)) guess.shown.push(text);
    }
    if (accepted === true && guess.accepted.length < maxAccepted) {
      const text = pairText(attempt);
      if (!guess.accepted.includes(text)) guess.accepted.push(text);
    }
    if (guess.episode) return;
    guess.recent.delete(credential);
    guess.recent.set(credential, at);
  }

  /** Whether there are so many of the window; older ones are let go, so there are never more. */
  #distinct(guess: Guess, at: Micros, wanted: number): boolean {
    if (guess.recent.size < wanted) return false;
    for (const [credential, tried] of guess.recent)
      if (tried < at - this.#window || tried > at + this.#window) guess.recent.delete(credential);
    return guess.recent.size >= wanted;
  }

  #extend(episode: Episode, guess: Guess, state: SourceState, touch: Touch): void {
    episode.count(touch.at, 1);
    episode.target(touch.host, touch.hostName, touch.port);
    episode.flags |= touch.flags;
    episode.rest(touch.record);
    episode.diversion = touch.diversion;
    if (state.tool !== undefined) episode.tool = state.tool;
    if (guess.accepted.length > 0) {
      episode.severity = 'high';
      episode.learn(['T1078']);
    }
    const users = guess.users.size;
    const passwords = guess.passwords.size;
    if (users >= manyUsers && passwords * 5 <= users) episode.learn(['T1110.003']);
    const pairs = episode.credentials?.size ?? 0;
    if (pairs >= 2 * manyUsers && users * 10 >= pairs * 9 && passwords * 10 >= pairs * 7) episode.learn(['T1110.004']);
    this.#table.mark(episode);
  }

  #describe(episode: Episode, guess: Guess): string[] {
    const { guessedCredentials, guessedLogins, guessWindowMs } = this.#thresholds;
    const window = thresholdText(guessWindowMs);
    const port = episode.about.port === undefined ? '' : ` at port ${portText(episode.about.port)}`;
    const place = `${port} of ${episode.hostText} in ${spanText(episode.end - episode.start)}`;
    if (episode.credentialCount === 0)
      return [`${episode.hits} logins${place}; what they tried cannot be read (threshold: ${guessedLogins} in ${window}).`];
    const sentences = [
      `${episode.credentialCount} different credentials in ${episode.hits} sessions${place} (threshold: ${guessedCredentials} in ${window}).`,
    ];
    if (guess.shown.length > 0) sentences.push(`First tried: ${guess.shown.join(', ')}.`);
    if (guess.accepted.length > 0) sentences.push(`Let in with: ${guess.accepted.join(', ')}.`);
    if (guess.users.size > 1)
      sentences.push(`${guess.users.size} user names and ${guess.passwords.size} passwords in ${guess.attempts} attempts.`);
    return sentences;
  }
}
