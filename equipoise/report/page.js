// what the page shows without this script is complete; this adds reading values, the choice of
// a learning rate, the theme and the copy button
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const said = document.getElementById("said");
  const make = (name, attributes, space) => {
    const node = space ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  // numbers, written as equipoise.report.scale writes them
  const number = (value) => {
    if (!Number.isFinite(value)) return "–";
    const rounded = Number(value.toPrecision(3));
    const size = Math.abs(rounded);
    const text = size && (size < 1e-4 || size >= 1e6)
      ? rounded.toExponential().replace(/e\+?(-?\d+)/, "×10^$1")
      : rounded.toLocaleString("en", { maximumFractionDigits: 9 });
    return text.replace(/-/g, "−");
  };
  const even = (value) => {
    const size = Math.abs(value);
    return size >= 1e-4 && size < 1000 ? value.toPrecision(3).replace("-", "−") : number(value);
  };
  const percent = (value) => (100 * value).toFixed(1).replace("-", "−") + "%";

  const scale = (text) => {
    const [low, high, kind] = text.split(" ");
    const log = kind === "log";
    const [a, b] = [Number(low), Number(high)].map((v) => (log ? Math.log(v) : v));
    return {
      share: (v) => ((log ? Math.log(v) : v) - a) / (b - a),
      value: (s) => (log ? Math.exp(a + s * (b - a)) : a + s * (b - a)),
    };
  };

  // a tip beside the reading point, inside its figure
  const tips = new WeakMap();
  const tipOf = (figure) => {
    if (!tips.has(figure)) {
      const tip = make("div", { class: "tip", hidden: "", "aria-hidden": "true" });
      figure.append(tip);
      tips.set(figure, tip);
    }
    return tips.get(figure);
  };
  const show = (svg, rows, x, y, beside) => {
    const figure = svg.closest("figure") || svg.parentElement;
    const tip = tipOf(figure);
    tip.replaceChildren(...rows);
    tip.hidden = false;
    const box = figure.getBoundingClientRect();
    const [width, height, edge] = [tip.offsetWidth, tip.offsetHeight, document.documentElement.clientWidth - 8];
    const sides = beside ? [x + 14, x - 14 - width] : [];
    const fits = sides.find((left) => left >= 8 && left + width <= edge);
    const left = fits === undefined ? clamp(x - width / 2, 8, edge - width) : fits;
    // where neither side has room, on a phone, it stands above and leaves the curves visible
    const lift = beside && fits === undefined ? height + 6 : 0;
    tip.style.left = `${left - box.left}px`;
    tip.style.top = `${y - box.top - lift}px`;
  };
  const hide = (svg) => { tipOf(svg.closest("figure") || svg.parentElement).hidden = true; };

  // the same pointer and keys for every chart: `read(i)` shows reading point i, `near(event)` finds one
  const readable = (svg, count, read, near, clear) => {
    let at = -1;
    const go = (i, aloud) => {
      at = clamp(i, 0, count - 1);
      const text = read(at);
      if (aloud) said.textContent = text;
    };
    const leave = () => { at = -1; clear(); hide(svg); };
    const name = svg.querySelector("title");
    svg.setAttribute("aria-label", `${name.textContent}. Arrow keys read values.`);
    svg.removeAttribute("aria-labelledby");
    // the browser's own tooltip would cover the values
    name.remove();
    svg.setAttribute("tabindex", "0");
    for (const moved of ["pointermove", "pointerdown"]) {
      svg.addEventListener(moved, (event) => { const i = near(event); if (i >= 0) go(i); });
    }
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") leave(); });
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
      if (event.key === "Escape") return leave();
      if (event.key === "Home") go(0, true);
      else if (event.key === "End") go(count - 1, true);
      else if (step) go(at < 0 ? (step > 0 ? 0 : count - 1) : at + step, true);
      else return;
      event.preventDefault();
    });
  };

  const points = (path) => [...(path ? path.getAttribute("d") : "").matchAll(/(-?[\d.]+) (-?[\d.]+)/g)]
    .map((match) => [Number(match[1]) / 1000, 1 - Number(match[2]) / 1000]);

  // what each line and its band hold at every place: [median, low or high, ...]
  const recorded = (plot, nearest) => [...plot.children].map((group) => {
    const line = group.querySelector(".line");
    const values = new Map(points(line).map(([px, py]) => [nearest(px), [py]]));
    for (const [px, py] of points(group.querySelector(".band"))) values.get(nearest(px))?.push(py);
    return { name: group.dataset.name, colour: line.classList[1], values };
  });

  const lines = (svg) => {
    const xs = svg.dataset.x ? svg.dataset.x.split(" ").map(Number) : [];
    if (!xs.length) return;
    const x = scale(svg.dataset.xscale);
    const y = scale(svg.dataset.yscale);
    const write = "shares" in svg.dataset ? percent : even;
    const nearest = (s) => xs.reduce((best, v, i) => (Math.abs(x.share(v) - s) < Math.abs(x.share(xs[best]) - s) ? i : best), 0);
    const plot = svg.querySelector(".plot");
    const top = Number(plot.getAttribute("y"));
    const tall = Number(plot.getAttribute("height"));
    // read at the first use: a page holds dozens of charts
    let series;
    const layer = make("g", { "pointer-events": "none" }, SVG);
    svg.append(layer);
    const read = (i) => {
      const place = `${100 * x.share(xs[i])}%`;
      const marks = [make("line", { x1: place, x2: place, y1: top, y2: top + tall, class: "crosshair" }, SVG)];
      const head = make("b", {});
      head.textContent = `${svg.dataset.xlabel} ${number(xs[i])}${svg.dataset.xnote || ""}`;
      const rows = [head];
      const words = [head.textContent];
      series ??= recorded(plot, nearest);
      for (const one of series) {
        const [middle, ...range] = one.values.get(i) || [];
        if (middle === undefined) continue;
        const span = range.map((s) => y.value(s)).sort((a, b) => a - b).map(write);
        const text = `${one.name} ${write(y.value(middle))}` + (span.length && span[0] !== span[1] ? ` (${span[0]}–${span[1]})` : "");
        const row = make("div", {});
        row.append(make("i", { class: one.colour }), text);
        rows.push(row);
        words.push(text);
        if (middle >= 0 && middle <= 1) marks.push(make("circle", { cx: place, cy: top + tall * (1 - middle), r: 4, class: `dot ${one.colour}` }, SVG));
      }
      layer.replaceChildren(...marks);
      const box = svg.getBoundingClientRect();
      show(svg, rows, box.left + box.width * x.share(xs[i]), box.top + top, true);
      return words.join("; ");
    };
    const near = (event) => {
      const box = svg.getBoundingClientRect();
      return nearest((event.clientX - box.left) / box.width);
    };
    readable(svg, xs.length, read, near, () => layer.replaceChildren());
  };

  const marks = (svg) => {
    const all = [...svg.querySelectorAll(".mark")];
    if (!all.length) return;
    const texts = all.map((mark) => {
      const title = mark.querySelector("title");
      title.remove();
      return title.textContent;
    });
    const clear = () => all.forEach((mark) => mark.classList.remove("read"));
    const read = (i) => {
      clear();
      all[i].classList.add("read");
      const box = all[i].getBoundingClientRect();
      show(svg, [texts[i]], box.left + box.width / 2, box.bottom + 4, false);
      return texts[i];
    };
    readable(svg, all.length, read, (event) => all.indexOf(event.target.closest(".mark")), clear);
  };

  document.querySelectorAll("svg.lines").forEach(lines);
  document.querySelectorAll("svg.bars, svg.matrix").forEach(marks);

  const rates = document.getElementById("rates");
  if (rates) {
    rates.hidden = false;
    const choose = (key) => document.querySelectorAll(".panel").forEach((panel) => { panel.hidden = panel.id !== key; });
    rates.addEventListener("change", (event) => choose(event.target.value));
    // a reload keeps the choice
    const checked = rates.querySelector("input:checked");
    if (checked) choose(checked.value);
  }

  const theme = document.getElementById("theme");
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; label(); });
  label();

  const copy = document.getElementById("copy");
  if (copy) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      const source = document.getElementById("command");
      const text = source.textContent;
      try {
        await navigator.clipboard.writeText(text);
        copy.textContent = "Copied";
      } catch {
        // the reader copies by hand
        getSelection().selectAllChildren(source);
        copy.textContent = "Selected";
      }
      said.textContent = copy.textContent;
    });
  }

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
