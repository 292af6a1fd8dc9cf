"use strict";
// The problems one by one: how many samples of each are correct, and the samples themselves.

// Whether a point is the model in question, or the first or the last checkpoint of its group.
function isCompared(point) {
  return point.label === state.model || point.unmerged === 0 || point.unmerged === task().groups[point.group].checkpoints.length - 1;
}

// Those that have been sampled, in their order: early, an average and late, or checkpoints and what is merged from them.
function compared() {
  return task().points.filter((point) => point.group === state.oneGroup && point.temperature === state.oneTemperature && isCompared(point));
}

const shareOf = (point, i) => (point.drawn[i] ? point.correct[i] / point.drawn[i] : null);

function drawProblems(box, points) {
  const heads = [
    { title: "Problem", text: true }, { title: "Gold", text: true },
    ...points.map((point) => ({ title: task().on_line && point.unmerged !== null ? point.mark : point.label, hint: "Correct samples of all samples" })),
  ];
  const last = points[points.length - 1];
  if (points.length > 1) heads.push({ title: "Change", hint: `Of the share of correct samples: ${last.label} less ${points[0].label}` });
  const rows = task().problems.map((problem, i) => ({
    cells: [
      // A button, so that the keyboard gets there too.
      { sort: problem.id, node: () => element("button", { type: "button", class: "name" }, shortened(problem.id, 40)) },
      { text: shortened(problem.gold, 40), sort: problem.gold },
      ...points.map((point) => ({ text: point.drawn[i] ? `${point.correct[i]} / ${point.drawn[i]}` : "–", sort: shareOf(point, i) })),
      ...(points.length > 1 ? [change(shareOf(points[0], i), shareOf(last, i))] : []),
    ],
    chosen: () => state.problem === i,
    click: (line) => {
      state.problem = i;
      box.querySelectorAll("tr.chosen").forEach((one) => one.classList.remove("chosen"));
      line.classList.add("chosen");
      drawSamples(points, true);
    },
  }));
  drawTable(box, heads, rows);
}

function change(before, after) {
  if (before === null || after === null) return { text: "–", sort: null };
  const value = after - before;
  return { text: (value > 0 ? "+" : "") + number(value, 2), sort: value };
}

function shortened(text, longest) {
  const letters = Array.from(text);
  return letters.length <= longest ? text : letters.slice(0, longest - 1).join("") + "…";
}

// Texts are kept deflated until somebody wants to read them.
async function textsOf(taskNumber, problem) {
  const block = document.getElementById(`texts-${taskNumber}-${problem}`);
  if (!block) return null;
  const bytes = Uint8Array.from(atob(block.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

async function drawSamples(points, wanted) {
  const box = document.getElementById("samples"), i = state.problem, taskNumber = state.task;
  if (i === null) return box.replaceChildren(element("p", { class: "empty" }, "Choose a problem to see its samples."));
  const problem = task().problems[i];
  let texts = null;
  try {
    texts = await textsOf(taskNumber, i);
  } catch (error) {
    return box.replaceChildren(element("p", { class: "empty" }, "This browser cannot unpack the samples; a newer one can."));
  }
  // Somebody may have chosen another meanwhile.
  if (state.problem !== i || state.task !== taskNumber) return undefined;
  const parts = [element("h3", {}, `Problem ${problem.id}`), element("p", { class: "gold" }, "Gold: ", element("code", {}, problem.gold))];
  if (texts?.prompt) parts.push(element("details", { class: "prompt" }, element("summary", {}, "Prompt"), textNode(texts.prompt)));
  const groups = element("div", { class: "groups" });
  for (const point of points) groups.append(group(point, i, texts?.behind[point.run] ?? null));
  parts.push(groups);
  box.replaceChildren(...parts);
  // Below the list on a narrow screen, and so out of sight.
  if (wanted && window.matchMedia("(max-width: 899px)").matches) box.scrollIntoView();
  return undefined;
}

function group(point, i, behind) {
  const made = element("section", { class: "group" }, element("h4", {}, `${point.label}, T ${point.temperature}`));
  made.append(element("p", {}, point.drawn[i] ? `${count(point.correct[i])} of ${many(point.drawn[i], "sample")} correct` : "no samples of this problem"));
  if (!behind) return made;
  const marks = element("p", { class: "marks", role: "img", "aria-label": "Verdicts in the order of the samples" });
  for (const verdict of behind.verdicts) marks.append(element("span", { class: verdict === "1" ? "right" : "wrong" }, verdict === "1" ? "✓" : "✗"));
  if (behind.verdicts.length < point.drawn[i]) marks.append(` and ${count(point.drawn[i] - behind.verdicts.length)} more`);
  made.append(marks);
  behind.samples.forEach((sample, index) => {
    const verdict = element("span", { class: sample.correct ? "right" : "wrong" }, sample.correct ? "✓ correct" : "✗ wrong");
    const answer = sample.answer === null ? element("em", {}, "no answer") : element("code", {}, shortened(sample.answer, 80));
    const told = element("p", { class: "verdict" }, verdict, " answer ", answer);
    if (sample.cut_off) told.append(element("span", { class: "cut" }, " cut off"));
    made.append(element("article", {}, told, textNode(sample.text)));
  });
  return made;
}

// A completion is only ever shown as text.
function textNode(text) {
  const made = element("pre", {}, text.head);
  if (text.left_out) made.append(element("span", { class: "left-out" }, ` … ${many(text.left_out, "character")} left out … `), text.tail);
  return made;
}
