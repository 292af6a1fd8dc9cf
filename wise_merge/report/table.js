"use strict";
// Tables that sort by a click on a head. A cell is a text, or {text, sort, name}: `sort` is what it is sorted by.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function inOrder(one, other) {
  if (one === other) return 0;
  // What is unknown comes last, whichever way.
  if (one === null || one === undefined) return 2;
  if (other === null || other === undefined) return -2;
  return typeof one === "number" && typeof other === "number" ? Math.sign(one - other) : String(one).localeCompare(String(other), "en", { numeric: true });
}

// `order` is [column, 1 or -1] or null and is kept in the box, so that a table drawn anew stays sorted.
function drawTable(box, heads, rows, { caption, chosen } = {}) {
  const order = box.order ?? null, sorted = [...rows];
  const by = (row) => row.cells[order[0]]?.sort;
  if (order && order[0] < heads.length) {
    sorted.sort((one, other) => {
      const found = inOrder(by(one), by(other));
      return Math.abs(found) === 2 ? found : order[1] * found;
    });
  }
  const head = element("tr");
  heads.forEach(({ title, hint, text }, column) => {
    const button = element("button", { type: "button" }, title);
    if (hint) button.title = hint;
    const direction = order && order[0] === column ? order[1] : 0;
    button.addEventListener("click", () => {
      // Numbers are first wanted from the best down, words from A.
      box.order = [column, direction ? -direction : text ? 1 : -1];
      drawTable(box, heads, rows, { caption, chosen });
      box.querySelectorAll("th button")[column].focus();
    });
    head.append(element("th", { scope: "col", "aria-sort": direction === 1 ? "ascending" : direction === -1 ? "descending" : "none", class: text ? "text" : "" }, button));
  });
  const body = element("tbody");
  for (const row of sorted) {
    const line = element("tr");
    row.cells.forEach((cell, column) => line.append(element("td", { class: heads[column].text ? "text" : "" }, cell.node ? cell.node() : cell.text)));
    if (row.chosen?.()) line.classList.add("chosen");
    if (row.click) {
      line.classList.add("link");
      line.addEventListener("click", () => row.click(line));
    }
    body.append(line);
  }
  const made = element("table", {}, ...(caption ? [element("caption", {}, caption)] : []), element("thead", {}, head), body);
  box.replaceChildren(made);
}

const textCell = (text) => ({ text, sort: text });
const numberCell = (value, digits = 3) => ({ text: number(value, digits), sort: value ?? null });
const countCell = (value) => ({ text: value === null ? "–" : count(value), sort: value });
const percentCell = (value) => ({ text: value === null ? "–" : `${(100 * value).toFixed(1)} %`, sort: value });

function figureCell(figure) {
  return {
    sort: figure ? figure.value : null,
    node: () => {
      const cell = element("span", { class: "figure" }, figure ? number(figure.value) : "–");
      if (figure && figure.low !== null) cell.append(element("small", {}, ` [${number(figure.low)}, ${number(figure.high)}]`));
      return cell;
    },
  };
}

function pointHeads() {
  const named = task().on_line ? [{ title: "Late checkpoint", text: true }, { title: "Alpha" }] : [{ title: "Model", text: true }];
  return [...named, { title: "T", hint: "Temperature of sampling" }, { title: "n", hint: "Samples of each problem" }];
}

function pointCells(point) {
  const named = task().on_line ? [textCell(task().groups[point.group].label), { text: String(point.alpha), sort: point.alpha }] : [textCell(inGroup(point))];
  return [
    ...named,
    { text: String(point.temperature), sort: point.temperature },
    { text: range(point.n, point.n_high), sort: point.n },
  ];
}

function drawAllPoints(box, points, k) {
  const figures = [["pass@k", 1], ["pass@k", k], ["maj@k", k], ["best@k", k], ["answer diversity", k], ["operation diversity", k]]
    .filter(([name, at], i) => (i !== 1 || at !== 1) && points.some((point) => lineOf(point, name)));
  const differ = new Set(points.map((point) => point.problems)).size > 1;
  const heads = [
    ...pointHeads(), ...(differ ? [{ title: "Problems" }] : []),
    ...figures.map(([name, at]) => ({ title: name.endsWith("@k") ? titled(name, at) : name[0].toUpperCase() + name.slice(1) })),
    { title: "Bias", hint: "E[1 − ρ]" }, { title: "Variance", hint: "Var(ρ)" },
  ];
  drawTable(box, heads, points.map((point) => ({
    cells: [
      ...pointCells(point), ...(differ ? [countCell(point.problems)] : []),
      ...figures.map(([name, at]) => figureCell(figureAt(point, name, at))),
      figureCell(point.bias), figureCell(point.variance),
    ],
  })));
}

const STOPPED = { interval: "its interval was narrow enough", dominated: "another point was better in both" };

function drawAudit(box, points) {
  const heads = [
    ...pointHeads(), { title: "Unanswered", hint: "Share of samples without an answer" },
    { title: "Cut off", hint: "Share of samples cut at the longest completion allowed" },
    { title: "Identical", hint: "Problems whose samples are all one text" },
    { title: "Distinct", hint: "Different completions per sample" }, { title: "Tokens", hint: "Per sample" },
    { title: "Longest", hint: "Tokens allowed" }, { title: "Stopped early", text: true },
  ];
  drawTable(box, heads, points.map((point) => ({
    cells: [
      ...pointCells(point), percentCell(point.audit.unanswered), percentCell(point.audit.cut_off), countCell(point.audit.identical),
      numberCell(point.audit.distinct, 2), numberCell(point.audit.tokens, 1), countCell(point.max_tokens),
      textCell(point.stopped === null ? (point.n < numbers.samples ? "fewer samples so far" : "no, all samples") : STOPPED[point.stopped] ?? point.stopped),
    ],
  })));
}

// The steps of a greedy soup, in their order.
function drawSteps(box, soup) {
  const heads = [
    { title: "Step" }, { title: "Checkpoint", text: true }, { title: "Kept", text: true },
    { title: `${soup.objective} with it`, hint: "On the selection half" }, { title: "Change", hint: "To the soup without it" },
    ...(soup.constraints.length ? [{ title: "Constraints", text: true }] : []), { title: "Ingredients", hint: "Of the soup after the step" },
  ];
  drawTable(box, heads, soup.steps.map((step, i) => ({
    cells: [
      countCell(i + 1), textCell(step.candidate), textCell(step.kept ? "kept" : "refused"), numberCell(step.value), signedCell(step.before === null ? null : step.value - step.before),
      ...(soup.constraints.length ? [textCell(step.meets ? "met" : "not met")] : []), countCell(step.ingredients.length),
    ],
  })));
}

// What the soup is compared with, on the half of the problems that had no part in making it.
function drawRivals(box, soup) {
  const heads = [
    { title: "Compared with", text: true }, { title: "Model", text: true }, { title: soup.objective, hint: "On the confirmation half" },
    { title: "Soup minus it", hint: "With its 95 % interval" }, { title: "p", hint: "Of a paired permutation test" },
  ];
  const own = { cells: [textCell("the greedy soup"), textCell(many(soup.chosen.ingredients.length, "ingredient")), numberCell(soup.chosen.confirmation), textCell("–"), textCell("–")] };
  drawTable(box, heads, [own, ...soup.against.map((rival) => ({
    cells: [
      textCell(rival.name), textCell(rival.title), numberCell(rival.confirmation), figureCell({ value: rival.difference, low: rival.low, high: rival.high }),
      { text: rival.p === null ? "–" : rival.p < 0.001 ? "<0.001" : number(rival.p), sort: rival.p },
    ],
  }))]);
}

const signedCell = (value) => ({ text: (value > 0 ? "+" : "") + number(value), sort: value });
