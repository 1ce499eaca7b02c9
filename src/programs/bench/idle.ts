import type { BenchReport, Say } from './bench.ts';
export const benchIdle = async (_say: Say): Promise<BenchReport> => ({ text: '', json: {} });
