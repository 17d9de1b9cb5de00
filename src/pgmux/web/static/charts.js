// The two charts of the last hour, by uPlot. Data: {t: [seconds], xacts: [], p50: [], p99: [], mean: []}, waits in µs, where
// null is a hole: nobody waited for a server then, or the console didn't answer. PgBouncer tells the
// mean of the waits alone.

import { NOTHING } from "./format.js";

const HOUR = 3_600;
const HEIGHT = 180;
const GAP = 30; // seconds without a sample are a hole, not a line

export class Charts {
  #rate;
  #wait;
  #data = { t: [], xacts: [], p50: [], p99: [], mean: [] };
  #hasQuantiles = true;
  #plots = [];

  constructor(rate, wait) {
    this.#rate = rate;
    this.#wait = wait;
    new ResizeObserver(() => this.#resize()).observe(rate);
    addEventListener("themechange", () => this.#build());
  }

  /** All of it anew. */
  replace(history) {
    this.#data = history;
    if (this.#plots.length) this.#draw();
    else this.#build();
  }

  /** Whether the console tells quantiles of waits, or only their mean. */
  set hasQuantiles(has) {
    if (has === this.#hasQuantiles) return;
    this.#hasQuantiles = has;
    if (this.#plots.length) this.#build();
  }

  /** The latest point; what is older than an hour goes, all of it where the clock was set back. */
  append(point) {
    const data = this.#data;
    if (data.t.at(-1) === point.t) return; // the history's last
    if (data.t.at(-1) > point.t) for (const name of Object.keys(data)) data[name].length = 0;
    for (const name of Object.keys(data)) data[name].push(point[name]);
    const old = data.t.findIndex((time) => time > point.t - HOUR);
    if (old > 60) for (const name of Object.keys(data)) data[name].splice(0, old);
    this.#draw();
  }

  #build() {
    for (const plot of this.#plots) plot.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const rate = [line("transactions/s", colour("active"), { fill: colour("active-soft") })];
    const wait = this.#hasQuantiles
      ? [line("p99", colour("waiting"), { dash: [5, 3] }), line("p50", colour("text"), {})]
      : [line("mean", colour("text"), {})];
    this.#plots = [
      new uPlot(this.#options(this.#rate, rate, colour, digits), [], this.#rate),
      new uPlot(this.#options(this.#wait, wait, colour, digits), [], this.#wait),
    ];
    this.#draw();
  }

  #options(element, series, colour, text) {
    const axis = {
      stroke: colour("quiet"),
      font: "11px system-ui, sans-serif",
      grid: { stroke: colour("line"), width: 1 },
      ticks: { show: false },
    };
    return {
      width: element.clientWidth || 300,
      height: HEIGHT,
      padding: [8, 26, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "hour" } },
      scales: { y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: [
        { ...axis, size: 30, gap: 6, space: 70, values: clocks },
        { ...axis, size: 52, values: (_, values) => values.map(text) },
      ],
      series: [{ label: "time", value: (_, at) => (at == null ? NOTHING : clock(at)) }, ...series],
    };
  }

  #draw() {
    if (!this.#plots.length) return;
    const { t, xacts, p50, p99, mean } = withHoles(this.#data);
    const now = t.at(-1) ?? Date.now() / 1_000;
    const from = Math.min(now - 60, Math.max(t[0] ?? now, now - HOUR));
    const ms = (values) => values.map((us) => (us == null ? null : us <= 1 ? 0 : us / 1_000));
    this.#plots[0].setData([t, xacts], false);
    const waits = this.#hasQuantiles ? [p99, p50] : [mean];
    this.#plots[1].setData([t, ...waits.map(ms)], false);
    for (const plot of this.#plots) {
      plot.setScale("x", { min: from, max: now });
      if (plot.cursor.idx == null) plot.setLegend({ idx: t.length - 1 });
    }
  }

  #resize() {
    for (const [index, element] of [this.#rate, this.#wait].entries()) {
      const plot = this.#plots[index];
      if (plot && element.clientWidth && plot.width !== element.clientWidth) {
        plot.setSize({ width: element.clientWidth, height: HEIGHT });
      }
    }
  }
}

function line(label, stroke, more) {
  const value = (_, number) => (number == null ? NOTHING : digits(number));
  return { label, stroke, width: 1.25, points: { show: false }, value, ...more };
}

function digits(value) {
  if (value === 0) return "0";
  if (value < 0.001) return "<0.001";
  return value >= 100 ? Math.round(value).toLocaleString("en-US") : String(+value.toPrecision(2));
}

function clock(seconds) {
  return new Date(seconds * 1_000).toLocaleTimeString([], { hourCycle: "h23" });
}

function clocks(_, times) {
  const short = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const isFine = times.length > 1 && times[1] - times[0] < 60;
  const format = isFine ? { ...short, second: "2-digit" } : short;
  return times.map((at) => new Date(at * 1_000).toLocaleTimeString([], format));
}

/** With a point of nulls wherever samples are missing. */
function withHoles(data) {
  const names = Object.keys(data);
  const result = Object.fromEntries(names.map((name) => [name, []]));
  data.t.forEach((time, index) => {
    if (index && time - data.t[index - 1] > GAP) {
      for (const name of names) result[name].push(name === "t" ? time - 1 : null);
    }
    for (const name of names) result[name].push(data[name][index]);
  });
  return result;
}
