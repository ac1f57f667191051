// A hand on a picture: hover, click, lasso and brush. All of it happens in the page; the kernel is asked
// only for what it alone knows, and told what the hand did: see `pointing.py`.

const CELL = 24; // pixels of the grid in which the nearest sample is looked for
const BRUSH = 18; // pixels from its middle to its rim
const FRESH = 400; // milliseconds after which a card that is kept is asked for again

// Bytes of the kernel as numbers; copied, for they may lie askew.
function numbersOf({ buffer, byteOffset, byteLength }, Kind) {
  return new Kind(buffer.slice(byteOffset, byteOffset + byteLength));
}

// Samples of one chart, with their places; found through a grid of cells.
class Targets {
  constructor({ run, samples, places, reach, round }) {
    Object.assign(this, { run, reach, round });
    this.samples = numbersOf(samples, Int32Array);
    this.places = numbersOf(places, Float32Array);
    this.cells = new Map();
    this.of = new Map(); // where a sample is, which may be twice in a batch
    this.samples.forEach((sample, k) => {
      const cell = `${Math.floor(this.places[2 * k] / CELL)},${Math.floor(this.places[2 * k + 1] / CELL)}`;
      if (!this.cells.has(cell)) this.cells.set(cell, []);
      this.cells.get(cell).push(k);
      if (!this.of.has(sample)) this.of.set(sample, []);
      this.of.get(sample).push(k);
    });
  }

  at(k) {
    return [this.places[2 * k], this.places[2 * k + 1]];
  }

  // How far a place is, in shares of `reach`: beyond 1 it is not meant.
  distance(k, x, y, [across, up] = this.reach) {
    const [dx, dy] = [(this.places[2 * k] - x) / across, (this.places[2 * k + 1] - y) / up];
    return this.round ? Math.hypot(dx, dy) : Math.max(Math.abs(dx), Math.abs(dy));
  }

  // The places not further than `reach`, each with its distance.
  *near(x, y, reach = this.reach) {
    const [across, up] = reach;
    for (let column = Math.floor((x - across) / CELL); column <= (x + across) / CELL; column++) {
      for (let row = Math.floor((y - up) / CELL); row <= (y + up) / CELL; row++) {
        for (const k of this.cells.get(`${column},${row}`) ?? []) {
          const distance = this.distance(k, x, y, reach);
          if (distance <= 1) yield [k, distance];
        }
      }
    }
  }
}

// The sample that is meant by a place of the picture: {targets, k, sample}, or null.
function nearest(charts, x, y) {
  let best = null;
  let least = Infinity;
  for (const targets of charts) {
    for (const [k, distance] of targets.near(x, y)) {
      if (distance < least) [best, least] = [{ targets, k, sample: targets.samples[k] }, distance];
    }
  }
  return best;
}

// The samples inside a line that was drawn around them, of the chart in which it began.
function enclosed(charts, line) {
  const path = new Path2D();
  line.forEach(([x, y]) => path.lineTo(x, y));
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  const found = charts.map((targets) => ({
    run: targets.run,
    samples: targets.samples.filter((_, k) => context.isPointInPath(path, ...targets.at(k))),
  }));
  return found.reduce((best, each) => (each.samples.length > best.samples.length ? each : best), {
    run: -1,
    samples: [],
  });
}

// Lets a hand point at what `model.targets` says can be pointed at; returns what to call after drawing.
function pointing(model, el, canvas) {
  const overlay = make("canvas", { className: "batchlab-overlay" });
  const [card, keptCard] = [false, true].map((kept) => {
    const each = make("div", { className: `batchlab-card${kept ? " batchlab-kept" : ""}`, hidden: true });
    each.setAttribute("role", "status");
    return each;
  });
  const holder = make("div", { className: "batchlab-stage" }, canvas, overlay, card, keptCard);
  const context = overlay.getContext("2d");
  let charts = [];
  let chosen = new Set();
  let run = -1; // of what is chosen; -1 is the one that the sliders show
  let tool = "choose";
  let hovered = null; // a sample
  let kept = null; // {sample, run, place}
  let stroke = null; // {kind, line, samples, run}, while the mouse is down
  let mouse = null; // where it is now
  let waiting = 0;
  let asked = null; // what the kernel has not answered yet
  let wanted = null;
  let askedAt = 0;
  let later = 0;

  const hand = {
    take(chosenTool) {
      tool = chosenTool;
      canvas.style.cursor = tool === "choose" ? "default" : "crosshair";
      canvas.style.touchAction = tool === "choose" ? "auto" : "none";
    },
    choose(samples, ofRun) {
      share("chosen", { samples: [...samples], run: ofRun });
    },
    act(how) {
      const message = { samples: [...chosen], run };
      model.send(how === "what if" ? { kind: how, ...message } : { kind: "pick", how, ...message });
    },
  };
  const row = model.get("role") === "run" ? makeBar(model, hand) : makePastBar(model);
  el.append(row.bar, holder);

  // What one picture of a panel says, all of them hear.
  const share = (what, detail) =>
    document.dispatchEvent(new CustomEvent("batchlab", { detail: { panel: model.get("panel"), what, ...detail } }));
  const heard = ({ detail }) => {
    if (detail.panel !== model.get("panel")) return;
    if (detail.what === "hovered") hovered = detail.sample;
    else {
      [chosen, run] = [new Set(detail.samples), detail.run];
      row.showChosen(chosen);
    }
    redraw();
  };
  document.addEventListener("batchlab", heard);

  const redraw = () => (waiting ||= requestAnimationFrame(draw));
  function draw() {
    waiting = 0;
    if (mouse && !stroke) hover();
    const sharpness = overlay.width / model.get("size")[0];
    context.setTransform(sharpness, 0, 0, sharpness, 0, 0);
    context.clearRect(0, 0, overlay.width, overlay.height);
    const [ink, bright] = model.get("theme") === "dark" ? ["#ffffff", "#ff5cb8"] : ["#000000", "#d01080"];
    for (const sample of chosen) mark(sample, 5, bright, 1.5);
    for (const sample of stroke?.samples ?? []) mark(sample, 5, bright, 2.5);
    if (kept) mark(kept.sample, 9, bright, 2);
    if (hovered !== null) mark(hovered, 9, bright, 2.5);
    if (stroke?.line || (mouse && isBrush())) drawStroke(ink);
  }

  function mark(sample, radius, colour, width) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    for (const targets of charts) {
      for (const k of targets.of.get(sample) ?? []) {
        const [x, y] = targets.at(k);
        const [across, up] = targets.reach;
        context.beginPath();
        if (targets.round) context.arc(x, y, radius, 0, 7);
        else context.rect(x - across + 2, y - up + 2, 2 * across - 4, 2 * up - 4);
        context.stroke();
      }
    }
  }

  function drawStroke(ink) {
    context.strokeStyle = ink;
    context.lineWidth = 1;
    context.setLineDash([4, 3]);
    context.beginPath();
    if (stroke?.line) stroke.line.forEach(([x, y]) => context.lineTo(x, y));
    else context.arc(...mouse, BRUSH, 0, 7);
    context.stroke();
    context.setLineDash([]);
  }

  const isBrush = () => tool !== "choose" && tool !== "lasso";
  const scale = () => canvas.clientWidth / model.get("size")[0];
  const placeOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / scale(), (event.clientY - box.top) / scale()];
  };
  const onPage = ([x, y]) => [x * scale(), y * scale()];

  function hover() {
    const found = nearest(charts, ...mouse);
    const sample = found?.sample ?? null;
    if (sample === null || sample !== hovered) card.hidden = true;
    if (sample === hovered) return;
    share("hovered", { sample });
    if (!found || kept?.sample === sample) return;
    fill(card, { title: `#${sample}` });
    placeCard(card, holder, onPage(found.targets.at(found.k)));
    ask({ sample, run: found.targets.run, kept: false, place: found.targets.at(found.k) });
  }

  function ask(question) {
    wanted = question;
    if (asked && performance.now() - askedAt < 2000) return; // the kernel is busy with one
    [asked, wanted, askedAt] = [question, null, performance.now()];
    const { sample, run: ofRun, kept: full } = question;
    model.send({ kind: "look", sample, run: ofRun, kept: full });
  }

  function answered({ kind, ...answer }) {
    if (kind !== "card") return;
    const { place } = asked ?? {};
    asked = null;
    if (kept && answer.kept && answer.sample === kept.sample) {
      fill(keptCard, answer, letGo);
      placeCard(keptCard, holder, onPage(kept.place));
    } else if (answer.sample === hovered && place) {
      fill(card, answer);
      placeCard(card, holder, onPage(place));
    }
    if (wanted) ask(wanted);
  }

  function askAgain() {
    later = 0;
    if (kept) ask({ ...kept, kept: true });
  }

  function letGo() {
    kept = null;
    keptCard.hidden = true;
    hand.choose([], -1);
  }

  function clicked(event) {
    const found = nearest(charts, ...placeOf(event));
    if (!found) return letGo();
    const { sample, targets, k } = found;
    const among = event.shiftKey || event.ctrlKey || event.metaKey ? new Set(chosen) : new Set();
    if (!among.delete(sample)) among.add(sample);
    kept = { sample, run: targets.run, place: targets.at(k) };
    card.hidden = true;
    hand.choose(among, targets.run);
    ask({ ...kept, kept: true });
  }

  function paint() {
    for (const targets of charts) {
      const reach = targets.round ? [BRUSH, BRUSH] : targets.reach;
      for (const [k] of targets.near(...mouse, reach)) {
        if (stroke.run < 0) stroke.run = targets.run;
        if (stroke.run === targets.run) stroke.samples.add(targets.samples[k]);
      }
    }
  }

  canvas.onpointerdown = (event) => {
    if (event.button) return;
    mouse = placeOf(event);
    if (isBrush()) stroke = { samples: new Set(), run: -1 };
    else if (event.shiftKey || tool === "lasso") stroke = { line: [mouse], samples: new Set() };
    else return;
    if (isBrush()) paint();
    event.preventDefault();
    card.hidden = true;
    canvas.setPointerCapture(event.pointerId);
    redraw();
  };
  canvas.onpointermove = (event) => {
    mouse = placeOf(event);
    if (stroke?.line) stroke.line.push(mouse);
    else if (stroke) paint();
    redraw();
  };
  canvas.onpointerup = (event) => {
    const done = stroke;
    stroke = null;
    if (done?.line?.length > 3) {
      const found = enclosed(charts, done.line);
      const before = event.ctrlKey || event.metaKey ? chosen : [];
      hand.choose(new Set([...before, ...found.samples]), found.run);
    } else if (done && !done.line) {
      if (done.samples.size) model.send({ kind: "pick", how: tool, samples: [...done.samples], run: done.run });
    } else if (!event.button) clicked(event);
    redraw();
  };
  canvas.onpointerleave = () => {
    mouse = null;
    card.hidden = true;
    share("hovered", { sample: null });
  };
  const escape = (event) => event.key === "Escape" && letGo();
  el.addEventListener("keydown", escape);

  const changed = () => {
    charts = model.get("targets").map((each) => new Targets(each));
    redraw();
  };
  const said = () => row.showChosen(chosen);
  model.on("change:targets", changed);
  model.on("change:hand change:note", said);
  model.on("msg:custom", answered);
  changed();
  said();

  return {
    // After each picture: the layer above is as large, and a card that is kept tells the present.
    drawn() {
      for (const side of ["width", "height"]) if (overlay[side] !== canvas[side]) overlay[side] = canvas[side];
      holder.classList.toggle("batchlab-dark", model.get("theme") === "dark");
      redraw();
      if (kept) later ||= setTimeout(askAgain, FRESH);
    },
    end() {
      document.removeEventListener("batchlab", heard);
      model.off("change:targets", changed);
      model.off("change:hand change:note", said);
      model.off("msg:custom", answered);
      cancelAnimationFrame(waiting);
      clearTimeout(later);
    },
  };
}
