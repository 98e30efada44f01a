// What a screen reader, a keyboard and weak eyes need, and what a phone must not do: a list of what is wrong with the page.
// Contrast, edges and sizes are those of WCAG 2.2: 1.4.3, 1.4.11, 2.5.8; the width is that of 1.4.10.
const wrong = [], all = css => [...document.querySelectorAll(css)], start = e => e.outerHTML.slice(0, 120);
const labelled = e => e.labels?.length || e.getAttribute('aria-label') || e.type === 'hidden';
for (const e of all('input, select, textarea')) if (!labelled(e)) wrong.push('no label: ' + start(e));
for (const e of all('button, a')) if (!(e.textContent.trim() || e.ariaLabel)) wrong.push('no name: ' + start(e));
for (const tag of ['main', 'h1', 'nav']) if (!document.querySelector(tag)) wrong.push('no ' + tag);
const ids = all('[id]').map(e => e.id);
for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) wrong.push('twice: ' + id);
for (const name of ['aria-labelledby', 'aria-describedby'])
    for (const e of all(`[${name}]`))
        if (!document.getElementById(e.getAttribute(name))) wrong.push('points nowhere: ' + start(e));
for (const e of all('[style], [onclick]')) wrong.push('inline: ' + start(e));
const levels = all('h1, h2, h3, h4').map(e => +e.tagName[1]);
levels.forEach((level, i) => {
    if (i && level > levels[i - 1] + 1) wrong.push('a heading of level ' + level + ' after ' + levels[i - 1]);
});
const seen = e => e.checkVisibility() && !e.closest('.spoken, .skip') && e.getBoundingClientRect().width > 2;
const light = ([r, g, b]) => [.2126 * r, .7152 * g, .0722 * b].reduce((a, b) => a + b);
const linear = c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
const colour = text => text.match(/[\d.]+/g).map(Number);
const contrast = (...two) => two.map(c => light(c.map(linear)) + .05).sort((a, b) => b - a).reduce((a, b) => a / b);
const behind = e => {
    const own = e ? colour(getComputedStyle(e).backgroundColor) : [255, 255, 255];
    return own[3] === 0 ? behind(e.parentElement) : own.slice(0, 3);
};
for (const e of all('body *')) {
    const style = getComputedStyle(e), text = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!text || !seen(e) || e.disabled || e.closest('svg, option')) continue;
    const large = parseFloat(style.fontSize) >= 24, ratio = contrast(colour(style.color).slice(0, 3), behind(e));
    if (ratio < (large ? 3 : 4.5)) wrong.push('contrast ' + ratio.toFixed(2) + ': ' + start(e));
}
for (const e of all('input:not([type=hidden], [type=range], [type=checkbox]), select, button:not(.plain, .do)')) {
    const ratio = contrast(colour(getComputedStyle(e).borderTopColor).slice(0, 3), behind(e.parentElement));
    if (seen(e) && ratio < 3) wrong.push('edge ' + ratio.toFixed(2) + ': ' + start(e));
}
for (const e of all('button, select, summary, input:not([type=hidden], [type=checkbox]), label:has([type=checkbox]), nav a')) {
    const { width, height } = e.getBoundingClientRect();
    if (seen(e) && Math.min(width, height) < 24) wrong.push(`small, ${width} x ${height}: ` + start(e));
}
for (const e of all('[tabindex]')) if (e.tabIndex > 0) wrong.push('order of its own: ' + start(e));
const width = document.documentElement.scrollWidth;
if (width > innerWidth) wrong.push('wider than the screen: ' + width);
return wrong;
