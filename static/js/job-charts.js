// The charts of a job: one small plot a card, all under one crosshair, in the colours of the theme.
// The server lays the cards out; this module fills their plots and keeps their tables.

import uPlot from "../vendor/uplot/uPlot.esm.js";

const PLOT_HEIGHT = 160;
const COLORS = 6;
const TABLE_ROWS = 60;
const SYNC_KEY = "job";

/** A number as people read it: four significant digits, no noise. */
export function formatValue(value) {
  if (value === null || value === undefined) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** Every series of a job, and the cards that show them. */
export class Charts {
  constructor(section) {
    this.section = section;
    this.series = new Map();
    this.cards = [];
    this.observer = new ResizeObserver((entries) => {
      for (const { target, contentRect } of entries) {
        const card = this.cards.find((one) => one.plotElement === target);
        if (!card || contentRect.width === 0) continue;
        if (card.plot) card.plot.setSize({ width: Math.floor(contentRect.width), height: PLOT_HEIGHT });
        else card.draw();
      }
    });
    this.adopt();
    const repaint = () => this.cards.forEach((card) => card.rebuild());
    document.addEventListener("podium:theme", () => requestAnimationFrame(repaint));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  }

  /** Fetch what has been measured so far. */
  async load() {
    const answer = await fetch(this.section.dataset.metrics, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    for (const { name, steps, values } of (await answer.json()).items) {
      const points = this.points(name);
      steps.forEach((step, index) => points.set(step, values[index]));
    }
    this.draw();
  }

  /** Add new points, as [name, step, value]; true when one of them has no card yet. */
  add(points) {
    const known = new Set(this.cards.flatMap((card) => card.names));
    for (const [name, step, value] of points) this.points(name).set(step, value);
    this.draw();
    return points.some(([name]) => !known.has(name));
  }

  /** Take the cards of a newer page that this one lacks, in that page's order. */
  takeLayout(newer) {
    for (const place of newer.querySelectorAll("[data-charts]")) {
      const here = this.section.querySelector(`[data-charts="${place.dataset.charts}"]`);
      const cards = [...place.querySelectorAll("[data-chart]")].map((card) => {
        const own = here.querySelector(`[data-chart="${card.dataset.chart}"]`);
        return own?.dataset.lines === card.dataset.lines ? own : document.importNode(card, true);
      });
      here.replaceChildren(...cards);
      const group = here.closest("[data-chart-group]");
      if (group) group.hidden = cards.length === 0;
    }
    this.adopt();
    this.draw();
  }

  points(name) {
    if (!this.series.has(name)) this.series.set(name, new Map());
    return this.series.get(name);
  }

  adopt() {
    const elements = [...this.section.querySelectorAll("[data-chart]")];
    this.cards.filter((card) => !elements.includes(card.element)).forEach((card) => card.destroy());
    this.cards = elements.map(
      (element) => this.cards.find((card) => card.element === element) ?? new Card(this, element),
    );
  }

  draw() {
    this.cards.forEach((card) => card.draw());
  }
}

class Card {
  constructor(charts, element) {
    this.charts = charts;
    this.element = element;
    this.names = JSON.parse(element.dataset.lines);
    this.plotElement = element.querySelector("[data-plot]");
    this.stepElement = element.querySelector("[data-step]");
    this.values = this.names.map((name) => element.querySelector(`[data-line="${name}"] [data-value]`));
    this.labels = [...element.querySelectorAll("thead th")].slice(1).map((head) => head.textContent);
    this.tip = document.createElement("div");
    this.tip.className = "job-tip";
    this.tip.hidden = true;
    this.tip.setAttribute("aria-hidden", "true");
    this.details = element.querySelector("details");
    this.details.addEventListener("toggle", () => this.fillTable());
    charts.observer.observe(this.plotElement);
  }

  destroy() {
    this.charts.observer.unobserve(this.plotElement);
    this.plot?.destroy();
  }

  /** The series side by side on the steps that any of them has. */
  columns() {
    const series = this.names.map((name) => this.charts.points(name));
    const steps = [...new Set(series.flatMap((points) => [...points.keys()]))].sort((a, b) => a - b);
    return [steps, ...series.map((points) => steps.map((step) => points.get(step) ?? null))];
  }

  draw() {
    const columns = this.columns();
    if (columns[0].length === 0) return;
    this.data = columns;
    if (this.plot) this.plot.setData(columns);
    else if (this.plotElement.clientWidth > 0) this.build();
    if (!this.hovered) this.showLatest();
    if (this.details.open) this.fillTable();
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = undefined;
    this.draw();
  }

  build() {
    const style = getComputedStyle(this.charts.section);
    const color = (name) => resolveColor(this.charts.section, style, name);
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = {
      stroke: color("--plot-axis"),
      font,
      grid: { stroke: color("--plot-grid"), width: 1 },
      ticks: { show: false },
    };
    this.plotElement.replaceChildren();
    // The first point of a run has no line to lie on, so sparse series show their points.
    const sparse = (points) => points.filter((value) => value !== null).length <= 30;
    this.plot = new uPlot(
      {
        width: Math.floor(this.plotElement.clientWidth),
        height: PLOT_HEIGHT,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: {
          y: false,
          points: { size: 6 },
          drag: { x: false, y: false, setScale: false },
          sync: { key: SYNC_KEY, setSeries: false },
        },
        scales: {
          x: { time: false, range: (_plot, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) },
          y: { range: (_plot, low, high) => niceRange(low, high) },
        },
        axes: [
          { ...axis, size: 24, gap: 4, space: 56, incrs: WHOLE_STEPS, values: (_plot, ticks) => ticks.map(formatValue) },
          { ...axis, size: axisWidth, gap: 4, space: 34, values: (_plot, ticks) => ticks.map(formatValue) },
        ],
        series: [
          {},
          ...this.names.map((name, index) => ({
            label: name,
            stroke: color(`--line-${index % COLORS}`),
            width: 1.75,
            spanGaps: true,
            points: { show: sparse(this.data[index + 1]), size: 5, fill: color(`--line-${index % COLORS}`) },
          })),
        ],
        hooks: { setCursor: [(plot) => this.point(plot)] },
      },
      this.data,
      this.plotElement,
    );
    this.plot.over.append(this.tip);
  }

  /** Follow the crosshair: the values of its step in the legend, and beside the pointer. */
  point(plot) {
    const index = plot.cursor.idx;
    this.hovered = index !== null && index !== undefined && plot.cursor.left >= 0;
    if (!this.hovered) {
      this.tip.hidden = true;
      this.showLatest();
      return;
    }
    const values = this.names.map((_name, line) => this.nearest(line, index));
    this.stepElement.textContent = `step ${this.data[0][index]}`;
    values.forEach((value, line) => this.showValue(line, value));
    // Only the plot under the pointer has a tip; the others follow in their legends.
    this.tip.hidden = plot.cursor.event?.target !== plot.over && !plot.over.matches(":hover");
    if (!this.tip.hidden) this.placeTip(plot, index, values);
  }

  placeTip(plot, index, values) {
    const step = document.createElement("span");
    step.className = "job-tip-step";
    step.textContent = `Step ${this.data[0][index]}`;
    const lines = values.map((value, line) => {
      const row = document.createElement("span");
      row.className = `job-tip-line job-line-${line % COLORS}`;
      const number = document.createElement("b");
      number.textContent = formatValue(value);
      row.append(this.labels[line] ?? this.names[line], number);
      return row;
    });
    this.tip.replaceChildren(step, ...lines);
    const { left } = plot.cursor;
    const onTheRight = left < plot.over.clientWidth / 2;
    this.tip.style.top = "4px";
    this.tip.style.left = onTheRight ? `${left + 12}px` : "auto";
    this.tip.style.right = onTheRight ? "auto" : `${plot.over.clientWidth - left + 12}px`;
  }

  /** A line's value at a step, or at the last step before it that has one. */
  nearest(line, index) {
    const column = this.data[line + 1];
    for (let at = index; at >= 0; at -= 1) if (column[at] !== null) return column[at];
    return null;
  }

  showLatest() {
    const steps = this.data[0];
    this.stepElement.textContent = `step ${steps[steps.length - 1]}`;
    this.names.forEach((_name, line) => this.showValue(line, this.nearest(line, steps.length - 1)));
  }

  showValue(line, value) {
    if (this.values[line]) this.values[line].textContent = formatValue(value) || "–";
  }

  fillTable() {
    if (!this.details.open || !this.data) return;
    const [steps, ...columns] = this.data;
    const every = Math.max(1, Math.ceil(steps.length / TABLE_ROWS));
    const rows = [];
    for (let index = steps.length - 1; index >= 0; index -= every) {
      const row = document.createElement("tr");
      row.append(cell(steps[index]), ...columns.map((column) => cell(formatValue(column[index]), "text-end")));
      rows.push(row);
    }
    this.details.querySelector("tbody").replaceChildren(...rows);
  }
}

const WHOLE_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];

function cell(text, classes = "") {
  const element = document.createElement("td");
  element.className = classes;
  element.textContent = text;
  return element;
}

/** Some air above and below, also around a line that is flat so far. */
function niceRange(low, high) {
  if (low === null || high === null) return [0, 1];
  const space = high - low || Math.abs(high) * 0.1 || 1;
  return [low - space * 0.08, high + space * 0.08];
}

/** As wide as its longest label. */
function axisWidth(_plot, labels) {
  const longest = Math.max(0, ...(labels ?? []).map((label) => label.length));
  return 10 + longest * 6.4;
}

/** A canvas knows no light-dark(): let the browser compute the colour for the theme in use. */
function resolveColor(section, style, name) {
  const probe = document.createElement("span");
  probe.style.color = style.getPropertyValue(name);
  probe.hidden = true;
  section.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}
