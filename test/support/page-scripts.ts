// Scripts that tests run inside the page, as text: this side of the tests knows no DOM.

/** How wide the page is and how wide its window. */
export const widths = '({ scroll: document.documentElement.scrollWidth, inner: innerWidth })';

/** `{selector, ratio}[]`: WCAG 2.1 contrast of each element's text with what lies behind it; 0 when there is no such element. */
export const contrastOf = (selectors: readonly string[]): string => `(() => {
  const channels = (colour) => {
    const canvas = document.createElement('canvas');
    canvas.width = 1;
    canvas.height = 1;
    const context = canvas.getContext('2d');
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  return ${JSON.stringify(selectors)}.map((selector) => {
    const element = document.querySelector(selector);
    if (!element) return { selector, ratio: 0 };
    const ink = channels(getComputedStyle(element).color);
    let behind = element;
    while (behind && channels(getComputedStyle(behind).backgroundColor)[3] < 1) behind = behind.parentElement;
    const paper = behind ? channels(getComputedStyle(behind).backgroundColor) : [255, 255, 255, 1];
    const [a, b] = [luminance(ink), luminance(paper)];
    return { selector, ratio: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) };
  });
})()`;
