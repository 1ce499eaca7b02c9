// What the page asks the recorder: typed answers, errors with the API's own words, the way back to signing in.

export interface Place {
  readonly geo?: { readonly country_iso_code: string };
  readonly as?: { readonly number: number; readonly organization?: { readonly name: string } };
}

export interface Signature {
  readonly id: string;
  readonly name: string;
  readonly severity: string;
  readonly captures?: Readonly<Record<string, string>>;
}

export interface Fact {
  readonly kind: string;
  readonly value: string;
}

export interface Verdict {
  readonly '@timestamp': string;
  readonly event: { readonly id: string; readonly start: string; readonly end: string };
  readonly source: { readonly ip: string } & Place;
  readonly destination?: { readonly ip?: string; readonly port?: number };
  readonly network: { readonly transport?: string };
  readonly threat?: { readonly technique: { readonly id: readonly string[] } };
  readonly vulnerability?: { readonly id: readonly string[] };
  readonly weir: {
    readonly verdict: {
      readonly behaviour: string;
      readonly severity: string;
      readonly confidence: string;
      readonly hits: number;
      readonly tool?: string;
      readonly evidence: readonly string[];
    };
  };
}

export interface Attacker {
  readonly event: { readonly start: string; readonly end: string };
  readonly source: { readonly ip: string; readonly bytes: number } & Place;
  readonly weir: {
    readonly attacker: {
      readonly sessions: number;
      readonly probes: number;
      readonly ports: number;
      readonly decoys: number;
      readonly behaviours: readonly string[];
      readonly tools: readonly string[];
      readonly signatures: readonly string[];
    };
  };
}

export interface AttackerPage {
  readonly attacker: Attacker;
  readonly ports: readonly TopRow[];
  readonly decoys: readonly TopRow[];
  readonly credentials: readonly TopRow[];
  readonly facts: readonly (Fact & { readonly hits: number })[];
  readonly verdicts: readonly Verdict[];
  readonly families: readonly { readonly id: string; readonly label: string; readonly example: string }[];
}

export interface Campaign {
  readonly id: string;
  readonly label: string;
  readonly event: { readonly start: string; readonly end: string };
  readonly size: number;
  readonly hits: number;
  readonly bonds: readonly string[];
  readonly members: readonly {
    readonly source: { readonly ip: string };
    readonly hits: number;
    readonly reasons: readonly string[];
  }[];
}

export interface Session {
  readonly '@timestamp': string;
  readonly event: { readonly id: string; readonly start: string; readonly end?: string; readonly duration?: number };
  readonly source: { readonly ip: string; readonly port: number; readonly mac?: string; readonly bytes: number } & Place;
  readonly destination: { readonly ip: string; readonly port: number; readonly bytes: number };
  readonly network: { readonly transport: string; readonly protocol?: string };
  readonly tls?: {
    readonly version?: string;
    readonly client: { readonly ja3: string; readonly ja4: string; readonly server_name?: string };
  };
  readonly user?: { readonly name: string };
  readonly weir: {
    readonly session: { readonly id: string; readonly outcome: string; readonly source_reliable: boolean };
    readonly diversion: string;
    readonly service: string;
    readonly persona?: string;
    readonly password?: string;
    readonly syn?: { readonly ttl: number; readonly window: number; readonly options: string; readonly system?: string };
    readonly payload: {
      readonly sha256?: string;
      readonly truncated: boolean;
      readonly chunks: number;
      readonly preview?: string;
      readonly family?: string;
    };
    readonly tags?: readonly string[];
    readonly signatures?: readonly Signature[];
    readonly facts?: readonly Fact[];
  };
  readonly threat?: { readonly technique: { readonly id: readonly string[] } };
  readonly vulnerability?: { readonly id: readonly string[] };
}

export interface Chunk {
  readonly at: string;
  readonly direction: 'in' | 'out';
  readonly bytes: string;
}

export interface Counts {
  readonly sessions: number;
  readonly openSessions: number;
  readonly probes: number;
  readonly sources: number;
  readonly bytesIn: number;
  readonly alerts: number;
}

export interface TopRow {
  readonly key: string;
  readonly hits: number;
  readonly sources: number;
}

export interface Point {
  readonly at: number;
  readonly sessions: number;
  readonly probes: number;
}

export interface Status {
  readonly health?: string;
  readonly reasons?: readonly string[];
  readonly confirmBefore?: string;
  readonly drops?: Readonly<Record<string, number>>;
  readonly diversions?: readonly { readonly name: string; readonly ranges: readonly string[] }[];
}

export interface LiveMessage {
  readonly at: string;
  readonly sessions: readonly Session[];
  readonly skipped: number;
  readonly missed?: number;
  readonly alerts: readonly { readonly message: string }[];
  readonly verdicts: readonly Verdict[];
  readonly rate: readonly (readonly [number, number, number])[];
}

export type Query = Readonly<Record<string, string>>;

export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function queryText(query: Query): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== '') parameters.set(key, value);
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}

/** Goes to the sign-in page when the session has ended. Throws ApiError with the API's own message. */
export async function ask<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  const response = await fetch(`/api/${path}${queryText(query)}`, { signal, headers: { Accept: 'application/json' } });
  if (response.status === 401) {
    location.assign('/sign-in');
    throw new ApiError(401, 'unauthorized', 'signed out');
  }
  if (!response.ok) {
    const body = (await response.json().catch(() => undefined)) as { error?: { code?: string; message?: string } } | undefined;
    throw new ApiError(response.status, body?.error?.code ?? 'fault', body?.error?.message ?? `status ${response.status}`);
  }
  return (await response.json()) as T;
}
