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
