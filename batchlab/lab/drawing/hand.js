// What a hand has beside the picture: the card of a sample, and the rows of tools above. `pointer.js` uses it.

const ACTIONS = [
  ["into the next batch", "next", "the very next batch is exactly these samples"],
  ["always", "always", "a place in every batch"],
  ["×5", "more", "five times as likely as now"],
  ["÷5", "less", "a fifth as likely as now"],
  ["never", "never", "they do not come any more"],
  ["clear", "clear", "take back what was said of them by hand"],
];
const SIGNS = { next: "→", never: "×", always: "□", more: "+", less: "−" }; // as on the stage
const TOOLS = [
  ["choose", "choose"],
  ["lasso", "lasso"],
  ["paint ×5", "more"],
  ["paint ÷5", "less"],
  ["paint never", "never"],
];

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  if (tag === "button" || tag === "input" || tag === "select") {
    element.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's own keys
  }
  return element;
}

// "3, 17, 20-25" as numbers below `count`; throws what is wrong with it.
function numbersIn(text, count) {
  const found = [];
  for (const part of text.split(/[\s,;]+/).filter(Boolean)) {
    const [, first, last = first] = part.match(/^(\d+)(?:-(\d+))?$/) ?? [];
    if (first === undefined) throw Error(`"${part}" is no number of a sample; write 3, 17, 20-25`);
    if (+first > +last) throw Error(`"${part}" goes downwards; write ${last}-${first}`);
    if (+last >= count) throw Error(`the ${count} samples are numbered from 0 to ${count - 1}`);
    for (let sample = +first; sample <= +last; sample++) found.push(sample);
  }
  return found;
}

// What is known of a sample: lines of words, its image, and its losses over the run.
function fill(card, { title, rows = [], image, curve }, close) {
  const table = make("table");
  for (const [name, value] of rows) {
    table.append(make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)));
  }
  const head = make("div", { className: "batchlab-card-title" }, make("b", {}, title));
  if (close) {
    const button = make("button", { onclick: close, title: "close (Esc)" }, "×");
    button.setAttribute("aria-label", "close the card");
    head.append(button);
  }
  const parts = [head];
  if (image) parts.push(make("img", { src: image, alt: "" }));
  parts.push(table);
  if (curve?.steps.length) parts.push(curveOf(curve), make("small", {}, curve.words));
  card.replaceChildren(...parts);
}

// A small picture of the losses of one sample, and below it a tick for each of its visits.
function curveOf({ steps, losses, last }) {
  const [width, height, foot] = [190, 54, 8];
  const across = (step) => 2 + ((width - 4) * step) / Math.max(last, 1);
  const logs = losses.map((loss) => Math.log10(Math.min(Math.max(loss ?? 10, 1e-4), 10)));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const up = (log) => 3 + ((height - foot - 8) * (high - log)) / (high - low || 1);
  const points = steps.map((step, k) => `${across(step).toFixed(1)},${up(logs[k]).toFixed(1)}`);
  const dots = points.map((point) => point.split(",")).map(([x, y]) => `<circle cx="${x}" cy="${y}" r="2"/>`);
  const ticks = steps.map((step) => `M${across(step).toFixed(1)} ${height - foot}v${foot}`);
  const holder = make("div");
  holder.innerHTML = `<svg width="${width}" height="${height}" aria-hidden="true">
    <polyline points="${points.join(" ")}" fill="none" stroke="currentColor" stroke-width="1.5"/>
    <g fill="currentColor">${steps.length < 40 ? dots.join("") : ""}</g>
    <path d="${ticks.join("")}" stroke="currentColor" stroke-width="1" opacity="0.6"/></svg>`;
  return holder.firstChild;
}

// Put a card beside a place of the picture, on the side that has more room. Nothing is measured: that
// would make the page lay itself out anew for every sample that a mouse passes.
function placeCard(card, [x, y], [width, height]) {
  card.hidden = false;
  const across = x < width / 2 ? "16px" : "calc(-100% - 16px)";
  const up = `${-Math.round(100 * Math.min(Math.max(y / height, 0), 1))}%`;
  card.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px) translate(${across}, ${up})`;
}

// The rows above the picture: colours, tools, a field for numbers, and what to do with what is chosen.
function makeBar(model, hand) {
  const tool = make("select", { onchange: () => hand.take(tool.value) });
  tool.setAttribute("aria-label", "what the mouse does");
  tool.append(...TOOLS.map(([text, value]) => make("option", { value }, text)));
  const colour = make("select", { onchange: () => model.send({ kind: "colour", by: colour.value }) });
  const key = make("span", { className: "batchlab-key" });
  const field = make("input", { type: "text", size: 8, placeholder: "3, 17, 20-25" });
  field.setAttribute("aria-label", "numbers of samples to choose");
  field.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    try {
      hand.choose(numbersIn(field.value, model.get("count")), -1);
    } catch (error) {
      said.textContent = error.message;
    }
  };
  const said = make("span", { className: "batchlab-chosen" });
  said.setAttribute("role", "status");
  const inForce = make("button", { title: "what was said by hand so far; a click chooses these samples" });
  const buttons = ACTIONS.map(([text, how, title]) =>
    make("button", { title, onclick: () => hand.act(how) }, text),
  );
  const whatIf = make(
    "button",
    { onclick: () => hand.act("what if"), title: "run B: the same run from step 0 without these samples" },
    "what if without?",
  );
  buttons.push(whatIf);
  const name = (text, element) => make("label", {}, `${text} `, element);
  const bar = make("div", { className: "batchlab-hand" });
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "samples by hand");
  bar.append(
    make("div", {}, name("colour by", colour), key, name("hand", tool), name("samples", field)),
    make("div", {}, said, ...buttons, inForce),
  );

  function showColours() {
    const choices = model.get("colours");
    colour.replaceChildren(...choices.map((each) => make("option", { value: each }, each)));
    colour.value = model.get("colour_by");
    const { low, high, gradient, hollow } = model.get("key");
    key.replaceChildren();
    if (!low) return;
    const scale = make("i");
    scale.style.background = gradient;
    key.append(low, scale, high, make("small", {}, hollow ? ` ${hollow}` : ""));
  }

  function showChosen(chosen) {
    for (const button of buttons) button.disabled = !chosen.size;
    const held = Object.entries(model.get("hand")).filter(([, samples]) => samples.length);
    const words = held.map(([how, samples]) => `${SIGNS[how]} ${samples.length} ${how}`).join("  ");
    const invitation = "Click a sample, or shift-drag around some:";
    said.textContent = model.get("note") || (chosen.size ? `${chosen.size} chosen:` : invitation);
    inForce.hidden = !words;
    inForce.textContent = words;
    inForce.onclick = () => hand.choose(held.flatMap(([, samples]) => samples), -1);
  }

  model.on("change:colours change:colour_by change:key", showColours);
  showColours();
  return { bar, showChosen };
}

// Above a past batch: go back there.
function makePastBar(model) {
  const back = make(
    "button",
    { onclick: () => model.send({ kind: "branch" }), title: "the run as it was before this batch; what came after is dropped" },
    "go on from this step",
  );
  return { bar: make("div", { className: "batchlab-hand" }, back), showChosen() {} };
}
