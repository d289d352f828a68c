// The page: search as one types, documents and their neighbours, the map, the collections. Every text from a document is
// set as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const WAIT = 140; // ms after a key before a search
const RINGED = 20; // documents of a highlight
const SHOWN = 700; // characters of a document in a list
const state = { about: null, asked: 0, mapped: "", views: ["search", "map", "collections"] };
let timer = 0;
let plane = null;

class Refusal extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function ask(path, body) {
  const key = sessionStorage.getItem("firth-key");
  const headers = { "content-type": "application/json", ...(key ? { "api-key": key } : {}) };
  const answer = await fetch(path, body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) });
  const found = await answer.json();
  if (!answer.ok) throw new Refusal(answer.status, found.error?.message || found.message || `the server answered ${answer.status}`);
  return found;
}

function notice(message) {
  $("notice").hidden = !message;
  $("notice").textContent = message || "";
}

// What goes wrong is told; a key that is missing is asked for.
async function trying(work) {
  try {
    await work();
    return true;
  } catch (error) {
    if (error.status === 401) {
      $("keyform").hidden = false;
      $("key").focus();
      notice(sessionStorage.getItem("firth-key") ? "The server does not know this key." : "");
    } else {
      notice(error instanceof TypeError ? "The server does not answer." : error.message);
    }
    return false;
  }
}

const chosen = () => state.about?.collections.find((one) => one.name === $("collection").value);

function question(query, mode, more = {}) {
  const filter = $("filter").value.trim();
  return {
    collection: $("collection").value, query, mode, k: Math.min(100, Math.max(1, Number($("k").value) || 10)),
    characters: SHOWN, explain: mode === "hybrid", filter: filter ? JSON.parse(filter) : null, ...more,
  };
}

const mode = () => document.querySelector("input[name=mode]:checked").value;

async function search() {
  const query = $("query").value.trim();
  const turn = ++state.asked;
  remember();
  $("filter").setAttribute("aria-invalid", "false");
  pressed();
  if (!query || !chosen()) {
    $("results").replaceChildren();
    $("told").textContent = chosen() ? plural(chosen().documents, "document") : "";
    return;
  }
  try {
    question(query, "dense");
  } catch {
    $("filter").setAttribute("aria-invalid", "true");
    $("told").textContent = "The filter is not JSON yet.";
    return;
  }
  const begun = performance.now();
  const well = await trying(() => (mode() === "beside" ? besides : $("other").value ? against : single)(query, turn));
  if (turn !== state.asked) return;
  if (!well) {
    $("told").textContent = "";
    $("results").replaceChildren();
  } else {
    notice("");
    $("told").textContent += ` · ${Math.round(performance.now() - begun)} ms with the way here`;
  }
}

async function single(query, turn) {
  const answers = [ask("/api/v1/search", question(query, mode()))];
  const compares = $("exact").checked && mode() === "dense";
  if (compares) answers.push(ask("/api/v1/search", question(query, "dense", { exact: true })));
  const [found, exact] = await Promise.all(answers);
  if (turn !== state.asked) return;
  let told = `${plural(found.hits.length, "document")}, ${(1e3 * found.seconds.search).toFixed(1)} ms search, ${(1e3 * found.seconds.encode).toFixed(0)} ms encoding`;
  let missing = new Set();
  if (exact) {
    const known = new Set(found.hits.map((one) => String(one.id)));
    missing = new Set(exact.hits.map((one) => String(one.id)).filter((id) => !known.has(id)));
    told += ` · the index found ${exact.hits.length - missing.size} of the exact ${exact.hits.length}; exact takes ${(1e3 * exact.seconds.search).toFixed(1)} ms`;
  }
  $("told").textContent = told;
  $("results").replaceChildren(listed(exact ? exact.hits : found.hits, query, { missing }));
}

const NAMES = { dense: "Meaning", words: "Words (BM25)", hybrid: "Both" };

async function besides(query, turn) {
  const modes = Object.keys(NAMES);
  const found = await Promise.all(modes.map((name) => ask("/api/v1/search", question(query, name))));
  if (turn !== state.asked) return;
  const lists = found.map((one) => listed(one.hits, query));
  const shared = found[0].hits.map((one) => String(one.id)).filter((id) => found[1].hits.some((other) => String(other.id) === id));
  $("told").textContent = `Meaning and words agree on ${shared.length} of ${Math.max(found[0].hits.length, found[1].hits.length)}`;
  $("results").replaceChildren(made("div", modes.map((name, i) => made("div", [made("h2", NAMES[name]), lists[i]])), { className: "columns" }));
}

// The same question to two collections: base against tuned, where they hold the same documents.
async function against(query, turn) {
  const names = [$("collection").value, $("other").value];
  const found = await Promise.all(names.map((collection) => ask("/api/v1/search", question(query, mode(), { collection }))));
  if (turn !== state.asked) return;
  const places = found.map((one) => new Map(one.hits.map((two, i) => [String(two.id), i + 1])));
  const shared = [...places[0].keys()].filter((id) => places[1].has(id)).length;
  $("told").textContent = `${names[0]} and ${names[1]} agree on ${shared} of ${Math.max(places[0].size, places[1].size)}`;
  const heading = (name) => {
    const model = state.about.collections.find((one) => one.name === name)?.model;
    return made("h2", [name, ...(model ? [made("span", ` by ${model}`, { className: "quiet" })] : [])]);
  };
  $("results").replaceChildren(made("div", names.map((name, i) =>
    made("div", [heading(name), listed(found[i].hits, query, { collection: name, others: places[1 - i] })])), { className: "columns two" }));
}

async function openDocument(id, collection = $("collection").value) {
  await trying(async () => {
    const one = await ask(`/api/v1/collections/${encodeURIComponent(collection)}/documents/${encodeURIComponent(id)}`);
    $("doctitle").textContent = one.title || String(one.id);
    $("docid").textContent = String(one.id);
    $("doctext").replaceChildren(...marked(one.text, $("query").value));
    $("docpayload").replaceChildren(...Object.entries(one.payload).flatMap(([name, value]) =>
      [made("dt", name), made("dd", typeof value === "object" ? JSON.stringify(value) : String(value))]));
    $("near").replaceChildren(made("li", "…"));
    if (!$("document").open) $("document").showModal();
    $("document").scrollTop = 0;
    const space = state.about.collections.find((other) => other.name === collection).vectors[0].name;
    const near = await ask("/api/v1/search", { collection, id: one.id, k: 8, characters: 160, space });
    $("near").replaceChildren(...near.hits.map((other, i) => {
      const title = made("button", other.title || other.text || String(other.id), { type: "button" });
      title.addEventListener("click", () => openDocument(other.id, collection));
      return made("li", made("div", [made("span", String(i + 1), { className: "rank" }), title, made("span", other.score.toFixed(3), { className: "score" })], { className: "hit" }));
    }));
  });
}

// The facet that is the filter looks pressed.
function pressed() {
  for (const chip of $("facets").querySelectorAll("button")) chip.setAttribute("aria-pressed", String($("filter").value === chip.dataset.filter));
}

async function showFacets() {
  const field = $("field").value;
  $("facets").replaceChildren();
  if (!field) return;
  await trying(async () => {
    const { values } = await ask(`/api/v1/collections/${encodeURIComponent($("collection").value)}/facets/${encodeURIComponent(field)}`);
    $("facets").replaceChildren(...values.map(({ value, count: n }) => {
      const wanted = JSON.stringify({ [field]: value });
      const chip = made("button", `${value} (${count(n)})`, { type: "button" });
      chip.dataset.filter = wanted;
      chip.addEventListener("click", () => {
        $("filter").value = $("filter").value === wanted ? "" : wanted;
        search();
      });
      return chip;
    }));
    pressed();
    if (!values.length) $("facets").append(made("span", "No strings, whole numbers or flags there.", { className: "quiet" }));
  });
}

async function showMap() {
  const [collection, field, n] = [$("collection").value, $("colour").value, Number($("points").value)];
  const wanted = JSON.stringify([collection, field, n]);
  if (!collection || wanted === state.mapped) return;
  state.mapped = wanted;
  $("maptold").textContent = "Laying the documents out…";
  const space = chosen().vectors[0].name;
  const well = await trying(async () => {
    const found = await ask("/api/v1/map", { collection, n, space, field: field || null });
    if (wanted !== state.mapped) return;
    plane.show(found.points);
    $("maptold").textContent = `${count(found.points.length)} of ${plural(found.of, "document")}; near ones have like meaning, far distances mean little`;
    await ringed();
  });
  if (!well) state.mapped = $("maptold").textContent = "";
}

async function ringed() {
  const query = $("highlight").value.trim();
  if (!query) {
    plane.ring([]);
    return;
  }
  await trying(async () => {
    const way = chosen().texts_can_ask ? "dense" : "words";
    const found = await ask("/api/v1/search", { collection: $("collection").value, query, mode: way, k: RINGED, characters: 0 });
    const seen = plane.ring(found.hits.map((one) => one.id));
    $("maptold").textContent = `${seen} of the ${RINGED} nearest to “${query}” are on the map`;
  });
}

function facts(pairs) {
  return made("dl", pairs.flatMap(([name, value]) => [made("dt", name), made("dd", value)]));
}

function showCollections() {
  const { collections, model, version, seconds, readonly } = state.about;
  $("shelves").replaceChildren(...collections.map((one) => {
    const pairs = [["Documents", count(one.documents)]];
    for (const space of one.vectors) {
      pairs.push([space.name ? `Vectors “${space.name}”` : "Vectors", `${space.dims} dimensions, ${space.metric}, ${space.codec || "float32"} codes`]);
      pairs.push(["Index", space.in_graph ? `${count(Math.min(space.in_graph, one.documents))} in the graph, the newest are scanned; aims at recall ${space.recall}` : "scanned, which is exact"]);
    }
    if (one.model && state.about.base) pairs.push(["Embedded by", one.model]);
    if (one.fields.length) pairs.push(["Payload", one.fields.join(", ")]);
    if (one.declared.length) pairs.push(["Indexed fields", one.declared.map(([path, kind]) => `${path} (${kind})`).join(", ")]);
    const told = made("p", "", { className: "quiet" });
    told.setAttribute("role", "status");
    const measure = made("button", "Measure recall", { type: "button" });
    measure.addEventListener("click", () => trying(async () => {
      told.textContent = "Asking 100 documents' vectors twice…";
      const found = await ask("/api/v1/recall", { collection: one.name, space: one.vectors[0].name });
      told.textContent = found.recall === null ? "There is nothing to measure yet." : `The index finds ${(100 * found.recall).toFixed(2)} % of the exact top ${found.k} (n = ${found.n}): ${found.index_ms.toFixed(2)} ms against ${found.exact_ms.toFixed(2)} ms.`;
    }));
    const check = made("button", "Check", { type: "button" });
    check.addEventListener("click", () => trying(() => checked(one.name, told)));
    const buttons = [measure, check];
    if (state.about.base && one.texts_can_ask && one.model !== state.about.base && !collections.some((other) => other.name === `${one.name}-base`)) {
      const twin = made("button", "Embed with the base model", { type: "button" });
      twin.addEventListener("click", () => trying(() => doubled(one.name, told)));
      buttons.push(twin);
    }
    return made("article", [made("h2", one.name), facts(pairs), made("div", buttons, { className: "row" }), told], { className: "card shelf" });
  }));
  if (!collections.length) $("shelves").replaceChildren(made("p", "No collections yet. A client makes one with PUT /collections/{name}.", { className: "quiet" }));
  const pairs = model ? [["Model", model.id], ["Dimensions", `${model.dimensions} (trained: ${model.matryoshka_dims.join(", ")})`],
    ["Reads", model.max_model_len ? `${model.max_model_len} tokens` : "any length"], ["Fingerprint", model.fingerprint.slice(0, 16)]] : [["Model", "none; clients bring vectors"]];
  if (state.about.base) pairs.push(["Base", `${state.about.base}, that it was tuned from`]);
  pairs.push(["Server", `firth ${version}, up ${seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`}${readonly ? ", reading only" : ""}`]);
  $("model").className = "card shelf";
  $("model").replaceChildren(made("h2", "Server"), facts(pairs));
}

// A job begun and waited for; what it found.
async function done(kind, collection, told) {
  let job = await ask("/api/v1/jobs", { kind, collection });
  while (job.state === "waiting" || job.state === "running") {
    await new Promise((ready) => setTimeout(ready, 300));
    job = await ask(`/api/v1/jobs/${job.id}`);
  }
  if (job.error) told.textContent = job.error;
  return job.error ? null : job.result;
}

async function checked(collection, told) {
  told.textContent = "Reading everything once…";
  const problems = await done("check", collection, told);
  if (problems) told.textContent = problems.length ? problems.join("; ") : "Rows, vectors and indexes agree.";
}

async function doubled(collection, told) {
  told.textContent = `Embedding every document with ${state.about.base}…`;
  if ((await done("base", collection, told)) !== null) await load();
}

function changeCollection() {
  const one = chosen();
  const options = (first) => [made("option", first, { value: "" }), ...(one?.fields || []).map((field) => made("option", field, { value: field }))];
  $("field").replaceChildren(...options("none"));
  $("colour").replaceChildren(...options("nothing"));
  const others = state.about.collections.filter((other) => other !== one && other.texts_can_ask && one?.texts_can_ask);
  $("other").replaceChildren(made("option", "nothing", { value: "" }), ...others.map((other) => made("option", other.name, { value: other.name })));
  $("facets").replaceChildren();
  for (const radio of document.querySelectorAll("input[name=mode]")) radio.disabled = !!one && !one.texts_can_ask && radio.value !== "words";
  const now = document.querySelector("input[name=mode]:checked");
  if (!now || now.disabled) document.querySelector("input[name=mode][value=words]").checked = true;
  state.mapped = "";
}

// The address says what is looked at, so that it can be kept and sent.
function remember() {
  const said = new URLSearchParams({ c: $("collection").value, m: mode(), q: $("query").value });
  if ($("other").value) said.set("o", $("other").value);
  history.replaceState(null, "", `#${view()}?${said}`);
}

const view = () => state.views.find((name) => location.hash.slice(1).split("?")[0] === name) || "search";

function show() {
  for (const name of state.views) $(name).hidden = name !== view();
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    if (link.dataset.view === view()) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!state.about) return;
  if (view() === "search") $("query").focus();
  if (view() === "map") showMap();
  if (view() === "collections") trying(async () => { state.about = await ask("/api/v1"); showCollections(); });
}

async function load() {
  const said = new URLSearchParams(location.hash.split("?")[1] || "");
  await trying(async () => {
    state.about = await ask("/api/v1");
    $("keyform").hidden = true;
    $("collection").replaceChildren(...state.about.collections.map((one) => made("option", one.name, { value: one.name })));
    if (state.about.collections.some((one) => one.name === said.get("c"))) $("collection").value = said.get("c");
    $("report").hidden = !state.about.report || !!sessionStorage.getItem("firth-key"); // a link carries no key
    const wanted = document.querySelector(`input[name=mode][value="${CSS.escape(said.get("m") || "dense")}"]`);
    (wanted || document.querySelector("input[name=mode]")).checked = true;
    $("query").value = said.get("q") || "";
    changeCollection();
    if ([...$("other").options].some((one) => one.value === said.get("o"))) $("other").value = said.get("o");
    notice(state.about.collections.length ? "" : "There are no collections yet; a client makes one with PUT /collections/{name}.");
    show();
    await search();
  });
}

function theme(wanted) {
  document.documentElement.dataset.theme = wanted;
  plane?.draw();
}

function begin() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme(localStorage.getItem("firth-theme") || (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => { if (!localStorage.getItem("firth-theme")) theme(dark.matches ? "dark" : "light"); });
  plane = new Plane($("plane"), $("hover"), $("legend"), openDocument);
  $("theme").addEventListener("click", () => {
    const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("firth-theme", other);
    theme(other);
  });
  const soon = (work) => () => { clearTimeout(timer); timer = setTimeout(work, WAIT); };
  for (const id of ["query", "filter", "k"]) $(id).addEventListener("input", soon(search));
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(timer); search(); });
  for (const radio of document.querySelectorAll("input[name=mode]")) radio.addEventListener("change", search);
  for (const id of ["exact", "other"]) $(id).addEventListener("change", search);
  $("field").addEventListener("change", showFacets);
  $("colour").addEventListener("change", showMap);
  $("points").addEventListener("change", showMap);
  $("highlight").addEventListener("input", soon(ringed));
  $("closer").addEventListener("click", () => plane.zoom(1.5));
  $("farther").addEventListener("click", () => plane.zoom(1 / 1.5));
  $("whole").addEventListener("click", () => plane.whole());
  $("collection").addEventListener("change", () => { changeCollection(); search(); show(); });
  $("close").addEventListener("click", () => $("document").close());
  $("document").addEventListener("click", (event) => { if (event.target === $("document")) $("document").close(); });
  $("keyform").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("firth-key", $("key").value.trim());
    load();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName) && !$("document").open) {
      event.preventDefault();
      location.hash = "search";
      $("query").focus();
    }
  });
  addEventListener("hashchange", show);
  show();
  load();
}

begin();
