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

// By alpha, or by the place among models without an order.
function colourOf(point) {
  return point.alpha === null ? colour(point.variant) : alphaColour(point.alpha);
}

function alphaColour(alpha) {
  const stops = numbers.alpha_colours, place = Math.min(Math.max(alpha, 0), 1) * (stops.length - 1);
  const left = Math.min(Math.floor(place), stops.length - 2), share = place - left;
  const part = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
  const mixed = [0, 1, 2].map((i) => Math.round((1 - share) * part(stops[left], i) + share * part(stops[left + 1], i)));
  return "#" + mixed.map((value) => value.toString(16).padStart(2, "0")).join("");
}

// Early on a line, every checkpoint elsewhere.
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
  const own = point.unmerged === null ? steps : [steps[point.unmerged]];
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

function paths(points) {
  const found = new Map();
  for (const point of points) {
    const key = `${point.group} ${point.temperature}`;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(point);
  }
  return [...found.values()];
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

function show(id, traces, { x, y, title, height = 380 }) {
  const box = document.getElementById(id), width = box.clientWidth;
  const named = traces.filter((trace) => trace.showlegend !== false && trace.name);
  // The legend stands below; each of its rows needs room of its own.
  const longest = Math.max(0, ...named.map((trace) => trace.name.length));
  const across = Math.max(1, Math.floor((width - 70) / (7.2 * longest + 50)));
  const rows = named.length > 1 ? Math.ceil(named.length / across) : 0, below = 58 + 19 * rows + (rows ? 8 : 0);
  const axis = { gridcolor: GRID, linecolor: "#777777", zeroline: false, ticks: "outside", tickcolor: "#777777", automargin: false };
  // Rates lie in [0, 1]; what is 0 in all points needs no room below it.
  const rates = { autorangeoptions: { clipmin: -0.03, clipmax: 1.03 } };
  Plotly.react(box, traces, {
    font: FONT, width, height: height + below, margin: { l: 60, r: 14, t: title ? 36 : 12, b: below },
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
    if (rows && lacking > 0) Plotly.relayout(box, { height: height + below + lacking, "margin.b": below + lacking });
  });
}

function nothing(id, why) {
  const box = document.getElementById(id);
  Plotly.purge(box);
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
  const traces = task().on_line ? alongPaths(id, shown, k, few) : markForEach(shown, k, few);
  show(id, traces, { x: { title: "Pass@1", autorangeoptions: { clipmin: -0.03, clipmax: 1.03 } }, y: { title: `Pass@${count(k)}` }, height: 430 });
}

function inPlane(points, figures, k) {
  return points.map((point, i) => [...facts(point), `Pass@1 ${withInterval(figures[0][i])}`, `Pass@${count(k)} ${withInterval(figures[1][i])}`].join("<br>"));
}

// A line for each group and temperature, from early to late.
function alongPaths(id, shown, k, few) {
  const found = paths(shown), named = new Set(), roomy = document.getElementById(id).clientWidth > 800;
  // Colour tells late checkpoints apart and mark and dashes temperatures, unless there is but one of either.
  const groups = sorted(found.map((path) => path[0].group)), temperatures = sorted(found.map((path) => path[0].temperature));
  return found.map((path) => {
    const places = [groups.indexOf(path[0].group), temperatures.indexOf(path[0].temperature)];
    const hue = groups.length > 1 ? places[0] : places[1], style = temperatures.length > 1 ? places[1] : places[0];
    const [across, up] = [1, k].map((one) => path.map((point) => figureAt(point, "pass@k", one)));
    const ends = path.map((point) => point.unmerged !== null);
    // A point that several paths share is named once.
    const names = path.map((point) => (named.has(point.run) ? "" : point.mark));
    for (const point of path) named.add(point.run);
    return {
      type: "scatter", x: across.map((one) => one.value), y: up.map((one) => one.value),
      name: plain(`${task().groups[path[0].group].label}, T ${path[0].temperature}`),
      mode: "lines+markers+text", cliponaxis: false,
      text: names.map((name, i) => (found.length === 1 || (roomy && found.length === 2) || (ends[i] && found.length <= 4) ? name : "")),
      // Where paths seldom are: they leave early to the right and reach late from the right and above.
      textposition: path.map((point) => (point.alpha === 0 ? "top center" : point.alpha === 1 ? "bottom left" : "top right")),
      textfont: { size: 11, color: "#444444" },
      line: { color: colour(hue), width: 1.8, dash: DASHES[style % DASHES.length] },
      marker: { color: path.map((point) => (isHollow(point) ? "#ffffff" : colour(hue))), symbol: SYMBOLS[style % SYMBOLS.length], size: ends.map((end) => (end ? 10 : 7)), opacity: 1, line: { color: colour(hue), width: 1.8 } },
      ...(few ? { error_x: bars(across, faded(colour(hue), 0.35)), error_y: bars(up, faded(colour(hue), 0.35)) } : {}),
      hoverinfo: "text",
      hovertext: inPlane(path, [across, up], k),
    };
  });
}

// A mark for each model and temperature, without lines; the legend names them.
function markForEach(shown, k, few) {
  const temperatures = sorted(shown.map((point) => point.temperature));
  return shown.map((point) => {
    const [across, up] = [1, k].map((one) => [figureAt(point, "pass@k", one)]), shade = colourOf(point);
    return {
      type: "scatter", x: [across[0].value], y: [up[0].value], mode: "markers", cliponaxis: false,
      name: plain(inGroup(point) + (temperatures.length > 1 ? `, T ${point.temperature}` : "")),
      marker: { color: isHollow(point) ? "#ffffff" : shade, symbol: SYMBOLS[temperatures.indexOf(point.temperature) % SYMBOLS.length], size: 10, opacity: 1, line: { color: shade, width: 1.8 } },
      ...(few ? { error_x: bars(across, faded(shade, 0.35)), error_y: bars(up, faded(shade, 0.35)) } : {}),
      hoverinfo: "text", hovertext: inPlane([point], [across, up], k),
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

// One figure against alpha, or against the step of training; lines are [name, [[x, point], ...]].
function drawLines(id, lines, figureOf, title, axis) {
  const traces = lines.flatMap(([name, places], style) => {
    const known = places.map(([x, point]) => [x, point, figureOf(point)]).filter(([, , figure]) => figure !== null);
    if (!known.length) return [];
    const x = known.map(([place]) => place), figures = known.map(([, , figure]) => figure);
    return [
      ...band(x, figures.map((one) => one.low), figures.map((one) => one.high), colour(style), name),
      {
        type: "scatter", x, y: figures.map((one) => one.value), name: plain(name), legendgroup: name, mode: "lines+markers",
        line: { color: colour(style), width: 2, dash: DASHES[style % DASHES.length] }, marker: { symbol: SYMBOLS[style % SYMBOLS.length], size: 7, color: colour(style) }, hoverinfo: "text",
        hovertext: known.map(([, point, figure]) => [...facts(point), `${plain(title)} ${withInterval(figure, 4)}`].join("<br>")),
      },
    ];
  });
  if (!traces.length) return nothing(id, `${title}: not known of any of these points.`);
  drawn(id);
  show(id, traces, { x: axis, y: { title: "" }, title, height: 270 });
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
