// The slider of the threshold, and the filter of the mistakes.
"use strict";
for (const box of document.querySelectorAll(".prices")) {
  const prices = JSON.parse(box.dataset.prices);
  const slider = box.querySelector("input"), told = [box.querySelector("output"), box.querySelector(".typed")];
  const share = (part, whole) => whole ? (part / whole).toFixed(3) : "–";
  const figures = ({ positives, negatives, found, false_alarms }, at) => {
    const called = found[at] + false_alarms[at];
    const balanced = found[at] / positives + (negatives - false_alarms[at]) / negatives;
    return {
      recall: share(found[at], positives),
      precision: share(found[at], called),
      false_alarms: share(false_alarms[at], negatives),
      balanced: share(balanced, positives && negatives ? 2 : 0),
      called: `${called.toLocaleString("en-US")} of ${(positives + negatives).toLocaleString("en-US")}`,
    };
  };
  const show = () => {
    const at = Number(slider.value), threshold = prices.thresholds[at];
    for (const one of told) one.textContent = threshold;
    slider.setAttribute("aria-valuetext", threshold);
    for (const cell of box.querySelectorAll("[data-split]"))
      cell.textContent = figures(prices[cell.dataset.split], at)[cell.parentElement.dataset.figure];
  };
  slider.addEventListener("input", show);
  show();
  box.hidden = false;
}
for (const gallery of document.querySelectorAll(".mistakes")) {
  const filter = document.querySelector(".filter"), more = document.querySelector(".more");
  const kind = filter.querySelector("select"), words = filter.querySelector("input"), told = filter.querySelector("output");
  const all = [...gallery.children];
  let most = Number(gallery.dataset.first);
  const show = () => {
    const sought = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fit = all.filter((one) => (!kind.value || one.dataset.kind === kind.value) &&
      sought.every((word) => one.textContent.toLowerCase().includes(word)));
    const shown = new Set(fit.slice(0, most));
    for (const one of all) one.hidden = !shown.has(one);
    told.textContent = `${shown.size} of ${fit.length} shown`;
    more.hidden = shown.size === fit.length;
  };
  filter.addEventListener("input", show);
  filter.addEventListener("submit", (event) => event.preventDefault());
  more.querySelector("button").addEventListener("click", () => { most = all.length; show(); });
  filter.hidden = false;
  show();
}
