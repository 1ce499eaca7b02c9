// A key that takes one absolute path or a list of them.

import * as forms from './forms.ts';

const maxPaths = 64;

/** One path, or a list of them. */
export const paths = forms.form((value): readonly string[] | forms.Wrong => {
  const items: readonly unknown[] = Array.isArray(value) ? value : [value];
  const read: string[] = [];
  for (let index = 0; index < items.length; index += 1) {
    const parsed = forms.absolutePath.safeParse(items[index]);
    if (!parsed.success)
      return new forms.Wrong(
        parsed.error.issues[0].message,
        'write a path that begins with /',
        Array.isArray(value) ? [index] : [],
      );
    read.push(parsed.data);
  }
  return read.length <= maxPaths
    ? read
    : new forms.Wrong(`these are ${read.length} paths`, `name at most ${maxPaths}; a directory counts as one`);
});
