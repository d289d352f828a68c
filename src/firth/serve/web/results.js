// Lists of found documents: words marked, scores, and what a list says beside another one. Every text from a document is
// set as text, never as HTML.
"use strict";

const count = (n) => n.toLocaleString("en");
const plural = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;

function made(tag, content, more = {}) {
  const element = document.createElement(tag);
  element.append(...[content ?? ""].flat());
  return Object.assign(element, more);
}

// Words that say little are not marked where there are others.
const COMMON = new Set("a an and are as at be by for from how in is it of on or that the this to was what which with".split(" "));

// Words of the query marked where they stand in the text, in their other forms too: "bark" marks "barking".
function marked(text, query) {
  const every = query.toLowerCase().match(/[\p{L}\p{N}]{2,}/gu) || [];
  const telling = every.filter((word) => !COMMON.has(word));
  const words = (telling.length ? telling : every).map((word) => word.replace(/(?<=\p{L}{3})(?:ing|ed|s)$/u, ""));
  if (!words.length) return [text];
  const sought = new RegExp(`(?<![\\p{L}\\p{N}])(?:${words.join("|")})\\p{L}{0,3}(?![\\p{L}\\p{N}])`, "giu");
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(sought)) {
    parts.push(text.slice(from, found.index), made("mark", found[0]));
    from = found.index + found[0].length;
  }
  return [...parts, text.slice(from)];
}

// `about`: the collection that it is of, the ids that the index missed, and where the other list has each id.
function hit(one, rank, query, best, about) {
  const title = made("button", marked(one.title || String(one.id), query), { type: "button" });
  title.addEventListener("click", () => openDocument(one.id, about.collection));
  const score = made("span", one.score.toFixed(3), { className: "score" });
  const meter = made("div", made("span"), { className: "meter" });
  meter.firstChild.style.width = `${Math.max(0, Math.min(100, (100 * one.score) / best))}%`;
  const line = made("li", [
    made("div", [made("span", String(rank), { className: "rank" }), title, score], { className: "hit" }),
    meter,
    made("p", [...marked(one.text, query), one.cut ? "…" : ""], { className: "text" }),
  ]);
  const tags = Object.entries(one.sources || {}).map(([name, said]) =>
    `${name === "bm25" ? "words" : "meaning"} ${said.rank ? `#${said.rank}` : "not found"}, ${said.score.toFixed(3)}`);
  for (const [name, value] of Object.entries(one.payload || {}).slice(0, 4)) {
    if (["string", "number", "boolean"].includes(typeof value)) tags.push(`${name}: ${String(value).slice(0, 60)}`);
  }
  if (about.missing?.has(String(one.id))) tags.push("not found by the index");
  if (about.others) tags.push(moved(rank, about.others.get(String(one.id))));
  if (tags.length) line.append(made("div", tags.map((tag) => made("span", tag)), { className: "tags" }));
  return line;
}

// Where the other list has it.
function moved(rank, there) {
  if (!there) return "only here";
  return there === rank ? "the same place there" : `${there < rank ? "▲" : "▼"} #${there} there`;
}

function listed(hits, query, about = {}) {
  if (!hits.length) return made("p", "Nothing found.", { className: "quiet" });
  const best = Math.max(...hits.map((one) => one.score), 1e-9);
  return made("ol", hits.map((one, i) => hit(one, i + 1, query, best, about)), { className: "hits" });
}
