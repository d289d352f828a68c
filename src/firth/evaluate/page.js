// Each figure can be kept as SVG or PNG. The drawings carry light colours as attributes; the style sheet only repaints
// them on a dark screen, so a saved file is always the light one.
for (const figure of document.querySelectorAll("figure")) {
  const bar = document.createElement("div");
  bar.className = "save";
  for (const kind of ["SVG", "PNG"]) {
    const button = document.createElement("button");
    button.textContent = kind;
    button.title = "save this figure as " + kind;
    button.onclick = () => save(figure, kind.toLowerCase());
    bar.append(button);
  }
  figure.querySelector("figcaption").prepend(bar);
}

function save(figure, kind) {
  const shown = [...figure.querySelectorAll("svg")].find((svg) => svg.getClientRects().length > 0);
  const text = new XMLSerializer().serializeToString(shown);
  const url = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
  if (kind === "svg") return keep(url, figure.id + ".svg");
  const image = new Image();
  image.onload = () => {
    const scale = 2; // pixels a CSS pixel, for print
    const canvas = document.createElement("canvas");
    canvas.width = scale * shown.width.baseVal.value;
    canvas.height = scale * shown.height.baseVal.value;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    keep(canvas.toDataURL("image/png"), figure.id + ".png");
  };
  image.src = url;
}

function keep(url, name) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}
