"use strict";
// Labels beside marks so that none lies on another, nor on a mark: each goes where there is room, the nearest first.

const LABEL = { size: 11, height: 14, mark: 6, ring: 12, led: 16 };
// Right and above first, where people look for a label.
const DIRECTIONS = [1, 7, 3, 5, 2, 0, 6, 4, 1.5, 0.5, 2.5, 3.5, 7.5, 6.5, 5.5, 4.5], DISTANCES = [7, 12, 18, 26, 36, 48, 64, 82, 104];

const meets = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
const boxAt = ([x, y], across, up) => [x - across, y - up, x + across, y + up];

function widthOf(text) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${LABEL.size}px ${FONT.family}`;
  return pen.measureText(text).width;
}

// Whether the line between two places passes through a box: Liang and Barsky's clipping.
function crosses([x, y], [x2, y2], [left, top, right, bottom]) {
  let from = 0, to = 1;
  for (const [step, room] of [[x - x2, x - left], [x2 - x, right - x], [y - y2, y - top], [y2 - y, bottom - y]]) {
    if (step === 0 && room < 0) return false;
    if (step < 0) from = Math.max(from, room / step);
    if (step > 0) to = Math.min(to, room / step);
  }
  return from <= to;
}

// The middle of the nearest free place for a text; rather one that no line crosses, and null where there is none.
function freePlace(at, across, up, frame, taken, lines, needed) {
  let crossed = null;
  for (const distance of DISTANCES.filter((one) => needed || one < LABEL.led)) {
    for (const direction of DIRECTIONS) {
      const parts = [Math.cos((direction * Math.PI) / 4), -Math.sin((direction * Math.PI) / 4)];
      const [x, y] = parts.map((part, i) => at[i] + part * distance + (Math.abs(part) < 0.3 ? 0 : Math.sign(part)) * [across, up][i]);
      const box = boxAt([x, y], across, up);
      if (box[0] < frame[0] || box[1] < frame[1] || box[2] > frame[2] || box[3] > frame[3] || taken.some((one) => meets(one, box))) continue;
      if (!lines.some(([one, other]) => crosses(one, other, box))) return { x, y, distance };
      crossed ??= { x, y, distance };
    }
  }
  return needed ? crossed : null;
}

// Write labels into a chart that has been drawn, and again whenever somebody zooms or hides a line.
// `labels` are [text, x, y, number of the trace, whether it is needed], the most important first; one that is not is left
// out rather than led to its mark by a line, or written across one.
function labelMarks(box, labels) {
  const { width, height, margin, xaxis, yaxis } = box.layout;
  const frame = [margin.l, margin.t, width - margin.r, height - margin.b], size = [frame[2] - frame[0], frame[3] - frame[1]];
  const along = (axis, value) => (value - axis.range[0]) / (axis.range[1] - axis.range[0]);
  const share = (x, y) => [along(xaxis, x), along(yaxis, y)];
  const place = (x, y) => share(x, y).map((one, i) => (i ? frame[3] - one * size[1] : frame[0] + one * size[0]));
  const visible = (trace) => trace.visible !== "legendonly";
  const taken = [], lines = [], annotations = [];
  for (const trace of box.data.filter(visible)) {
    const places = Array.from(trace.x, (x, i) => place(x, trace.y[i])), half = trace.meta === "ring" ? LABEL.ring : LABEL.mark;
    places.forEach((at) => taken.push(boxAt(at, half, half)));
    if (trace.mode.includes("lines")) places.slice(1).forEach((at, i) => lines.push([places[i], at]));
  }
  for (const [text, x, y, trace, needed] of labels) {
    const at = place(x, y), across = widthOf(text) / 2 + 2, up = LABEL.height / 2;
    if (!visible(box.data[trace]) || share(x, y).some((one) => one < 0 || one > 1)) continue;
    const found = freePlace(at, across, up, frame, taken, lines, needed);
    if (!found) continue;
    taken.push(boxAt([found.x, found.y], across, up));
    const led = found.distance >= LABEL.led;
    if (led) lines.push([at, [found.x, found.y]]);
    annotations.push({
      text: plain(text), font: { size: LABEL.size, color: "#444444" }, xref: "paper", yref: "paper", x: share(x, y)[0], y: share(x, y)[1], borderpad: 0, name: "label",
      ...(led ? { showarrow: true, arrowhead: 0, arrowwidth: 0.7, arrowcolor: "#888888", standoff: 4, ax: found.x - at[0], ay: found.y - at[1] }
        : { showarrow: false, xanchor: "center", yanchor: "middle", xshift: found.x - at[0], yshift: at[1] - found.y }),
    });
  }
  box.labels = labels;
  if (!box.labelled) {
    box.labelled = true;
    // A change of the labels themselves is none of the chart.
    box.on("plotly_relayout", (change) => change.annotations || labelMarks(box, box.labels));
    box.on("plotly_restyle", () => labelMarks(box, box.labels));
  }
  return Plotly.relayout(box, { annotations });
}
