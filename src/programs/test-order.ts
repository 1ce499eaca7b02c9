// Which test files share the machine with whom, and which of them begin first: what `weir test` plans by. Running them is
// run-tests.ts.

/** Rooms whose tests make namespaces and load the machine. */
const labRooms = /^dist\/test\/(kernel|e2e|guest)\//;
/** What tests beside the source name that do the same, or need root. */
const labWords = /support\/namespace|namespace-lab|getuid/;

/** Files that have the machine to themselves, each with what it would take from others or they from it. */
export const aloneFiles: Readonly<Record<string, string>> = {
  'test/e2e/scan-decoys.test.ts': 'a thousand of the 1,024 neighbours that all namespaces of a machine may have together',
  'test/guest/guest.test.ts': 'a machine of two processors, emulated: neighbours and it would slow each other down',
  'test/guest/million-decoys.test.ts': 'a machine of two processors, emulated: neighbours and it would slow each other down',
};

/**
 * Files of twenty seconds and more, the longest first: begun last, one would keep a lane busy long after the others are empty.
 * A file that is not here costs nothing but that.
 */
export const longFiles: readonly string[] = [
  'test/guest/guest.test.ts',
  'test/guest/million-decoys.test.ts',
  'test/e2e/agent-upgrade.test.ts',
  'test/e2e/agent-states.test.ts',
  'test/kernel/netops-doctor.test.ts',
  'test/e2e/privileged-agent.test.ts',
  'test/e2e/agent.test.ts',
  'test/e2e/scan.test.ts',
  'test/e2e/change.test.ts',
  'test/kernel/fabric.test.ts',
  'test/e2e/office.test.ts',
  'test/e2e/demo.test.ts',
  'test/e2e/packet-transport.test.ts',
  'test/e2e/console.test.ts',
  'test/e2e/agent-faults.test.ts',
  'test/kernel/stack-traffic.test.ts',
  'test/e2e/segments.test.ts',
  'test/e2e/chain.test.ts',
  'test/e2e/relay.test.ts',
  'test/e2e/suricata.test.ts',
  'test/e2e/crash.test.ts',
  'test/kernel/ids.test.ts',
  'test/e2e/reconcile.test.ts',
  'test/kernel/intake.test.ts',
  'src/programs/program-files.test.ts',
  'src/programs/agent-keeper.test.ts',
];

export interface TestOrder {
  /** Tests of functions and of what one process holds: as many at once as there are processors. */
  readonly plain: readonly string[];
  /** Tests that mostly wait, for kernels, programs and packets, each in namespaces of its own: as many at once, too. */
  readonly labs: readonly string[];
  /** One after another, at the end. */
  readonly alone: readonly string[];
}

/** `files` relative to the checkout, as built (`dist/test/e2e/scan.test.js`); `read` gives the text of one. */
export function planTestOrder(files: readonly string[], read: (file: string) => string): TestOrder {
  const sourceOf = (file: string): string => file.replace(/^dist\//, '').replace(/\.js$/, '.ts');
  const place = (file: string): number => {
    const found = longFiles.indexOf(sourceOf(file));
    return found < 0 ? longFiles.length : found;
  };
  const ordered = files.toSorted((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
  const isLab = (file: string): boolean => labRooms.test(file) || labWords.test(read(file));
  const alone = ordered.filter((file) => sourceOf(file) in aloneFiles);
  const others = ordered.filter((file) => !alone.includes(file));
  return { plain: others.filter((file) => !isLab(file)), labs: others.filter(isLab), alone };
}
