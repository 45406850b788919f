// What two texts have of their own, word by word; the library that compares is loaded when asked for.

const LONGEST_MILLISECONDS = 3000;
let diffWords;

/** Make `compareWords` ready. */
export async function loadWordDiff() {
  diffWords ??= (await import("../vendor/diff/diff/word.js")).diffWords;
}

/** Pieces of both texts in order (`added` is only in the second, `removed` only in the first);
    null where comparing them would take too long. */
export function compareWords(first, second, timeout = LONGEST_MILLISECONDS) {
  const intlSegmenter = Intl.Segmenter && new Intl.Segmenter(undefined, { granularity: "word" });
  return diffWords(first, second, { intlSegmenter, timeout }) ?? null;
}

export function countWords(text) {
  if (!Intl.Segmenter) return text.split(/\s+/).filter(Boolean).length;
  const segments = new Intl.Segmenter(undefined, { granularity: "word" }).segment(text);
  return [...segments].filter((segment) => segment.isWordLike).length;
}
