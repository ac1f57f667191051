// What only the page knows of a panel, and the manners that ipywidgets leaves out. See page.py.

const NARROW = 780; // CSS pixels
const visible = new WeakMap(); // by model: the panels in sight, for a panel may be shown twice

// The controls of a panel: keys pressed there are not the notebook's, and each has a name and a value
// that can be read aloud.
function dress(root) {
  const all = (selector) => root.querySelectorAll(selector);
  const set = (element, name, value) => {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  };
  for (const each of all("select, button, input, textarea, .noUi-handle, [contenteditable]")) {
    set(each, "data-lm-suppress-shortcuts", "true");
  }
  for (const image of all("img")) set(image, "alt", image.alt || "picture of the run");
  for (const icon of all("button i")) set(icon, "aria-hidden", "true");
  for (const slider of all(".widget-slider")) {
    const handle = slider.querySelector(".noUi-handle");
    const name = slider.querySelector(".widget-label")?.textContent ?? "";
    const readout = slider.querySelector(".widget-readout");
    if (!handle || !readout) continue;
    set(handle, "aria-label", name);
    set(handle, "aria-valuetext", readout.textContent);
    set(readout, "role", "textbox");
    set(readout, "aria-label", `${name}, value`);
  }
  for (const each of all(".widget-toggle-buttons button, .batchlab-drawer")) {
    set(each, "aria-pressed", String(each.classList.contains("mod-active")));
  }
  for (const said of all(".batchlab-said")) set(said, "role", "status");
}

function toggleFullScreen(root) {
  if (document.fullscreenElement) document.exitFullscreen();
  else root.requestFullscreen?.().catch(() => {}); // some front ends do not let a cell do so
}

function render({ model, el }) {
  let root = null;
  let waiting = 0;
  const tell = (name, value) => {
    if (model.get(name) === value) return;
    model.set(name, value);
    model.save_changes();
  };

  const soon = () => (waiting ||= requestAnimationFrame(() => ((waiting = 0), dress(root))));
  const isCard = ({ target }) => target.closest?.(".batchlab-card"); // they change with every sample
  const changes = new MutationObserver((records) => records.every(isCard) || soon());
  const sizes = new ResizeObserver(() => {
    if (root.clientWidth) tell("narrow", root.clientWidth < NARROW);
  });
  const sight = new IntersectionObserver(([...entries]) => {
    const those = visible.get(model) ?? visible.set(model, new Set()).get(model);
    if (entries.at(-1).isIntersecting) those.add(el);
    else those.delete(el);
    tell("seen", those.size > 0);
  });
  const clicked = (event) => {
    if (event.target.closest(".batchlab-full-screen")) toggleFullScreen(root);
  };

  const begin = requestAnimationFrame(function find() {
    root = el.closest(".batchlab-panel"); // once it is on the page
    if (!root) return void (waiting = requestAnimationFrame(find));
    waiting = 0;
    root.addEventListener("click", clicked);
    changes.observe(root, {
      subtree: true, childList: true, characterData: true, attributeFilter: ["class"],
    });
    sizes.observe(root);
    sight.observe(root);
    dress(root);
  });
  return () => {
    cancelAnimationFrame(begin);
    cancelAnimationFrame(waiting);
    root?.removeEventListener("click", clicked);
    for (const each of [changes, sizes, sight]) each.disconnect();
    visible.get(model)?.delete(el);
  };
}

export default { render };
