// Shows the values of a plot under the pointer, and opens what is folded before the page is printed.
"use strict";
{
  const folded = () => document.querySelectorAll("details:not([open])");
  let opened = [];
  addEventListener("beforeprint", () => { opened = [...folded()]; for (const one of opened) one.open = true; });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });

  const number = (value, axis) => axis.names[String(value)] ??
    value.toLocaleString("en-US", { maximumSignificantDigits: 4 });
  const along = (axis, value) => axis.log
    ? Math.log(value / axis.low) / Math.log(axis.high / axis.low)
    : (value - axis.low) / (axis.high - axis.low);

  // The point of the axes that is nearest to the pointer; both in pixels of the drawing.
  const nearest = (axes, pointer, size) => {
    let best = null;
    for (const one of axes.series) {
      one.x.forEach((x, at) => {
        const y = one.y[at];
        if (x === null || y === null) return;
        const left = (axes.box[0] + axes.box[2] * along(axes.x, x)) * size.width;
        const top = (axes.box[1] + axes.box[3] * (1 - along(axes.y, y))) * size.height;
        const distance = axes.across ? Math.abs(left - pointer.x) : Math.hypot(left - pointer.x, top - pointer.y);
        if (Number.isFinite(distance) && (best === null || distance < best.distance)) best = { one, at, left, top, distance };
      });
    }
    return best;
  };

  const row = (text, color) => {
    const line = document.createElement("div");
    if (color) {
      const swatch = document.createElement("i");
      swatch.style.background = color;
      line.append(swatch);
    }
    line.append(text);
    return line;
  };

  const show = (plot, drawing, event) => {
    const size = drawing.getBoundingClientRect();
    const pointer = { x: event.clientX - size.left, y: event.clientY - size.top };
    const axes = drawing.values.find(({ box }) =>
      pointer.x >= box[0] * size.width && pointer.x <= (box[0] + box[2]) * size.width &&
      pointer.y >= box[1] * size.height && pointer.y <= (box[1] + box[3]) * size.height);
    const best = axes && nearest(axes, pointer, size);
    if (!best) return hide(plot);
    const mark = plot.querySelector(".mark"), values = plot.querySelector(".values");
    mark.hidden = values.hidden = false;
    mark.className = axes.across ? "mark" : "mark dot";
    mark.style.left = `${best.left}px`;
    mark.style.top = `${axes.across ? axes.box[1] * size.height : best.top}px`;
    mark.style.height = axes.across ? `${axes.box[3] * size.height}px` : "";
    const x = best.one.x[best.at];
    const head = axes.x.names[String(x)] ?? `${number(x, axes.x)} ${axes.x.label}`;
    const shown = axes.across ? axes.series : [best.one];
    values.replaceChildren(row(head), ...shown.filter((one) => one.y[best.at] !== null).map((one) =>
      row(`${one.name ? one.name + ": " : ""}${number(one.y[best.at], axes.y)} ${axes.y.label.length < 12 ? axes.y.label : ""}`, one.color)));
    const right = best.left > size.width / 2;
    values.style.left = right ? "auto" : `${best.left + 12}px`;
    values.style.right = right ? `${size.width - best.left + 12}px` : "auto";
    values.style.top = `${axes.box[1] * size.height}px`;
  };
  const hide = (plot) => { for (const one of plot.querySelectorAll(".mark, .values")) one.hidden = true; };

  for (const plot of document.querySelectorAll("figure.plot")) {
    for (const kind of ["mark", "values"]) {
      const element = document.createElement("div");
      element.className = kind;
      element.hidden = true;
      plot.append(element);
    }
    for (const drawing of plot.querySelectorAll("svg")) {
      drawing.values = JSON.parse(drawing.dataset.values || "[]");
      for (const kind of ["pointermove", "pointerdown"]) drawing.addEventListener(kind, (event) => show(plot, drawing, event));
      drawing.addEventListener("pointerleave", () => hide(plot));
    }
  }
}
