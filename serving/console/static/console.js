// A slider and its number are one weight: whichever moves, the other follows, and the number is what is sent.
"use strict";
document.addEventListener("input", (event) => {
  const slider = event.target.closest("input[type=range][data-number]");
  if (slider) {
    const number = document.getElementById(slider.dataset.number);
    number.value = String(Number(Number(slider.value).toPrecision(3)));
    return;
  }
  const followed = document.querySelector(`input[data-number="${CSS.escape(event.target.id)}"]`);
  if (followed) followed.value = event.target.value;
}, true);

// What had the focus may be gone after a swap: it goes to its successor, else to what it was of, the answer, the part.
let next = [];
document.addEventListener("htmx:beforeRequest", (event) => {
  const had = document.activeElement;
  if (had === document.body || !event.detail.elt.contains(had)) return;
  const named = [had.id, had.getAttribute("aria-controls"), "answer", "part"].filter(Boolean).map((id) => `#${CSS.escape(id)}`);
  const having = (element, names) => names.filter((name) => element?.hasAttribute(name))
    .map((name) => `[${name}="${CSS.escape(element.getAttribute(name))}"]`).join("");
  const form = having(had.form, ["action"]), itself = having(had, had.tagName === "INPUT" ? ["name"] : ["name", "value", "href", "formaction"]);
  next = form || itself ? [`${form && `form${form} `}${had.tagName}${itself}`, ...named] : named;
});
document.addEventListener("htmx:afterSettle", () => {
  if (document.activeElement === document.body)
    next.map((css) => document.querySelector(css)).find((found) => found && !found.disabled)?.focus({ preventScroll: true });
  next = [];
});
