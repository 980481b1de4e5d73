// Draws the diagrams of a page, and draws them again when the reader changes between light and dark.
const diagrams = [...document.querySelectorAll("pre.mermaid")].map((place) => [place, place.textContent]);
const darkSystem = matchMedia("(prefers-color-scheme: dark)");

function draw() {
  const chosen = document.body.dataset.theme;
  const dark = chosen === "dark" || (chosen !== "light" && darkSystem.matches);
  // Two diagrams that are drawn in the same millisecond get different names.
  mermaid.initialize({ startOnLoad: false, deterministicIds: true, theme: dark ? "dark" : "default" });
  for (const [place, source] of diagrams) {
    place.removeAttribute("data-processed");
    place.textContent = source;
  }
  return mermaid.run({ nodes: diagrams.map(([place]) => place) });
}

let drawn = draw();
const redraw = () => (drawn = drawn.then(draw));
new MutationObserver(redraw).observe(document.body, { attributeFilter: ["data-theme"] });
darkSystem.addEventListener("change", redraw);
