// Draws what payload.py packs: one legend, charts in a grid, one cursor and one zoom for
// all of them. Streamlit calls the exported function again with each new payload, on the
// same parent element; what the reader did (zoom, hidden runs) stays with that element.

const instances = new WeakMap();
const TIP_ROWS = 12;

function unpack(bytes) {
  // The bytes come as a view at any offset; arrays of doubles need an aligned one.
  const buffer = bytes.slice().buffer;
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const base = 4 + length;
  const array = ([offset, count, kind]) =>
    kind === "f4"
      ? new Float32Array(buffer, base + offset, count)
      : new Float64Array(buffer, base + offset, count);
  return { header, array };
}

// Where a chart's logarithmic axis may end: below the least positive value of it.
function footOf(curves) {
  let foot = Infinity;
  for (const curve of curves) {
    for (const values of [curve.values, curve.raw, curve.low, curve.high]) {
      if (values) for (const value of values) if (value > 0 && value < foot) foot = value;
    }
  }
  return foot === Infinity ? 1 : foot / 2;
}

// uPlot's own words: undefined is "no column of this series", null is "the line breaks".
function column(values, log) {
  const out = new Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value !== value) out[i] = undefined;
    else if (value === Infinity || (log && value <= 0)) out[i] = null;
    else out[i] = value;
  }
  return out;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  // Text of users is only ever set as text.
  if (text !== undefined) made.textContent = text;
  return made;
}

function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(4).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(6)));
}

function duration(seconds) {
  const sign = seconds < 0 ? "-" : "";
  const s = Math.abs(seconds);
  if (s < 60) return sign + Number(s.toPrecision(3)) + " s";
  const parts = [Math.floor(s / 86400), Math.floor((s % 86400) / 3600), Math.floor((s % 3600) / 60), Math.floor(s % 60)];
  const units = ["d", "h", "min", "s"];
  const first = parts.findIndex((p) => p > 0);
  return sign + parts.map((p, i) => [p, units[i]]).slice(first, first + 2).filter(([p]) => p).map(([p, u]) => p + " " + u).join(" ");
}

const two = (part) => String(part).padStart(2, "0");

function clock(seconds) {
  const t = new Date(seconds * 1000);
  const day = [t.getFullYear(), two(t.getMonth() + 1), two(t.getDate())].join("-");
  const milliseconds = t.getMilliseconds();
  return day + " " + [t.getHours(), t.getMinutes(), t.getSeconds()].map(two).join(":") + (milliseconds ? "." + String(milliseconds).padStart(3, "0") : "");
}

function where({ axis, axis_name }, value) {
  if (axis === "time") return clock(value);
  if (axis === "relative_time") return duration(value);
  if (axis === "metric") return axis_name + " " + number(value);
  return "step " + Number(value.toPrecision(15)).toLocaleString("en", { maximumFractionDigits: 6 });
}

// A zoomed range to the accuracy that its width gives sense to.
function rangeText(header, [low, high]) {
  if (header.axis === "metric") return where(header, low) + " to " + number(high);
  if (header.axis !== "step") return where(header, low) + " to " + where(header, high);
  const digits = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(high - low))));
  const [from, to] = [low, high].map((x) => x.toLocaleString("en", { maximumFractionDigits: digits }));
  return "steps " + from + " to " + to;
}

// uPlot's ticks of time, by what lies between two of them: text, then what is added where a
// year, month, day, hour, minute or second begins. ISO dates, 24 hours: no country's own.
const DAY = "\n{YYYY}-{MM}-{DD}";
const TIME_TICKS = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", DAY, null, DAY, null, null, null, 1],
  [0.001, "{ss}.{fff}", DAY + " {HH}:{mm}", null, DAY + " {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];

// What may lie between two ticks of a duration, in seconds: what people count by.
const DURATION_TICKS = [
  ...[0.001, 0.01, 0.1, 1].flatMap((one) => [one, 2 * one, 5 * one]),
  ...[10, 15, 30, 60, 120, 300, 600, 900, 1800],
  ...[1, 2, 3, 6, 12, 24, 48, 120].map((hours) => hours * 3600),
  ...[10, 100, 1000, 10000].flatMap((one) => [one, 2 * one, 5 * one]).map((days) => days * 86400),
];

function tick(axis, value) {
  if (axis === "relative_time") return duration(value);
  const size = Math.abs(value);
  if (size >= 1e4) return value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 4 });
  return number(value);
}

class Charts {
  constructor(parent) {
    this.root = element("div", "charts");
    parent.appendChild(this.root);
    this.style = getComputedStyle(this.root);
    this.hidden = new Set();
    this.closed = new Set();
    this.plots = [];
    this.range = null;
    this.highlighted = null;
    this.shape = "";
    this.sync = uPlot.sync("naiad-" + Math.random().toString(36).slice(2));
    this.resize = new ResizeObserver((entries) => {
      for (const entry of entries) {
        const width = Math.floor(entry.contentRect.width);
        const plot = entry.target.plot;
        if (plot && width > 0 && width !== plot.width) plot.setSize({ width, height: plot.height });
      }
    });
  }

  colour(name, fallback) {
    return this.style.getPropertyValue(name).trim() || fallback;
  }

  show(data, setTriggerValue) {
    this.setTriggerValue = setTriggerValue;
    const { header, array } = unpack(data);
    // The address may have changed by the back button: then its range is the newer one.
    const asked = JSON.stringify(header.range);
    if (asked !== this.askedRange) {
      this.askedRange = asked;
      this.range = header.range;
    }
    const charts = header.charts.map((chart) => {
      const foot = header.log ? footOf(chart.curves.map((curve) => ({
        values: array(curve.values),
        raw: curve.raw && array(curve.raw),
        low: curve.low && array(curve.low),
        high: curve.low && array(curve.high),
      }))) : null;
      const curves = chart.curves.map((curve) => {
        const made = { ...curve, style: header.runs[curve.run] };
        made.values = column(array(curve.values), header.log);
        made.unshown = header.log ? array(curve.values).reduce((n, v) => n + (v <= 0), 0) : 0;
        if (curve.raw) made.raw = column(array(curve.raw), header.log);
        if (curve.low && header.envelope) {
          made.low = column(array(curve.low), header.log);
          made.high = column(array(curve.high), header.log);
          made.ends = [array(curve.low), array(curve.high)];
          for (let i = 0; i < made.low.length; i++) {
            // Below zero there is no logarithm: the range then reaches down to the foot.
            if (made.low[i] === null && made.high[i] !== null) made.low[i] = foot;
          }
        }
        return made;
      });
      return { path: chart.path, group: chart.path.split("/").slice(0, -1).join("/"), points: chart.points, x: Array.from(array(chart.x)), curves };
    });
    const shape = JSON.stringify([
      header.axis, header.axis_name, header.log, header.envelope, header.bands, header.height, header.grouped, header.runs,
      charts.map((c) => [c.path, c.curves.map((k) => [k.run, !!k.raw, !!k.low])]),
    ]);
    this.header = header;
    if (shape === this.shape) this.refresh(charts);
    else this.rebuild(charts);
    this.shape = shape;
    this.root.dataset.drawn = String(Number(this.root.dataset.drawn || 0) + 1);
    this.root.dataset.axis = header.axis;
    this.root.dataset.columns = String(Math.max(0, ...charts.map((c) => c.x.length)));
    this.root.dataset.range = this.range ? this.range.join(",") : "";
  }

  destroy() {
    this.resize.disconnect();
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
    this.root.remove();
  }

  rebuild(charts) {
    this.resize.disconnect();
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
    this.root.replaceChildren();
    this.legend(charts);
    this.bar = element("div", "bar");
    this.root.appendChild(this.bar);
    this.tellRange();
    const groups = new Map();
    for (const chart of charts) {
      const name = this.header.grouped ? chart.group : "";
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(chart);
    }
    for (const [name, members] of groups) {
      const grid = element("div", "grid");
      if (this.header.height < 200) grid.style.setProperty("--chart-width", "300px");
      if (this.header.grouped) {
        const details = element("details");
        details.open = !this.closed.has(name);
        details.appendChild(element("summary", "", (name || "(top level)") + " (" + members.length + ")"));
        details.addEventListener("toggle", () => (details.open ? this.closed.delete(name) : this.closed.add(name)));
        details.appendChild(grid);
        this.root.appendChild(details);
      } else this.root.appendChild(grid);
      for (const chart of members) this.plot(chart, grid);
    }
  }

  refresh(charts) {
    this.legend(charts);
    this.tellRange();
    charts.forEach((chart, i) => {
      const plot = this.plots[i];
      plot.chart = chart;
      plot.note.textContent = this.noteOf(chart);
      plot.stands.textContent = this.standsFor(chart);
      plot.setData(this.dataOf(chart), false);
      this.scale(plot);
    });
  }

  tellRange() {
    this.bar.replaceChildren();
    if (this.range) {
      const back = element("button", "", "Show all");
      back.addEventListener("click", () => this.zoom(null));
      this.bar.append(
        back,
        element("span", "", rangeText(this.header, this.range)),
      );
    } else if (this.header.charts.length) {
      this.bar.append(element("span", "", "Drag across a chart to zoom, double-click to see all."));
    }
  }

  legend(charts) {
    const counts = new Map();
    for (const chart of charts) {
      for (const curve of chart.curves) {
        const total = counts.get(curve.run) || [0, 0, 0];
        ["nan", "positive_infinity", "negative_infinity"].forEach((name, i) => {
          total[i] += curve[name] ? curve[name].count : 0;
        });
        counts.set(curve.run, total);
      }
    }
    let legend = this.root.querySelector(".legend");
    if (!legend) {
      legend = element("div", "legend");
      legend.setAttribute("role", "group");
      legend.setAttribute("aria-label", "Curves; press one to hide or show it");
      this.root.prepend(legend);
    }
    legend.style.display = this.header.legend ? "" : "none";
    legend.replaceChildren();
    this.header.runs.forEach((run, place) => {
      const chip = element("span", "chip");
      chip.dataset.run = run.id;
      const button = element("button", "who");
      button.type = "button";
      button.title = run.label + (run.label.includes(run.id) ? "" : "\n" + run.id) + "\nClick: hide or show. Double-click: show only this one, or all.";
      const swatch = element("span", "swatch");
      swatch.style.borderTopColor = run.colour;
      if (run.dash.length) swatch.style.borderTopStyle = run.dash[0] < 4 ? "dotted" : "dashed";
      button.append(swatch, element("span", "name", run.label));
      const odd = this.odd(counts.get(place) || [0, 0, 0]);
      if (odd) button.append(element("span", "odd", odd));
      else if (!counts.has(place)) button.append(element("span", "odd", "no points"));
      button.addEventListener("click", () => {
        if (!this.hidden.delete(run.id)) this.hidden.add(run.id);
        this.tellHidden();
      });
      button.addEventListener("dblclick", () => {
        // The two clicks of it have hidden the run and shown it again.
        const others = this.header.runs.filter((other) => other.id !== run.id);
        const alone = others.every((other) => this.hidden.has(other.id));
        this.hidden = new Set(alone ? [] : others.map((other) => other.id));
        this.tellHidden();
      });
      chip.addEventListener("mouseenter", () => this.highlight(place));
      chip.addEventListener("mouseleave", () => this.highlight(null));
      chip.append(button);
      if (this.header.removable) {
        const remove = element("button", "remove", "×");
        remove.type = "button";
        remove.title = "Take this run out of the comparison";
        remove.setAttribute("aria-label", "Take out " + run.label);
        remove.addEventListener("click", () => this.setTriggerValue("remove", run.id));
        chip.append(remove);
      }
      legend.appendChild(chip);
    });
    this.tellHidden();
  }

  tellHidden() {
    for (const chip of this.root.querySelectorAll(".chip")) {
      const shown = !this.hidden.has(chip.dataset.run);
      chip.classList.toggle("off", !shown);
      chip.querySelector(".who").setAttribute("aria-pressed", String(shown));
    }
    for (const plot of this.plots) this.applyHidden(plot);
  }

  odd(counts) {
    return ["NaN", "+Inf", "−Inf"].map((name, i) => (counts[i] ? counts[i] + " " + name : "")).filter(Boolean).join(", ");
  }

  noteOf(chart) {
    const odd = [0, 0, 0];
    let unshown = 0;
    for (const curve of chart.curves) {
      ["nan", "positive_infinity", "negative_infinity"].forEach((name, i) => (odd[i] += curve[name] ? curve[name].count : 0));
      unshown += curve.unshown;
    }
    const parts = [];
    if (this.odd(odd)) parts.push(this.odd(odd) + " (marked)");
    if (unshown) parts.push(unshown + " of the curve at or below zero: not on a logarithmic axis");
    return parts.join(" · ");
  }

  standsFor(chart) {
    return chart.points.toLocaleString("en") + (chart.points === 1 ? " point" : " points");
  }

  dataOf(chart) {
    const data = [chart.x];
    for (const curve of chart.curves) {
      if (curve.low) data.push(curve.high, curve.low);
      if (curve.raw) data.push(curve.raw);
      data.push(curve.values);
    }
    return data;
  }

  plot(chart, grid) {
    const { header } = this;
    const card = element("div", "chart");
    card.dataset.path = chart.path;
    const title = element("h4", "", chart.path);
    title.title = chart.path;
    const stands = element("span", "stands", this.standsFor(chart));
    const head = element("div", "heading");
    head.append(title, stands);
    const holder = element("div", "plot");
    holder.setAttribute("role", "img");
    holder.setAttribute("aria-label", chart.path + ", " + chart.curves.length + " curves");
    const note = element("div", "note", this.noteOf(chart));
    card.append(head, holder, note);
    grid.appendChild(card);

    const text = this.colour("--st-text-color", "#333");
    const lines = "rgba(128, 128, 128, 0.16)";
    const axisLook = { stroke: text, font: "11px sans-serif", grid: { stroke: lines, width: 1 }, ticks: { stroke: lines, width: 1, size: 4 } };
    const series = [{}];
    const bands = [];
    const owners = [null];
    for (const curve of chart.curves) {
      const { colour, dash } = curve.style;
      const quiet = { points: { show: false }, spanGaps: false };
      if (curve.low) {
        bands.push({ series: [series.length, series.length + 1], fill: colour + (header.bands ? "40" : "26") });
        series.push({ ...quiet, width: 0, stroke: "transparent" }, { ...quiet, width: 0, stroke: "transparent" });
        owners.push(curve.run, curve.run);
      }
      if (curve.raw) {
        series.push({ ...quiet, stroke: colour + "50", width: 1 });
        owners.push(curve.run);
      }
      const lonely = curve.values.filter((v) => v !== undefined && v !== null).length <= 1;
      series.push({
        stroke: colour, width: 1.6, dash: dash.length ? dash : undefined, spanGaps: false,
        points: lonely ? { show: true, size: 7, fill: colour, stroke: colour } : { size: 5, fill: colour, stroke: colour },
      });
      owners.push(curve.run);
    }
    const options = {
      width: Math.max(200, Math.floor(holder.clientWidth || 400)),
      height: header.height,
      series,
      bands,
      legend: { show: false },
      focus: { alpha: 1 },
      scales: {
        x: { time: header.axis === "time" },
        y: header.log ? { distr: 3, log: 10 } : {},
      },
      axes: [
        {
          ...axisLook,
          ...(header.axis === "time"
            ? { values: TIME_TICKS, size: 44, space: 54 }
            : { values: (_, ticks) => ticks.map((v) => tick(header.axis, v)), size: 30, space: 60 }),
          ...(header.axis === "relative_time" ? { incrs: DURATION_TICKS } : {}),
        },
        { ...axisLook, size: 58, values: (_, ticks) => ticks.map((v) => (v === null ? "" : tick("y", v))) },
      ],
      cursor: {
        sync: { key: this.sync.key, setSeries: false, scales: ["x", null] },
        y: false,
        drag: { x: true, y: false, setScale: false },
        points: { show: false },
        bind: { dblclick: () => () => { this.zoom(null); return null; } },
      },
      hooks: {
        setSelect: [(plot) => {
          if (plot.select.width < 4) return;
          const low = plot.posToVal(plot.select.left, "x");
          const high = plot.posToVal(plot.select.left + plot.select.width, "x");
          plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          if (high > low) this.zoom([low, high]);
        }],
        setCursor: [(plot) => this.tip(plot)],
        draw: [(plot) => { this.marks(plot); this.overlay(plot); }],
      },
    };
    const plot = new uPlot(options, this.dataOf(chart), holder);
    plot.chart = chart;
    plot.owners = owners;
    plot.note = note;
    plot.stands = stands;
    plot.tip = element("div", "tip");
    plot.tip.setAttribute("role", "tooltip");
    card.appendChild(plot.tip);
    plot.overlayCanvas = element("canvas", "overlay");
    plot.over.appendChild(plot.overlayCanvas);
    plot.over.addEventListener("mouseleave", () => this.highlight(null));
    this.sync.sub(plot);
    this.plots.push(plot);
    holder.plot = plot;
    this.resize.observe(holder);
    this.applyHidden(plot);
    this.scale(plot);
  }

  applyHidden(plot) {
    plot.batch(() => {
      plot.owners.forEach((run, i) => {
        if (run === null) return;
        const show = !this.hidden.has(this.header.runs[run].id);
        if (plot.series[i].show !== show) plot.setSeries(i, { show });
      });
    });
    plot.redraw();
  }

  // The range asked for, or all there is; a lone column gets room on both sides.
  scale(plot) {
    const x = plot.data[0];
    let [min, max] = this.range || [x[0], x[x.length - 1]];
    if (!(max > min)) [min, max] = [min - 1, max + 1];
    if (x.length) plot.setScale("x", { min, max });
  }

  zoom(range) {
    this.range = range;
    this.askedRange = JSON.stringify(range);
    this.tellRange();
    for (const plot of this.plots) this.scale(plot);
    this.root.dataset.range = range ? range.join(",") : "";
    // A trigger and no state: after a reload "all" must count though nothing was zoomed before.
    this.setTriggerValue("range", range || "all");
  }

  highlight(place) {
    if (place === this.highlighted) return;
    this.highlighted = place;
    for (const plot of this.plots) this.overlay(plot);
  }

  // On a canvas of its own, so that a hover does not draw every curve again.
  overlay(plot) {
    const canvas = plot.overlayCanvas;
    if (!canvas) return;
    const ratio = devicePixelRatio || 1;
    const width = plot.over.clientWidth, height = plot.over.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = width + "px";
      canvas.style.height = height + "px";
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    if (this.highlighted === null) return;
    const curve = plot.chart.curves.find((c) => c.run === this.highlighted);
    if (!curve || this.hidden.has(curve.style.id)) return;
    pen.strokeStyle = curve.style.colour;
    pen.lineWidth = 3.5;
    pen.lineJoin = "round";
    pen.beginPath();
    let drawing = false;
    plot.chart.x.forEach((x, i) => {
      const y = curve.values[i];
      if (y === undefined) return;
      if (y === null) { drawing = false; return; }
      const left = plot.valToPos(x, "x"), top = plot.valToPos(y, "y");
      if (drawing) pen.lineTo(left, top);
      else pen.moveTo(left, top);
      drawing = true;
    });
    pen.stroke();
  }

  // NaN: a cross at the foot; +Inf and -Inf: a triangle at the top and at the foot.
  marks(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio || 1;
    const [min, max] = [plot.scales.x.min, plot.scales.x.max];
    const size = 4 * ratio;
    ctx.save();
    ctx.lineWidth = 1.5 * ratio;
    ctx.setLineDash([]);
    for (const curve of plot.chart.curves) {
      if (this.hidden.has(curve.style.id)) continue;
      ctx.strokeStyle = ctx.fillStyle = curve.style.colour;
      const each = (found, draw) => {
        let last = -Infinity;
        for (const place of found ? found.columns : []) {
          const x = plot.chart.x[place];
          if (x < min || x > max) continue;
          const left = plot.valToPos(x, "x", true);
          if (left - last < 2 * size) continue;
          last = left;
          ctx.beginPath();
          draw(left);
        }
      };
      const foot = bbox.top + bbox.height - size - ratio, top = bbox.top + size + ratio;
      each(curve.nan, (left) => {
        ctx.moveTo(left - size, foot - size); ctx.lineTo(left + size, foot + size);
        ctx.moveTo(left - size, foot + size); ctx.lineTo(left + size, foot - size);
        ctx.stroke();
      });
      each(curve.positive_infinity, (left) => {
        ctx.moveTo(left, top - size); ctx.lineTo(left + size, top + size); ctx.lineTo(left - size, top + size);
        ctx.fill();
      });
      each(curve.negative_infinity, (left) => {
        ctx.moveTo(left, foot + size); ctx.lineTo(left + size, foot - size); ctx.lineTo(left - size, foot - size);
        ctx.fill();
      });
    }
    ctx.restore();
  }

  // The run's value at the cursor, or the nearest that it has within 24 pixels.
  valueAt(plot, curve, left, index) {
    const { x } = plot.chart;
    for (let far = 0; far < x.length; far++) {
      let reach = false;
      for (const i of far ? [index - far, index + far] : [index]) {
        if (i < 0 || i >= x.length || Math.abs(plot.valToPos(x[i], "x") - left) > 24) continue;
        reach = true;
        const value = curve.values[i];
        if (value !== undefined && value !== null) return { i, value };
        if (["nan", "positive_infinity", "negative_infinity"].some((n) => curve[n] && curve[n].columns.includes(i))) return { i, value: null };
      }
      if (!reach) return null;
    }
    return null;
  }

  tip(plot) {
    const tip = plot.tip;
    if (!tip) return;
    const { left, top, idx } = plot.cursor;
    // The other charts show the line of the cursor; values only where the mouse is.
    if (idx === null || idx === undefined || left < 0 || !plot.over.matches(":hover")) {
      tip.style.display = "none";
      return;
    }
    const rows = [];
    for (const curve of plot.chart.curves) {
      if (this.hidden.has(curve.style.id)) continue;
      const found = this.valueAt(plot, curve, left, idx);
      if (found) rows.push({ curve, ...found });
    }
    if (!rows.length) { tip.style.display = "none"; return; }
    rows.sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity));
    let nearest = null, best = Infinity;
    for (const row of rows) {
      const far = row.value === null ? Infinity : Math.abs(plot.valToPos(row.value, "y") - top);
      if (far < best) { best = far; nearest = row; }
    }
    this.highlight(nearest && best < 30 && rows.length > 1 ? nearest.curve.run : null);
    const first = Math.max(0, Math.min(rows.indexOf(nearest) - TIP_ROWS / 2, rows.length - TIP_ROWS));
    tip.replaceChildren(element("div", "head", where(this.header, plot.chart.x[idx])));
    for (const row of rows.slice(first, first + TIP_ROWS)) {
      const line = element("div", row === nearest ? "row nearest" : "row");
      const swatch = element("span", "swatch");
      swatch.style.borderTopColor = row.curve.style.colour;
      let value = row.value === null ? this.kindOf(row) : number(row.value);
      const [low, high] = row.curve.ends || [];
      if (low && row.value !== null && low[row.i] !== high[row.i]) value += " (" + number(low[row.i]) + " to " + number(high[row.i]) + ")";
      line.append(swatch, element("span", "who", row.curve.style.label), element("span", "what", value));
      tip.appendChild(line);
    }
    if (rows.length > TIP_ROWS) tip.appendChild(element("div", "head", "and " + (rows.length - TIP_ROWS) + " more"));
    tip.style.display = "block";
    const box = plot.root.getBoundingClientRect(), over = plot.over.getBoundingClientRect();
    const place = over.left - box.left + left + 8;
    const flip = left > over.width / 2;
    tip.style.left = (flip ? Math.max(0, place - tip.offsetWidth - 16) : place + 16) + "px";
    tip.style.top = Math.max(24, top - tip.offsetHeight / 2 + 24) + "px";
  }

  kindOf({ curve, i }) {
    const names = { nan: "NaN", positive_infinity: "+Inf", negative_infinity: "−Inf" };
    return Object.keys(names).filter((n) => curve[n] && curve[n].columns.includes(i)).map((n) => names[n]).join(", ");
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  let charts = instances.get(parentElement);
  if (!charts) {
    charts = new Charts(parentElement);
    instances.set(parentElement, charts);
  }
  charts.show(data, setTriggerValue);
  return () => {
    charts.destroy();
    instances.delete(parentElement);
  };
}
