// Text that is kept longer than its line. A part of a string keeps the whole string in memory, so of long lines the parts
// that stay are copied; of short ones a copy would cost more than it frees.

/** A string that holds on to no other. */
export const ownText = (text: string): string => Buffer.from(text).toString();

/** Lines of at most so many characters may be kept by their parts. */
export const longLine = 4096;
