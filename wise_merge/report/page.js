"use strict";
// The page: what is chosen, the tabs, and which view draws what.

const numbers = JSON.parse(document.getElementById("numbers").textContent);
const state = { task: 0, group: "all", temperature: "all", k: 1, oneGroup: 0, oneTemperature: 1, model: "", metric: "pass@k", problem: null, tab: "plane" };
const task = () => numbers.tasks[state.task];
const sorted = (values) => [...new Set(values)].sort((one, other) => one - other);
const ofTemperature = () => task().points.filter((point) => point.temperature === state.oneTemperature);

// A point of each model, in their order; the same alpha of several late checkpoints is one.
function models() {
  const points = [...task().points].sort((one, other) => (task().on_line ? one.alpha - other.alpha : one.variant - other.variant));
  return points.filter((point, i) => points.findIndex((one) => one.label === point.label) === i);
}

function startTask() {
  const points = task().points, temperatures = sorted(points.map((point) => point.temperature)), groups = sorted(points.map((point) => point.group));
  state.k = task().k;
  state.oneGroup = groups[groups.length - 1];
  // 1 is the model's own distribution.
  state.oneTemperature = temperatures.includes(1) ? 1 : temperatures[0];
  state.group = linesOf(points).length <= 6 || !task().on_line ? "all" : state.oneGroup;
  state.temperature = "all";
  // The merge halfway between early and late, or the first one; else the last checkpoint.
  const between = models().filter((point) => point.unmerged === null), away = (point) => (point.alpha === null ? 0 : Math.abs(point.alpha - 0.5));
  state.model = (between.length ? between.reduce((best, point) => (away(point) < away(best) ? point : best)) : models().at(-1)).label;
  state.metric = "pass@k";
  state.problem = null;
  const chosen = points.find((point) => point.chosen);
  if (chosen) Object.assign(state, { oneGroup: chosen.group, oneTemperature: chosen.temperature, model: chosen.label });
  if (chosen && state.group !== "all") state.group = chosen.group;
}

// What each list offers: [title, key of state, values, what a value is called].
const CHOICES = {
  task: () => ["Task", "task", numbers.tasks.map((_, i) => i), (i) => numbers.tasks[i].name],
  group: () => [groupTitle(), "group", ["all", ...sorted(task().points.map((point) => point.group))], (group) => (group === "all" ? "all" : task().groups[group].label)],
  "one-group": () => [groupTitle(), "oneGroup", sorted(task().points.map((point) => point.group)), (group) => task().groups[group].label],
  temperature: () => ["Temperature", "temperature", ["all", ...sorted(task().points.map((point) => point.temperature))], String],
  "one-temperature": () => ["Temperature", "oneTemperature", sorted(task().points.map((point) => point.temperature)), String],
  model: () => [task().on_line ? "Alpha" : "Model", "model", models().map((point) => point.label), (label) => (task().on_line ? alphaOf(label) : label)],
  // Where nothing is averaged along training, there is nothing to choose.
  average: () => (task().on_line ? CHOICES.model() : ["", "model", [], String]),
  k: () => ["K", "k", offeredK(), count],
  metric: () => ["Figure", "metric", ["pass@k", "maj@k", "best@k", "pass^k"].filter((name) => task().points.some((point) => lineOf(point, name))), (name) => (name === "best@k" ? "best@k by log-probability" : name)],
};

// The group that is shown, for a sentence, unless there is no other.
const ofGroup = () => (task().on_line || task().groups.length > 1 ? `${task().groups[state.oneGroup].label}, ` : "");
const groupTitle = () => (task().on_line ? "Late checkpoint" : "Checkpoints");

function alphaOf(label) {
  const point = models().find((one) => one.label === label);
  return point.unmerged === null ? String(point.alpha) : `${point.alpha} (${point.mark})`;
}

function offeredK() {
  const most = Math.max(...task().points.map((point) => point.n)), offered = new Set(task().points.map((point) => point.n));
  for (let k = 1; k <= most; k *= 2) offered.add(k);
  offered.add(task().k);
  return sorted(offered);
}

function drawControls(box) {
  const focused = box.contains(document.activeElement) ? document.activeElement.name : null;
  const lists = box.dataset.controls.split(" ").map((name) => CHOICES[name]()).map(([title, key, values, called]) => {
    const choices = values.filter((value, i) => values.indexOf(value) === i);
    // A list of one says nothing new.
    if (choices.length < 2 || (choices.length === 2 && choices[0] === "all")) return null;
    const list = element("select", { name: key });
    choices.forEach((value, i) => list.append(new Option(called(value), String(i), false, value === state[key])));
    list.addEventListener("change", () => {
      state[key] = choices[Number(list.value)];
      if (key === "task") startTask();
      if (key === "group" && state.group !== "all") state.oneGroup = state.group;
      if (key === "temperature" && state.temperature !== "all") state.oneTemperature = state.temperature;
      draw();
    });
    return element("label", {}, title, list);
  });
  box.replaceChildren(...lists.filter((list) => list));
  if (focused) box.querySelector(`[name="${focused}"]`)?.focus();
}

function size(points) {
  const of = (key) => points.map((point) => point[key]);
  const problems = [Math.min(...of("problems")), Math.max(...of("problems"))];
  return `${range(...problems)} problem${problems[1] === 1 ? "" : "s"}, n = ${range(Math.min(...of("n")), Math.max(...of("n_high")))}`;
}

// Titles of points, a few of them, for a sentence.
function some(titles) {
  return titles.slice(0, 5).join("; ") + (titles.length > 5 ? `; and ${count(titles.length - 5)} more` : "");
}

const INTERVALS = "Intervals are 95 % over problems.";
const aboutBands = () => `${task().on_line ? "Bands" : "Bands and bars"} are 95 % intervals over problems.`;

// The axis of charts along the first coordinate of the points; null where they have no order.
function firstAxis(points) {
  if (task().on_line) return { title: "alpha (0 = early, 1 = late)", range: [-0.03, 1.03], dtick: 0.2 };
  const titles = [...new Set(points.filter((point) => point.place !== null).map((point) => task().groups[point.group].axes[0]))];
  return titles.length ? { title: titles.length === 1 ? titles[0] : "first coordinate" } : null;
}

// Lines along the first coordinate, as charts take them, and the points that lie on none.
function alongFirst(points) {
  const lines = linesOf(points), joined = lines.filter((line) => !isModel(line));
  return [joined.map((line) => [lineName(line, false), line.map((point) => [point.place[0], point])]), lines.filter(isModel).flat()];
}

function alongBoth(names, figures) {
  const points = ofTemperature(), axis = firstAxis(points), [lines, levels] = alongFirst(points);
  const training = task().on_line ? alongTraining(points) : bySteps(points);
  names.forEach((name, i) => {
    const [title, of] = figures[i], one = document.getElementById(`${name}-alpha`), other = document.getElementById(`${name}-training`);
    one.parentElement.previousElementSibling.textContent = task().on_line ? "Along alpha" : axis ? `Along ${axis.title}` : "By model";
    for (const part of [other.parentElement, other.parentElement.previousElementSibling]) part.hidden = training === null;
    if (axis) drawLines(one.id, lines, of, title, axis, levels);
    else drawModels(one.id, points, of, title);
    if (training) drawLines(other.id, training.lines, of, title, { title: training.axis, ...training.ticks });
  });
  return points;
}

// The early checkpoint, then the late ones by step; and beside them their averages at the alpha that is chosen.
function alongTraining(points) {
  const known = task().groups.every((group, i) => group.checkpoints.at(-1).step !== null || !points.some((point) => point.group === i));
  const place = (point) => (known ? task().groups[point.group].checkpoints.at(-1).step : point.group + 1);
  const at = (alpha) => points.filter((point) => point.alpha === alpha && alpha > 0).map((point) => [place(point), point]);
  const early = points.filter((point) => point.alpha === 0).filter((point, i, all) => all.findIndex((one) => one.run === point.run) === i);
  const start = early.map((point) => [known ? stepOf(point) : 0, point]).filter(([x]) => x !== null).slice(0, 1);
  const lines = [["early, then late (alpha 1)", [...start, ...at(1)]]];
  const chosen = models().find((point) => point.label === state.model);
  if (chosen.unmerged === null) lines.push([`average at ${chosen.label}`, at(chosen.alpha)]);
  const shown = sorted(points.map((point) => point.group));
  return {
    lines: lines.map(([name, places]) => [name, places.sort(([one], [other]) => one - other)]),
    axis: known ? "step of training" : "checkpoint (steps are not known)",
    ticks: known ? {} : { tickvals: [0, ...shown.map((group) => group + 1)], ticktext: ["early", ...shown.map((group) => plain(shortened(task().groups[group].label, 14)))] },
  };
}

// The checkpoints by step; null where fewer than two steps are known, or where they are of several runs.
function bySteps(points) {
  const known = points.filter((point) => stepOf(point) !== null), steps = known.map(stepOf);
  if (new Set(steps).size < 2 || known.some((point) => known.some((other) => stepOf(other) === stepOf(point) && other.label !== point.label))) return null;
  const places = known.filter((point, i) => steps.indexOf(steps[i]) === i).map((point) => [stepOf(point), point]);
  return { lines: [["checkpoints", places.sort(([one], [other]) => one - other)]], axis: "step of training", ticks: {} };
}

const VIEWS = {
  plane(heading, note) {
    const points = task().points.filter((point) => (state.group === "all" || point.group === state.group) && (state.temperature === "all" || point.temperature === state.temperature));
    const short = points.filter((point) => point.n < state.k);
    heading.textContent = `Pass@1 and Pass@${count(state.k)}${task().on_line ? " along alpha" : ""}: ${size(points)}`;
    drawPlane("plane-chart", points, state.k);
    const axis = firstAxis(points), marks = task().on_line
      ? "Each line leads from early (hollow) to late (filled) by alpha."
      : `Each mark is a model: a checkpoint (hollow), or what is merged from them (filled)${axis ? `; lines lead along ${axis.title}` : ""}.`;
    note.textContent = `${marks} ${INTERVALS}` +
      (points.length - short.length > 40 ? " They are shown on hover, as points are many." : "") +
      (short.length ? ` Not in the plane, as n < ${count(state.k)}: ${some(short.map((point) => `${point.title} (n = ${point.n})`))}.` : "");
  },
  soup(heading, note) {
    const soup = numbers.soup, kept = soup.steps.filter((step) => step.kept).length;
    heading.textContent = `Greedy soup by ${soup.objective}: ${count(kept)} of ${many(soup.steps.length, "checkpoint")} kept`;
    drawSoupSteps("soup-chart", soup);
    drawSteps(document.getElementById("soup-steps"), soup);
    drawRivals(document.getElementById("soup-rivals"), soup);
    note.textContent = `A checkpoint is kept if the soup with it is better than without it${soup.constraints.length ? ` and meets ${soup.constraints.join(" and ")}` : ""}, on ${many(soup.selection_problems, "problem")}, the selection half; differences to other models are those on the other ${count(soup.confirmation_problems)}, the confirmation half, with 95 % intervals over problems and p of a paired permutation test.`;
  },
  coordinates(heading, note) {
    const points = ofTemperature().filter((point) => point.group === state.oneGroup), axes = task().groups[state.oneGroup].axes, off = points.filter((point) => point.place === null);
    const shown = state.k === 1 ? [1] : [1, state.k], of = (k) => (point) => figureAt(point, "pass@k", k), [lines, levels] = alongFirst(points);
    heading.textContent = points.length ? `By ${axes.join(" and ")}, ${ofGroup()}T ${state.oneTemperature}: ${size(points)}` : "Coordinates";
    [0, 1].forEach((i) => {
      const id = `coordinates-${i}`, k = shown[i];
      document.getElementById(id).hidden = k === undefined;
      if (k === undefined) return;
      if (axes.length === 2) drawCells(id, points, of(k), `Pass@${count(k)}`, axes);
      else if (axes.length === 1) drawLines(id, lines, of(k), `Pass@${count(k)}`, firstAxis(points), levels);
      else nothing(id, "The models of these checkpoints have no order.");
    });
    const others = off.map((point) => `${point.label} ${shown.map((k) => number(of(k)(point)?.value)).join(" and ")}`);
    note.textContent = axes.length === 2
      ? `Each cell is a model, its colour the figure${points.some((point) => point.chosen) ? "; the frame marks the chosen one" : ""}.${others.length ? ` Not in the plane: ${others.join("; ")}.` : ""} Intervals on hover.`
      : `Bands are 95 % intervals over problems.${others.length ? " Dotted: checkpoints as they are, which lie nowhere along it." : ""}`;
  },
  curves(heading, note) {
    const points = ofTemperature().filter((point) => point.group === state.oneGroup);
    const name = state.metric === "best@k" ? "Best@k by the model's log-probability" : titled(state.metric, "k");
    heading.textContent = points.length ? `${name}, ${ofGroup()}T ${state.oneTemperature}: ${size(points)}` : "Curves";
    drawCurves("curves-chart", points, state.metric);
    note.textContent = `Bands are 95 % intervals over problems${points.length > 5 ? `, of ${task().on_line ? "early, late and the chosen alpha" : "the first and the last checkpoint and the chosen model"}; of the others on hover` : ""}. A click on a name hides its curve, a double click all others. Curves end at each point's n.`;
  },
  bias(heading, note) {
    const points = alongBoth(["bias", "variance"], [["Bias, E[1 − ρ]", (point) => point.bias], ["Variance, Var(ρ)", (point) => point.variance]]);
    heading.textContent = `Bias and variance of ρ, T ${state.oneTemperature}: ${size(points)}`;
    note.textContent = "ρ is a problem's chance that one sample is correct; Var(ρ) is unbiased, and unknown where a problem has one sample. " + aboutBands() + " Pass@k cannot exceed 1 − (bias² + variance)^(k/2).";
  },
  diversity(heading, note) {
    const of = (name) => (point) => figureAt(point, name, state.k);
    const points = alongBoth(["answer", "operation"], [["Answer diversity", of("answer diversity")], ["Operation diversity", of("operation diversity")]]);
    heading.textContent = `Diversity of ${many(state.k, "sample")} at T ${state.oneTemperature}: ${size(points)}`;
    note.textContent = `Different answers, or different sequences of arithmetic operators, per sample among K = ${count(state.k)}. Points with fewer samples are left out. ${aboutBands()}`;
  },
  problems(heading, note) {
    const points = compared(), most = Math.max(...points.flatMap((point) => point.histogram));
    heading.textContent = points.length ? `Problem by problem, ${ofGroup()}T ${state.oneTemperature}: ${size(points)}` : "Problem by problem";
    [0, 1, 2].forEach((i) => {
      document.getElementById(`histogram-${i}`).hidden = i >= Math.max(1, points.length);
      if (points[i]) drawHistogram(`histogram-${i}`, points[i], most);
      else if (i === 0) nothing("histogram-0", "No such point has been sampled yet.");
    });
    note.textContent = "Problems by their share of correct samples. " + aboutTexts();
    drawProblems(document.getElementById("problem-list"), points);
    drawSamples(points, false);
  },
  audit(heading, note) {
    heading.textContent = `Audit: ${size(task().points)}`;
    document.getElementById("findings").replaceChildren(findings());
    drawAudit(document.getElementById("audit-table"), task().points);
    note.textContent = `${count(numbers.samples)} samples of each problem were asked for. A sample without an answer counts as wrong; one that was cut off counts as its answer does.`;
  },
  table(heading, note) {
    heading.textContent = `All points: ${size(task().points)}`;
    drawAllPoints(document.getElementById("all-points"), task().points, state.k);
    note.textContent = `${INTERVALS} Best@k ranks samples by the model's own mean log-probability. – means unknown, or fewer samples than K = ${count(state.k)}. A click on a head sorts.`;
  },
};

function aboutTexts() {
  const found = numbers.texts;
  if (!found.asked) return "The page was made without the texts of samples.";
  let told = `A problem shows the first ${many(found.samples, "sample")} of each point`;
  if (found.samples < found.asked) told += ` (${count(found.asked)} would have made the page too large)`;
  if (found.shortened) told += `; ${count(found.shortened)} of ${many(found.shortened + found.whole, "text")} are shown without their middle`;
  if (found.missing) told += `; ${many(found.missing, "text")} are not in the journal`;
  return told + ".";
}

function findings() {
  const list = element("ul"), say = (text) => list.append(element("li", {}, text)), points = task().points;
  const worst = (key, of, sentence) => {
    const known = points.filter((point) => of(point) !== null);
    if (!known.length) return say(`${key}: not known.`);
    const most = known.reduce((one, other) => (of(other) > of(one) ? other : one));
    return say(of(most) > 0 ? `${key}: at most ${sentence(of(most))}, in ${most.title}.` : `${key}: none.`);
  };
  const percent = (share) => `${(100 * share).toFixed(1)} % of samples`;
  worst("Without an answer", (point) => point.audit.unanswered, percent);
  worst("Cut off at the longest completion", (point) => point.audit.cut_off, percent);
  worst("All samples identical", (point) => point.audit.identical, (value) => many(value, "problem"));
  for (const [reason, words] of Object.entries(STOPPED)) {
    const stopped = points.filter((point) => point.stopped === reason);
    if (stopped.length) say(`${many(stopped.length, "point")} stopped early, as ${words}.`);
  }
  for (const { label, method, checkpoints } of task().groups) {
    const names = checkpoints.map(({ name, step }) => (step === null ? name : `${name} (step ${step})`));
    const whom = task().on_line ? `from ${names[0]} to ${names[1]}` : `of ${names.join(", ")}`;
    const balanced = checkpoints[0].temperature === null ? "" : `, balanced by the temperatures ${checkpoints.map(({ temperature }) => temperature).join(" and ")}`;
    say(`${label}: ${method} ${whom}${balanced}.`);
  }
  if (task().missing.length) say(`Not sampled yet: ${task().missing.join("; ")}.`);
  return list;
}

// A paragraph, whose code stands between backticks, and the command that it leads to.
function statement({ text, command }) {
  const parts = text.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part));
  return [element("p", {}, ...parts), ...(command === null ? [] : [element("pre", { class: "command" }, command)])];
}

// Whether a tab has anything to show of the task.
function isThere(tab) {
  if (tab === "soup") return numbers.soup !== null;
  return tab !== "coordinates" || (!task().on_line && task().points.some((point) => point.place !== null));
}

function drawHeader() {
  const points = task().points, methods = [...new Set(task().groups.map((group) => group.method))];
  document.getElementById("heading").textContent = numbers.folder;
  document.getElementById("opening").replaceChildren(...numbers.opening.flatMap(statement));
  document.getElementById("about").textContent = `Sweep by ${methods.join(" and ")}, task ${task().name}: ${many(points.length, "point")}, ${size(points)}, K = ${count(task().k)}.` +
    (task().judged_by ? ` A sample is right by ${task().judged_by}.` : "");
  const missing = document.getElementById("missing"), sentences = [];
  if (task().missing.length) sentences.push(`Unfinished: ${many(task().missing.length, "point")} of ${count(points.length + task().missing.length)} not sampled yet: ${some(task().missing)}.`);
  if (numbers.unsampled.length) sentences.push(`Nothing is there yet of ${numbers.unsampled.join(", ")}.`);
  missing.replaceChildren(...sentences.map((text) => element("p", { class: "missing" }, text)));
}

function draw() {
  document.querySelectorAll('[role="tab"]').forEach((button) => (button.hidden = !isThere(button.id.replace("tab-", ""))));
  if (!isThere(state.tab)) return choose("plane");
  drawHeader();
  const view = document.getElementById(state.tab);
  document.querySelectorAll("header .controls").forEach(drawControls);
  view.querySelectorAll(".controls").forEach(drawControls);
  return VIEWS[state.tab](view.querySelector("h2"), view.querySelector(".note"));
}

function choose(tab) {
  state.tab = tab;
  document.querySelectorAll("main > section").forEach((section) => (section.hidden = section.id !== tab));
  document.querySelectorAll('[role="tab"]').forEach((button) => {
    const chosen = button.id === `tab-${tab}`;
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
  });
  // No element's id, or the browser would scroll there as soon as the page is loaded.
  history.replaceState(null, "", `#view=${tab}`);
  draw();
}

function start() {
  const tabs = document.querySelector("nav");
  document.querySelectorAll("main > section").forEach((section) => {
    section.setAttribute("role", "tabpanel");
    section.setAttribute("aria-labelledby", `tab-${section.id}`);
    const button = element("button", { type: "button", role: "tab", id: `tab-${section.id}`, "aria-controls": section.id }, section.dataset.title);
    button.addEventListener("click", () => choose(section.id));
    tabs.append(button);
  });
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const buttons = [...tabs.children].filter((button) => !button.hidden), next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
  document.getElementById("footer").textContent = `Made by wise-merge ${numbers.version}.`;
  startTask();
  const named = location.hash.replace("#view=", "");
  choose(VIEWS[named] ? named : "plane");
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    // The height of a phone's window changes while it scrolls.
    if (window.innerWidth !== width) draw();
    width = window.innerWidth;
  });
}

start();
