// A hand on a picture: hover, click, lasso and brush. All of it happens in the page; the kernel is asked
// only for what it alone knows, and told what the hand did: see `pointing.py`.

const CELL = 24; // pixels of the grid in which the nearest sample is looked for
const BRUSH = 18; // pixels from its middle to its rim
const FRESH = 400; // milliseconds after which what is known of a sample is asked for again
const REST = 40; // milliseconds on one sample before it is asked for: a hand may only be passing

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
  let pointed = null; // the same sample, where it is on this canvas: {sample, run, place}
  let kept = null; // {sample, run, place}
  let bars = new Map(); // by sample, where the histograms count it: boxes of the picture of the run
  let stroke = null; // {kind, line, samples, run}, while the mouse is down
  let mouse = null; // where it is now
  let shape = [1, 1, 1]; // the canvas on the page: width, height, and pixels of it for one of the picture
  let waiting = 0;
  let asked = null; // what the kernel has not answered yet
  const wanted = new Map(); // the next question about the kept card, and about the other
  let askedAt = 0;
  let later = 0;
  let resting = 0;

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
  const isRun = model.get("role") === "run";
  const row = isRun ? makeBar(model, hand) : makePastBar(model);
  el.append(row.bar, holder);

  // What one picture of a panel says, all of them hear.
  const share = (what, detail) =>
    document.dispatchEvent(new CustomEvent("batchlab", { detail: { panel: model.get("panel"), what, ...detail } }));
  const heard = ({ detail }) => {
    if (detail.panel !== model.get("panel")) return;
    if (detail.what === "hovered") hovered = detail.sample;
    else if (detail.what === "bars") bars = new Map([...bars, [detail.sample, detail.bars]].slice(-2));
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
    const sharpness = overlay.width / model.get("size")[0];
    context.setTransform(sharpness, 0, 0, sharpness, 0, 0);
    context.clearRect(0, 0, overlay.width, overlay.height);
    const [ink, bright] = model.get("theme") === "dark" ? ["#ffffff", "#ff5cb8"] : ["#000000", "#d01080"];
    for (const sample of chosen) mark(sample, 5, bright, 1.5);
    for (const sample of stroke?.samples ?? []) mark(sample, 5, bright, 2.5);
    if (kept) mark(kept.sample, 9, bright, 2);
    if (hovered !== null) mark(hovered, 9, bright, 2.5);
    if (isRun) markBars(hovered ?? kept?.sample, ink);
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

  function markBars(sample, colour) {
    context.fillStyle = colour; // filled: a strategy may have the colour of a line around it
    for (const [x, y, width, height] of bars.get(sample) ?? []) {
      const tall = Math.max(height, 3); // one of a thousand samples would not be seen
      context.fillRect(x, y + height - tall, width, tall);
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
  const placeOf = ({ offsetX, offsetY }) => [offsetX / shape[2], offsetY / shape[2]];
  const onPage = (place) => place.map((each) => each * shape[2]);
  const place = (each, { place: [x, y] }) => placeCard(each, onPage([x, y]), shape);

  function hover() {
    const found = mouse && nearest(charts, ...mouse);
    const sample = found?.sample ?? null;
    if (sample === (pointed?.sample ?? null)) return;
    clearTimeout(resting);
    pointed = found && { sample, run: found.targets.run, place: found.targets.at(found.k) };
    share("hovered", { sample });
    card.hidden = true;
    if (!found || kept?.sample === sample) return;
    fill(card, { title: `#${sample}` });
    place(card, pointed);
    resting = setTimeout(() => ask({ ...pointed, kept: false }), REST);
  }

  function ask(question) {
    wanted.set(question.kept, question);
    if (!asked || performance.now() - askedAt > 2000) askNext(); // else the kernel is busy with one
  }

  function askNext() {
    const [question] = wanted.values();
    asked = question ?? null;
    if (!question) return;
    wanted.delete(question.kept);
    askedAt = performance.now();
    model.send({ kind: "look", sample: question.sample, run: question.run, kept: question.kept });
  }

  function answered({ kind, ...answer }) {
    if (kind !== "card") return;
    const { sample } = answer;
    if (kept && answer.kept && sample === kept.sample) {
      fill(keptCard, answer, letGo);
      place(keptCard, kept);
    } else if (sample === pointed?.sample && sample !== kept?.sample) {
      fill(card, answer);
      place(card, pointed);
    }
    if ([pointed?.sample, kept?.sample].includes(sample)) share("bars", { sample, bars: answer.bars });
    askNext();
  }

  function askAgain() {
    later = 0;
    if (kept) ask({ ...kept, kept: true });
    if (pointed && pointed.sample !== kept?.sample) ask({ ...pointed, kept: false });
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
    card.hidden = true;
    canvas.setPointerCapture(event.pointerId);
    redraw();
  };
  canvas.onpointermove = (event) => {
    mouse = placeOf(event);
    if (stroke?.line) stroke.line.push(mouse);
    else if (stroke) paint();
    else hover();
    if (stroke || isBrush()) redraw(); // else only another sample is something to draw
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
    hover();
  };
  el.addEventListener("keydown", (event) => {
    if (event.key === "Escape") letGo();
    if (event.key !== " " || event.target !== canvas) return;
    event.preventDefault(); // the page does not scroll
    if (!event.repeat) model.send({ kind: "play" });
  });

  const changed = () => {
    charts = model.get("targets").map((each) => new Targets(each));
    if (!stroke) hover(); // thumbnails change under a mouse that lies still
    redraw();
  };
  const measure = () => {
    shape = [canvas.clientWidth, canvas.clientHeight, canvas.clientWidth / model.get("size")[0] || 1];
  };
  const sizes = new ResizeObserver(measure);
  sizes.observe(canvas);
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
      if (kept || pointed) later ||= setTimeout(askAgain, FRESH);
    },
    end() {
      document.removeEventListener("batchlab", heard);
      model.off("change:targets", changed);
      model.off("change:hand change:note", said);
      model.off("msg:custom", answered);
      sizes.disconnect();
      cancelAnimationFrame(waiting);
      clearTimeout(later);
      clearTimeout(resting);
    },
  };
}
