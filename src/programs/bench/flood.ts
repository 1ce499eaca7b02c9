import type { BenchReport, Say } from './bench.ts';
export const benchFlood = async (_say: Say): Promise<BenchReport> => ({ text: '', json: {} });
