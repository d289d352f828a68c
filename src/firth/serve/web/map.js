// The map: points on a canvas that can be moved, zoomed, coloured by a field, and asked which is where.
"use strict";

const COLOURS = ["#2f74c0", "#d1661f", "#2f9461", "#b0449a", "#8a7a1c", "#6a5acd", "#c23b4b", "#1d95a6", "#7a6250", "#5f8f20"];
const REST = "#8a929c"; // values beyond the most frequent, and points without one

class Plane {
  // `opens` is called with the id of a point that was chosen.
  constructor(canvas, hover, legend, opens) {
    Object.assign(this, { canvas, hover, legend, opens, points: [], ringed: new Map(), colour: new Map() });
    this.view = { x: 0, y: 0, scale: 0.45 };
    this.moved = false;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => { this.from = null; });
    canvas.addEventListener("pointerleave", () => { hover.hidden = true; });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  show(points) {
    this.points = points;
    const counts = new Map();
    for (const point of points) if (point.value !== null) counts.set(String(point.value), (counts.get(String(point.value)) || 0) + 1);
    const frequent = [...counts].sort((a, b) => b[1] - a[1]).slice(0, COLOURS.length);
    this.colour = new Map(frequent.map(([value], i) => [value, COLOURS[i]]));
    this.legend.replaceChildren(...frequent.map(([value, n]) => this.entry(value, n, this.colour.get(value))));
    if (counts.size > frequent.length) this.legend.append(this.entry("others", counts.size - frequent.length, REST));
    this.whole();
  }

  entry(value, n, colour) {
    const line = document.createElement("li");
    const dot = document.createElement("i");
    dot.style.background = colour;
    line.append(dot, `${value} (${n})`);
    return line;
  }

  // ids of hits, best first
  ring(ids) {
    this.ringed = new Map(ids.map((id, rank) => [String(id), rank]));
    this.draw();
    return this.points.filter((point) => this.ringed.has(String(point.id))).length;
  }

  whole() {
    this.view = { x: 0, y: 0, scale: 0.45 };
    this.draw();
  }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const [px, py] = this.at(x, y);
    this.view.scale = Math.min(60, Math.max(0.2, this.view.scale * factor));
    const [qx, qy] = this.at(x, y);
    this.view.x += px - qx;
    this.view.y += py - qy;
    this.draw();
  }

  get unit() { return Math.min(this.canvas.clientWidth, this.canvas.clientHeight) * this.view.scale; }
  at(x, y) { return [(x - this.canvas.clientWidth / 2) / this.unit + this.view.x, (y - this.canvas.clientHeight / 2) / this.unit + this.view.y]; }
  on(point) { return [(point.x - this.view.x) * this.unit + this.canvas.clientWidth / 2, (point.y - this.view.y) * this.unit + this.canvas.clientHeight / 2]; }

  draw() {
    const { canvas } = this;
    const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio || 1];
    if (!width || !height) return;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const ink = getComputedStyle(canvas).color;
    const few = Math.min(5, Math.max(2.2, 70 / Math.sqrt(this.points.length || 1))); // fewer points are drawn larger
    const radius = Math.min(8, few * Math.max(1, Math.sqrt(this.view.scale)));
    const asked = this.ringed.size > 0;
    for (const point of this.points) {
      const [x, y] = this.on(point);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
      pen.globalAlpha = asked && !this.ringed.has(String(point.id)) ? 0.22 : 0.85;
      pen.fillStyle = this.colour.size ? this.colour.get(String(point.value)) || REST : COLOURS[0];
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = ink;
    pen.lineWidth = 1.5;
    for (const point of this.points) {
      if (!this.ringed.has(String(point.id))) continue;
      const [x, y] = this.on(point);
      pen.beginPath();
      pen.arc(x, y, radius + 3, 0, 7);
      pen.stroke();
    }
  }

  nearest(x, y, within = 14) {
    let best = null, least = within * within;
    for (const point of this.points) {
      const [px, py] = this.on(point);
      const apart = (px - x) ** 2 + (py - y) ** 2;
      if (apart < least) [best, least] = [point, apart];
    }
    return best;
  }

  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * 0.0015), event.offsetX, event.offsetY);
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.from = { x: event.offsetX, y: event.offsetY, view: { ...this.view } };
    this.moved = false;
  }

  move(event) {
    if (this.from) {
      const [dx, dy] = [event.offsetX - this.from.x, event.offsetY - this.from.y];
      if (Math.hypot(dx, dy) > 3) this.moved = true;
      this.view.x = this.from.view.x - dx / this.unit;
      this.view.y = this.from.view.y - dy / this.unit;
      this.draw();
      return;
    }
    const point = this.nearest(event.offsetX, event.offsetY);
    this.hover.hidden = !point;
    if (point) this.tell(point);
  }

  tell(point) {
    const [x, y] = this.on(point);
    const name = document.createElement("b");
    name.textContent = point.label || String(point.id);
    this.hover.replaceChildren(name, point.value === null ? String(point.id) : `${point.id} · ${point.value}`);
    this.hover.hidden = false;
    const [width, height] = [this.hover.offsetWidth, this.hover.offsetHeight];
    this.hover.style.left = `${Math.max(4, Math.min(x + 12, this.canvas.clientWidth - width - 6))}px`;
    this.hover.style.top = `${Math.max(4, y + 14 + height > this.canvas.clientHeight ? y - height - 10 : y + 14)}px`;
  }

  up(event) {
    this.from = null;
    const point = this.moved ? null : this.nearest(event.offsetX, event.offsetY);
    if (point) this.opens(point.id);
  }

  key(event) {
    const step = 40 / this.unit;
    const keys = {
      ArrowLeft: () => { this.view.x -= step; }, ArrowRight: () => { this.view.x += step; },
      ArrowUp: () => { this.view.y -= step; }, ArrowDown: () => { this.view.y += step; },
      "+": () => this.zoom(1.3), "=": () => this.zoom(1.3), "-": () => this.zoom(1 / 1.3), 0: () => this.whole(),
    };
    const middle = this.nearest(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2, 1e4);
    if (event.key === "Enter" && middle) this.opens(middle.id);
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
    this.draw();
    const near = this.nearest(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2, 200);
    if (near) this.tell(near);
  }
}
