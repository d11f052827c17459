// Charts by uPlot. A host names the element that holds its series; when htmx brings new series the
// same chart is filled anew, so it neither flickers nor loses the cursor.
import uPlot from "../uplot/uPlot.esm.js";

const HEIGHT = 220; // CSS pixels
const SEVERITY = ["critical", "high", "medium", "low"];
const drawn = new Map(); // host -> {plot, shape}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const hour = (at) => new Date(at * 1e3).toISOString().slice(11, 16);
const WHOLE = [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6].map((p) => n * 10 ** p)).sort((a, b) => a - b);
const text = (value) => (value == null ? "–" : exact.format(value));

function columns(chart) {
  if (chart.kind === "spread") return [chart.x, ...chart.values.map((v) => v.map((n) => n || null))];
  if (chart.kind !== "stack") return [chart.x, ...chart.values];
  // Each bar stands on those after it, so the first is the tallest and is drawn first.
  const sums = chart.values.map((_, at) =>
    chart.x.map((_, i) => chart.values.slice(at).reduce((sum, values) => sum + values[i], 0)),
  );
  return [chart.x, ...sums];
}

function options(chart, width, read) {
  const quiet = colour("--quiet");
  const grid = { stroke: colour("--line"), width: 1 };
  const spread = chart.kind === "spread";
  const bars = chart.kind !== "lines" && uPlot.paths.bars({ size: [0.9, 60], align: 1 });
  const series = chart.names.map((name, at) => {
    const severity = SEVERITY.includes(name);
    const stroke = colour(severity ? `--${name}` : `--series-${(at % 6) + 1}`);
    const solid = chart.kind === "stack";
    return {
      label: name,
      stroke,
      width: solid ? 0 : 2,
      fill: solid ? stroke : spread ? `${stroke}33` : undefined,
      paths: bars || undefined,
      points: { show: false },
      value: (_, __, ___, i) => (i == null ? "–" : text(read().values[at][i])),
    };
  });
  return {
    width,
    height: HEIGHT,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), "Etc/UTC"),
    cursor: { drag: { x: false, y: false }, points: { show: !bars } },
    scales: {
      x: spread ? { time: false, range: [0, 1] } : {},
      y: spread ? { distr: 3 } : { range: (_, __, high) => [0, Math.max(1, (high ?? 0) * 1.1)] },
    },
    axes: [
      {
        stroke: quiet,
        grid,
        ticks: grid,
        values: (_, at) => at.map((v) => (spread ? `${Math.round(v * 100)} %` : hour(v))),
      },
      {
        stroke: quiet,
        grid,
        ticks: grid,
        size: 56,
        ...(chart.kind === "stack" ? { incrs: WHOLE } : {}),
        values: (_, at) => at.map((v) => (v == null ? "" : short.format(v) + (spread ? " %" : ""))),
      },
    ],
    series: [
      spread
        ? { label: "Score", value: (_, v) => (v == null ? "–" : `from ${Math.round(v * 100)} %`) }
        : { label: "UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
      ...series,
    ],
  };
}

function draw(host) {
  const holder = document.getElementById(host.dataset.of);
  if (!holder) return;
  const chart = JSON.parse(holder.dataset.chart);
  const shape = `${chart.kind} ${chart.names.join(" ")}`;
  const known = drawn.get(host);
  if (known?.shape === shape) {
    known.chart = chart;
    known.plot.setData(columns(chart));
    return;
  }
  known?.plot.destroy();
  const entry = { shape, chart };
  const width = Math.max(200, host.clientWidth);
  entry.plot = new uPlot(options(chart, width, () => entry.chart), columns(chart), host);
  drawn.set(host, entry);
  resized.observe(host);
}

const resized = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const plot = drawn.get(target)?.plot;
    const width = Math.floor(contentRect.width);
    if (plot && width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT });
  }
});

function drawAll() {
  for (const host of drawn.keys()) {
    if (host.isConnected) continue;
    drawn.get(host).plot.destroy();
    resized.unobserve(host);
    drawn.delete(host);
  }
  for (const host of document.querySelectorAll(".plot")) draw(host);
}

// Colours are in the canvas: another theme draws everything anew.
function redraw() {
  for (const { plot } of drawn.values()) plot.destroy();
  drawn.clear();
  drawAll();
}

drawAll();
document.body.addEventListener("htmx:afterSettle", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
