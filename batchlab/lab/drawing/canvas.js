// Draws on a canvas what `Recorder` in recorder.py wrote down; `hand.js` and `pointer.js` come before it.

const FONT = "'DejaVu Sans', Verdana, sans-serif"; // matplotlib's, and one as wide

function pathOf(numbers, [begin, end]) {
  const path = new Path2D();
  let row = begin;
  const next = () => ((row += 3), [numbers[row - 3], numbers[row - 2]]);
  while (row < end) {
    switch (numbers[row + 2]) { // the codes of matplotlib.path.Path
      case 1: path.moveTo(...next()); break;
      case 2: path.lineTo(...next()); break;
      case 3: path.quadraticCurveTo(...next(), ...next()); break;
      case 4: path.bezierCurveTo(...next(), ...next(), ...next()); break;
      case 79: path.closePath(); next(); break;
      default: next();
    }
  }
  return path;
}

function paint(context, { fill, stroke, width, cap, join, dashes }, path) {
  if (fill) {
    context.fillStyle = fill;
    context.fill(path);
  }
  if (stroke) {
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.lineCap = cap ?? "butt";
    context.lineJoin = join ?? "miter";
    context.setLineDash(dashes ?? []);
    context.stroke(path);
  }
}

const DRAW = {
  path(context, command, { numbers }) {
    paint(context, command, pathOf(numbers, command.path));
  },

  markers(context, command, { numbers }) {
    const marker = pathOf(numbers, command.path);
    const [begin, end] = command.places;
    for (let place = begin; place < end; place += 2) {
      context.translate(numbers[place], numbers[place + 1]);
      paint(context, command, marker);
      context.translate(-numbers[place], -numbers[place + 1]);
    }
  },

  hatch(context, command, { numbers }) {
    context.clip(pathOf(numbers, command.within));
    paint(context, command, pathOf(numbers, command.path));
  },

  image(context, { size, pixels, matrix, alpha }, { images }) {
    const { buffer, byteOffset, byteLength } = images[pixels];
    const image = new OffscreenCanvas(...size);
    const bytes = new Uint8ClampedArray(buffer, byteOffset, byteLength);
    image.getContext("2d").putImageData(new ImageData(bytes, ...size), 0, 0);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = alpha;
    context.transform(...matrix);
    context.drawImage(image, 0, 0);
  },

  text(context, { text, place, angle, font, width, fill }) {
    context.font = `${font}px ${FONT}`;
    context.fillStyle = fill;
    context.translate(...place);
    context.rotate((-angle * Math.PI) / 180);
    context.scale(width / (context.measureText(text).width || 1), 1); // another font is as wide
    context.fillText(text, 0, 0);
  },
};

function draw(context, recording) {
  const { buffer, byteOffset, byteLength } = recording.numbers;
  const numbers = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength)); // aligned
  const parts = { numbers, images: recording.images };
  for (const command of recording.commands) {
    context.save();
    if (command.clip) {
      context.beginPath();
      context.rect(...command.clip);
      context.clip();
    }
    DRAW[command.kind](context, command, parts);
    context.restore();
  }
}

const MANY = 300; // markers of one part that are drawn on a layer, once for as long as they stay the same

// Draws the parts that move; `layers` keeps by their numbers what was drawn before and takes long.
function drawMoving(context, parts, sharpness, layers) {
  const before = new Map(layers);
  layers.clear();
  for (const part of parts) {
    const clip = part.commands[0]?.clip;
    const markers = part.commands.reduce((sum, { places: [begin, end] = [0, 0] }) => sum + (end - begin) / 2, 0);
    if (!clip || markers < MANY) {
      draw(context, part);
      continue;
    }
    const [left, top] = clip.map((side) => Math.floor(side * sharpness)); // whole pixels stay sharp
    layers.set(part.number, before.get(part.number) ?? layerOf(part, clip, sharpness, [left, top]));
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(layers.get(part.number), left, top);
    context.restore();
  }
}

function layerOf(part, [, , width, height], sharpness, [left, top]) {
  const layer = new OffscreenCanvas(Math.ceil(width * sharpness) + 2, Math.ceil(height * sharpness) + 2);
  const context = layer.getContext("2d");
  context.setTransform(sharpness, 0, 0, sharpness, -left, -top);
  draw(context, part);
  return layer;
}

// Whether what is behind an element is dark: every front end has its own word for its themes.
function onDark(element) {
  for (let behind = element; behind; behind = behind.parentElement) {
    const [red, green, blue, opaque = 1] = getComputedStyle(behind).backgroundColor.match(/[\d.]+/g).map(Number);
    if (opaque > 0) return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
  }
  return false;
}

function render({ model, el }) {
  const canvas = document.createElement("canvas");
  const frame = document.createElement("canvas"); // what stays, drawn once
  const context = canvas.getContext("2d");
  canvas.className = "batchlab-picture";
  canvas.setAttribute("role", "img");
  canvas.tabIndex = 0; // the space bar plays and pauses there
  canvas.setAttribute("data-lm-suppress-shortcuts", "true");
  canvas.style.maxWidth = "100%";
  const hand = pointing(model, el, canvas);
  const layers = new Map();
  let drawn = []; // what is on `frame`
  let waiting = 0;

  function show() {
    waiting = 0;
    const [width, height] = model.get("size");
    const sharpness = window.devicePixelRatio || 1;
    const parts = model.get("frame");
    if (canvas.width !== Math.round(width * sharpness) || canvas.height !== Math.round(height * sharpness)) {
      for (const each of [canvas, frame]) {
        each.width = Math.round(width * sharpness);
        each.height = Math.round(height * sharpness);
      }
      canvas.style.width = `${width}px`;
      drawn = null;
      layers.clear();
    }
    if (parts !== drawn) {
      const below = frame.getContext("2d");
      below.setTransform(sharpness, 0, 0, sharpness, 0, 0);
      parts.forEach((part) => draw(below, part));
      drawn = parts;
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(frame, 0, 0);
    context.setTransform(sharpness, 0, 0, sharpness, 0, 0);
    drawMoving(context, model.get("moving"), sharpness, layers);
    canvas.setAttribute("aria-label", model.get("words"));
    hand.drawn();
    canvas.dispatchEvent(new Event("load")); // as an image does
  }

  // The newest picture only, when the page is ready to show one.
  const changed = () => (waiting ||= requestAnimationFrame(show));
  const drawnFrom = "change:frame change:moving change:size change:words change:theme";
  model.on(drawnFrom, changed);
  changed();
  const tell = () => {
    if (!el.isConnected) return;
    model.set("live", true);
    model.set("dark", onDark(el));
    model.save_changes();
  };
  const themes = new MutationObserver(tell);
  for (const root of [document.documentElement, document.body]) themes.observe(root, { attributes: true });
  requestAnimationFrame(tell); // when the element is on the page
  return () => {
    model.off(drawnFrom, changed);
    hand.end();
    themes.disconnect();
    cancelAnimationFrame(waiting);
  };
}

export default { render };
