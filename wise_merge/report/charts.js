"use strict";
// The charts: numbers of the page to traces of plotly. Nothing is computed here but where a mark stands.

const INK = "#222222", GRID = "#e3e3e3";
const FONT = { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif", size: 13, color: INK };
const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];

// Plotly reads a few tags in its texts; names are to be seen as they are written.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const number = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−"));
const count = (value) => value.toLocaleString("en");
const many = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
const range = (low, high) => (low === high ? count(low) : `${count(low)} to ${count(high)}`);
const colour = (style) => numbers.colours[style % numbers.colours.length];
const faded = (hex, share) => hex + Math.round(255 * share).toString(16).padStart(2, "0");

function withInterval(figure, digits = 3) {
  if (!figure) return "–";
  if (figure.low === null) return number(figure.value, digits);
  return `${number(figure.value, digits)} [${number(figure.low, digits)}, ${number(figure.high, digits)}]`;
}

// By the place on a line or in a plane, or among models without an order.
function colourOf(point) {
  return point.shade === null ? colour(point.variant) : shadeColour(point.shade);
}

function shadeColour(shade) {
  const stops = numbers.alpha_colours, place = Math.min(Math.max(shade, 0), 1) * (stops.length - 1);
  const left = Math.min(Math.floor(place), stops.length - 2), share = place - left;
  const part = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
  const mixed = [0, 1, 2].map((i) => Math.round((1 - share) * part(stops[left], i) + share * part(stops[left + 1], i)));
  return "#" + mixed.map((value) => value.toString(16).padStart(2, "0")).join("");
}

// Early along alpha, every checkpoint elsewhere.
function isHollow(point) {
  return point.alpha === null ? point.unmerged !== null : point.alpha === 0;
}

function lineOf(point, name) {
  return point.lines.find((line) => line.name === name);
}

function figureAt(point, name, k) {
  const line = lineOf(point, name), i = line ? line.k.indexOf(k) : -1;
  return i < 0 ? null : { value: line.value[i], low: line.low[i], high: line.high[i] };
}

function stepOf(point) {
  return point.unmerged === null ? null : task().groups[point.group].checkpoints[point.unmerged].step;
}

// What a point is and how much stands behind it: the head of every hover.
function facts(point) {
  const group = task().groups[point.group], steps = group.checkpoints.map(({ step }) => step ?? "?");
  const own = point.ingredients.map((place) => steps[place]);
  const [name, trained] = task().on_line
    ? [`${group.label}, alpha ${point.alpha}`, `steps ${steps[0]} (early) and ${steps[1]} (late)`]
    : [inGroup(point), `step${own.length > 1 ? "s" : ""} ${own.join(", ")}`];
  return [
    `<b>${plain(name)}, T ${point.temperature}</b>`,
    ...(task().on_line || own.some((step) => step !== "?") ? [trained] : []),
    `n = ${range(point.n, point.n_high)}, ${many(point.problems, "problem")}`,
  ];
}

// The label of a point, with that of its group where there are several.
function inGroup(point) {
  return task().groups.length > 1 ? `${task().groups[point.group].label}: ${point.label}` : point.label;
}

// The points that a line joins, along the first axis of their group; one that lies on no axis is alone.
function linesOf(points) {
  const found = new Map();
  for (const point of points) {
    const key = [point.group, point.temperature, ...(point.place === null ? ["model", point.variant] : point.place.slice(1))].join(" ");
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(point);
  }
  return [...found.values()];
}

// Whether a line is no line but a model by itself, such as a checkpoint as it is.
const isModel = (line) => line[0].place === null || (!task().on_line && line.length === 1 && line[0].unmerged !== null);

// What a line is called: its group, its second coordinate where there is one, and its temperature if that is wanted.
function lineName(line, withTemperature) {
  const [point] = line, group = task().groups[point.group], parts = [];
  if (isModel(line)) parts.push(inGroup(point));
  else {
    if (task().on_line || task().groups.length > 1) parts.push(group.label);
    if (group.axes.length > 1) parts.push(`${group.axes[1]} ${point.place[1]}`);
  }
  if (withTemperature) parts.push(`T ${point.temperature}`);
  return parts.join(", ") || "merged";
}

// The points of lines that bear a label and whether they are ends, which need it; each model once, at the temperature
// nearest to 1, and between the ends along a single line only.
function labelled(lines) {
  const joined = lines.filter((line) => !isModel(line)), isEnd = (line, point) => point === line[0] || point === line.at(-1);
  const alone = new Set(joined.map(([point]) => [point.group, ...point.place.slice(1)].join(" "))).size === 1;
  const ends = joined.flatMap((line) => line.filter((point) => isEnd(line, point))), away = (point) => Math.abs(point.temperature - 1);
  const rest = alone ? joined.flatMap((line) => line.filter((point) => !isEnd(line, point))) : [];
  const nearest = [...ends, ...rest].sort((one, other) => away(one) - away(other) || one.temperature - other.temperature);
  const models = nearest.filter((point, i) => nearest.findIndex((one) => one.group === point.group && one.variant === point.variant) === i);
  // A checkpoint that several groups have is one model.
  const once = models.filter((point, i) => models.findIndex((one) => one.run === point.run) === i);
  return [true, false].flatMap((needed) => once.filter((point) => ends.includes(point) === needed).map((point) => [point, needed]));
}

// A ring around what was chosen; nothing where that is not among the marks.
function ring(marks) {
  const chosen = marks.filter(([point]) => point.chosen);
  return chosen.length ? [{
    type: "scatter", mode: "markers", name: "chosen", meta: "ring", hoverinfo: "skip", cliponaxis: false, x: chosen.map(([, x]) => x), y: chosen.map(([, , y]) => y),
    marker: { symbol: "circle-open", size: 21, color: "#000000", line: { width: 2 } },
  }] : [];
}

// How far an interval reaches from its value, for plotly's bars.
function bars(figures, shade) {
  return {
    type: "data", symmetric: false, color: shade, thickness: 1, width: 0,
    array: figures.map((one) => (one.high === null ? 0 : Math.max(0, one.high - one.value))),
    arrayminus: figures.map((one) => (one.low === null ? 0 : Math.max(0, one.value - one.low))),
  };
}

function band(x, low, high, shade, group) {
  if (low.includes(null) || high.includes(null) || x.length < 2) return [];
  return [{
    x: [...x, ...[...x].reverse()], y: [...high, ...[...low].reverse()], fill: "toself", fillcolor: faded(shade, 0.12),
    line: { width: 0 }, mode: "lines", hoverinfo: "skip", showlegend: false, legendgroup: group, type: "scatter",
  }];
}

// Among more than these no colour finds its name in a legend: the mouse shows it, and the table has all.
const MOST_NAMED = 24;

function show(id, traces, { x, y, title, height = 380, shapes = [] }) {
  const box = document.getElementById(id), width = box.clientWidth;
  const named = traces.filter((trace) => trace.showlegend !== false && trace.name);
  // The legend stands below; each of its rows needs room of its own.
  const longest = Math.max(0, ...named.map((trace) => trace.name.length));
  const across = Math.max(1, Math.floor((width - 70) / (7.2 * longest + 50)));
  const rows = named.length > 1 && named.length <= MOST_NAMED ? Math.ceil(named.length / across) : 0, below = 58 + 19 * rows + (rows ? 8 : 0);
  const axis = { gridcolor: GRID, linecolor: "#777777", zeroline: false, ticks: "outside", tickcolor: "#777777", automargin: false };
  // Rates lie in [0, 1]; what is 0 in all points needs no room below it.
  const rates = { autorangeoptions: { clipmin: -0.03, clipmax: 1.03 } };
  return Plotly.react(box, traces, {
    font: FONT, shapes, width, height: height + below, margin: { l: 60, r: 14, t: title ? 36 : 12, b: below },
    paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", hovermode: "closest",
    hoverlabel: { bgcolor: "#ffffff", bordercolor: "#555555", font: { ...FONT, size: 12 }, align: "left" },
    title: title ? { text: plain(title), font: { size: 14 }, x: 0, xref: "paper", xanchor: "left", y: 1, yref: "container", yanchor: "top", pad: { t: 10 } } : undefined,
    xaxis: { ...axis, ...x, title: { text: x.title, standoff: 8, font: { size: 13 } } },
    yaxis: { ...axis, ...(y.range ? {} : rates), ...y, title: { text: y.title, standoff: 6, font: { size: 13 } } },
    showlegend: rows > 0,
    legend: { orientation: "h", x: 0, xanchor: "left", y: 0, yref: "container", yanchor: "bottom", entrywidth: 7.2 * longest + 10, entrywidthmode: "pixels", tracegroupgap: 0, font: { size: 12 } },
  }, { displaylogo: false, displayModeBar: false }).then(() => {
    const lacking = (box.querySelector(".legend")?.getBoundingClientRect().height ?? 0) + 58 - below;
    // Only plotly knows how it has broken the legend into rows.
    if (rows && lacking > 0) return Plotly.relayout(box, { height: height + below + lacking, "margin.b": below + lacking });
    return undefined;
  });
}

function nothing(id, why) {
  const box = document.getElementById(id);
  Plotly.purge(box);
  box.labelled = false;
  box.textContent = why;
  box.classList.add("empty");
}

function drawn(id) {
  const box = document.getElementById(id);
  if (box.classList.contains("empty")) {
    box.textContent = "";
    box.classList.remove("empty");
  }
}

function drawPlane(id, points, k) {
  const shown = points.filter((point) => figureAt(point, "pass@k", k) !== null), few = shown.length <= 40;
  if (!shown.length) return nothing(id, `No point has ${count(k)} samples of each problem.`);
  drawn(id);
  const lines = linesOf(shown), places = (point) => [1, k].map((one) => figureAt(point, "pass@k", one).value);
  const traces = [...planeTraces(lines, k, few), ...ring(shown.map((point) => [point, ...places(point)]))];
  const labels = labelled(lines).map(([point, needed]) => [point.mark, ...places(point), lines.findIndex((line) => line.includes(point)), needed]);
  show(id, traces, { x: { title: "Pass@1", autorangeoptions: { clipmin: -0.03, clipmax: 1.03 } }, y: { title: `Pass@${count(k)}` }, height: 430 })
    // Something else may be drawn there meanwhile.
    .then(() => document.getElementById(id).data === traces && labelMarks(document.getElementById(id), labels));
}

// A line for each group, second coordinate and temperature; a mark for each model that lies on none.
function planeTraces(lines, k, few) {
  const family = ([point]) => `${point.group} ${point.place?.slice(1)}`;
  const families = [...new Set(lines.filter((line) => !isModel(line)).map(family))], temperatures = sorted(lines.map(([point]) => point.temperature));
  const models = new Set(lines.filter(isModel).map(([point]) => point.variant)).size;
  return lines.map((line) => {
    // Colour tells late checkpoints apart and mark and dashes temperatures, unless there is but one of either.
    const places = [families.indexOf(family(line)), temperatures.indexOf(line[0].temperature)], alone = isModel(line);
    const style = temperatures.length > 1 || alone ? places[1] : places[0], shade = alone ? colourOf(line[0]) : colour(models + (families.length > 1 ? places[0] : places[1]));
    const [across, up] = [1, k].map((one) => line.map((point) => figureAt(point, "pass@k", one)));
    const large = line.map((point) => alone || point.unmerged !== null);
    return {
      type: "scatter", x: across.map((one) => one.value), y: up.map((one) => one.value), cliponaxis: false,
      name: plain(lineName(line, temperatures.length > 1 || task().on_line)), mode: alone ? "markers" : "lines+markers",
      line: { color: shade, width: 1.8, dash: DASHES[style % DASHES.length] },
      marker: { color: line.map((point) => (isHollow(point) ? "#ffffff" : shade)), symbol: SYMBOLS[style % SYMBOLS.length], size: large.map((one) => (one ? 10 : 7)), opacity: 1, line: { color: shade, width: 1.8 } },
      ...(few ? { error_x: bars(across, faded(shade, 0.35)), error_y: bars(up, faded(shade, 0.35)) } : {}),
      hoverinfo: "text",
      hovertext: line.map((point, i) => [...facts(point), `Pass@1 ${withInterval(across[i])}`, `Pass@${count(k)} ${withInterval(up[i])}`].join("<br>")),
    };
  });
}

function drawCurves(id, points, metric) {
  const shown = points.filter((point) => lineOf(point, metric));
  if (!shown.length) return nothing(id, "No such point has been sampled yet.");
  drawn(id);
  // Of many curves, bands are those of the ends and of the model in question.
  const banded = shown.filter((point) => shown.length <= 5 || isCompared(point));
  const traces = shown.flatMap((point) => {
    const line = lineOf(point, metric), shade = colourOf(point), group = point.label;
    return [
      ...(banded.includes(point) ? band(line.k, line.low, line.high, shade, group) : []),
      {
        type: "scatter", x: line.k, y: line.value, name: plain(point.label), legendgroup: group, mode: "lines+markers",
        line: { color: shade, width: 2, dash: isHollow(point) ? "dash" : "solid" }, marker: { size: line.k.length === 1 ? 9 : 4, color: shade }, hoverinfo: "text",
        hovertext: line.k.map((k) => [...facts(point), `${titled(metric, k)} ${withInterval(figureAt(point, metric, k))}`].join("<br>")),
      },
    ];
  });
  const longest = Math.max(...shown.map((point) => point.n)), ticks = [];
  for (let k = 1; k <= longest; k *= 2) ticks.push(k);
  show(id, traces, {
    x: { title: "k", type: "log", tickvals: ticks, ticktext: ticks.map(count) }, y: { title: metric[0].toUpperCase() + metric.slice(1) }, height: 430,
  });
}

// One figure against a coordinate, or against the step of training; lines are [name, [[x, point], ...]]. A point of `levels`
// lies on no axis, so its figure is a level to compare with.
function drawLines(id, lines, figureOf, title, axis, levels = []) {
  const known = lines.map(([name, places]) => [name, places.map(([x, point]) => [x, point, figureOf(point)]).filter(([, , figure]) => figure !== null)]);
  const all = known.flatMap(([, places]) => places), hover = (point, figure) => [...facts(point), `${plain(title)} ${withInterval(figure, 4)}`].join("<br>");
  if (!all.length) return nothing(id, `${title}: not known of any of these points.`);
  const traces = known.flatMap(([name, places], style) => {
    const x = places.map(([place]) => place), figures = places.map(([, , figure]) => figure);
    return !places.length ? [] : [
      ...band(x, figures.map((one) => one.low), figures.map((one) => one.high), colour(style), name),
      {
        type: "scatter", x, y: figures.map((one) => one.value), name: plain(name), legendgroup: name, mode: "lines+markers",
        line: { color: colour(style), width: 2, dash: DASHES[style % DASHES.length] }, marker: { symbol: SYMBOLS[style % SYMBOLS.length], size: 7, color: colour(style) }, hoverinfo: "text",
        hovertext: places.map(([, point, figure]) => hover(point, figure)),
      },
    ];
  });
  const ends = [Math.min, Math.max].map((of) => of(...all.map(([x]) => x)));
  const flat = levels.filter((point) => figureOf(point) !== null).map((point, i) => ({
    type: "scatter", x: ends, y: ends.map(() => figureOf(point).value), name: plain(inGroup(point)), mode: "lines",
    line: { color: colour(known.length + i), width: 1.5, dash: "dot" }, hoverinfo: "text", hovertext: hover(point, figureOf(point)),
  }));
  drawn(id);
  show(id, [...traces, ...flat, ...ring(all.map(([x, point, figure]) => [point, x, figure.value]))], { x: axis, y: { title: "" }, title, height: 270 });
}

// One figure of a plane of two coordinates: a cell for each point, its colour the figure, a frame around what was chosen.
function drawCells(id, points, figureOf, title, axes) {
  const known = points.filter((point) => point.place !== null && figureOf(point) !== null);
  if (!known.length) return nothing(id, `${title}: not known of any of these points.`);
  const values = [0, 1].map((axis) => sorted(known.map((point) => point.place[axis])));
  const cells = (of, other) => values[1].map((up) => values[0].map((across) => {
    const point = known.find(({ place }) => place[0] === across && place[1] === up);
    return point ? of(point) : other;
  }));
  const at = (point) => point.place.map((value, axis) => values[axis].indexOf(value)), wide = document.getElementById(id).clientWidth / values[0].length > 50;
  const axis = (i) => ({ title: axes[i], tickvals: values[i].map((_, place) => place), ticktext: values[i].map(String), range: [-0.5, values[i].length - 0.5], showgrid: false });
  drawn(id);
  show(id, [{
    type: "heatmap", z: cells((point) => figureOf(point).value, null), x: values[0].map((_, i) => i), y: values[1].map((_, i) => i), xgap: 2, ygap: 2, colorscale: "Viridis",
    colorbar: { thickness: 12, outlinewidth: 0, tickfont: { size: 11 } }, hoverongaps: false, hoverinfo: "text", hovertext: cells((point) => [...facts(point), `${title} ${withInterval(figureOf(point))}`].join("<br>"), ""),
    ...(wide ? { text: cells((point) => number(figureOf(point).value), ""), texttemplate: "%{text}" } : {}),
  }], {
    x: axis(0), y: axis(1), title, height: Math.max(220, Math.min(460, 60 + 44 * values[1].length)),
    shapes: known.filter((point) => point.chosen).map((point) => {
      const [x, y] = at(point);
      return { type: "rect", x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5, line: { color: "#000000", width: 3 } };
    }),
  });
}

// One figure of models without an order: a mark with its interval for each.
function drawModels(id, points, figureOf, title) {
  const known = points.map((point) => [point, figureOf(point)]).filter(([, figure]) => figure !== null);
  if (!known.length) return nothing(id, `${title}: not known of any of these points.`);
  drawn(id);
  const names = known.map(([point]) => plain(shortened(inGroup(point), 20)));
  show(id, known.map(([point, figure], i) => ({
    type: "scatter", x: [i], y: [figure.value], mode: "markers", showlegend: false, hoverinfo: "text",
    marker: { symbol: "circle", size: 9, color: isHollow(point) ? "#ffffff" : colourOf(point), line: { color: colourOf(point), width: 1.8 } },
    error_y: bars([figure], colourOf(point)), hovertext: [...facts(point), `${plain(title)} ${withInterval(figure, 4)}`].join("<br>"),
  })), { x: { title: "", tickvals: names.map((_, i) => i), ticktext: names, range: [-0.5, names.length - 0.5] }, y: { title: "" }, title, height: 270 });
}

// How a greedy soup grew: its value after each step, and what it would have been with each checkpoint that was refused.
function drawSoupSteps(id, soup) {
  const steps = soup.steps, x = steps.map((_, i) => i), after = steps.map((step) => (step.kept ? step.value : step.before));
  const told = (step) => [`<b>${plain(step.candidate)}</b>, ${step.kept ? "kept" : "refused"}`, `${plain(soup.objective)} with it ${number(step.value)}${step.before === null ? "" : `, without it ${number(step.before)}`}`].join("<br>");
  const marks = (kept) => {
    const some = x.filter((i) => steps[i].kept === kept), hue = colour(kept ? 2 : 1);
    return {
      type: "scatter", mode: "markers", name: kept ? "kept" : "refused", x: some, y: some.map((i) => steps[i].value), hoverinfo: "text", hovertext: some.map((i) => told(steps[i])), cliponaxis: false,
      marker: { symbol: kept ? "circle" : "x-thin", size: kept ? 10 : 9, color: hue, line: { color: hue, width: 2 } },
    };
  };
  drawn(id);
  show(id, [
    { type: "scatter", mode: "lines", name: "the soup", x, y: after, line: { color: INK, width: 1.6, shape: "hv" }, hoverinfo: "skip" },
    marks(true), ...(steps.every((step) => step.kept) ? [] : [marks(false)]),
  ], {
    x: { title: "", tickvals: x, ticktext: steps.map((step) => plain(shortened(step.candidate, 16))), range: [-0.5, steps.length - 0.5] },
    y: { title: "" }, title: `${soup.objective} on the selection half, step by step`, height: 300,
  });
}

function drawHistogram(id, point, most) {
  const bins = point.histogram.length, shade = colourOf(point);
  drawn(id);
  show(id, [{
    type: "bar", x: point.histogram.map((_, i) => (i + 0.5) / bins), y: point.histogram, width: 1 / bins,
    marker: { color: shade, line: { color: "#ffffff", width: 1 } }, hoverinfo: "text", showlegend: false,
    hovertext: point.histogram.map((value, i) => `${many(value, "problem")}, ${i / bins} to ${(i + 1) / bins} of samples correct`),
  }], {
    x: { title: "share of samples that are correct", range: [0, 1], dtick: 0.2 }, y: { title: "problems", range: [0, Math.max(1, most) * 1.05] },
    title: `${point.label}, n = ${range(point.n, point.n_high)}`, height: 190,
  });
}

function titled(metric, k) {
  return (metric[0].toUpperCase() + metric.slice(1)).replace("@k", `@${count(k)}`).replace("^k", `^${count(k)}`);
}
