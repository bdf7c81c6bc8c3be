// Discord's markdown as DOM nodes: text is never parsed as HTML, and only http(s) addresses become links.
import { el } from "/page/elements.js";

const INLINE = [
  [/^\\([!-/:-@[-`{-~])/, (m) => document.createTextNode(m[1])],
  [/^``(.+?)``(?!`)/s, (m) => el("code", {}, m[1].trim())],
  [/^`([^`]+)`/, (m) => el("code", {}, m[1])],
  [/^\*\*\*(?!\s)((?:\\.|[^\\])+?)\*\*\*/s, (m, names) => el("strong", {}, el("em", {}, ...inline(m[1], names)))],
  [/^\*\*(?!\s)((?:\\.|[^\\])+?)\*\*(?!\*)/s, (m, names) => el("strong", {}, ...inline(m[1], names))],
  [/^\*(?![\s*])((?:\\.|[^\\*])+?)\*/s, (m, names) => el("em", {}, ...inline(m[1], names))],
  [/^__((?:\\.|[^\\])+?)__/s, (m, names) => el("u", {}, ...inline(m[1], names))],
  [/^_(?!\s)((?:\\.|[^\\_])+?)_(?!\w)/s, (m, names) => el("em", {}, ...inline(m[1], names))],
  [/^~~((?:\\.|[^\\])+?)~~/s, (m, names) => el("s", {}, ...inline(m[1], names))],
  [/^\|\|((?:\\.|[^\\])+?)\|\|/s, (m, names) => spoiler(inline(m[1], names))],
  [/^<@!?(\d+)>/, (m, names) => el("span", { class: "mention" }, `@${names.get(m[1]) ?? "unknown-user"}`)],
  [/^<#(\d+)>/, (m, names) => el("span", { class: "mention" }, `#${names.get(m[1]) ?? "unknown"}`)],
  [/^@(everyone|here)\b/, (m) => el("span", { class: "mention" }, m[0])],
  [/^<t:(-?\d{1,12})(?::([tTdDfFR]))?>/, (m) => instant(Number(m[1]), m[2] ?? "f")],
  [/^<(https?:\/\/[^\s<>]+)>/, (m) => link(m[1])],
  [/^\[([^\][]+)\]\(<?(https?:\/\/[^\s<>)]+)>?\)/, (m) => link(m[2], m[1])],
  [/^https?:\/\/[^\s<>]*[^\s<>.,:;"')\]]/, (m) => link(m[0])],
];
const MAY_BEGIN = /[\\`*_~|<@[h]/;
const BAR = /^[█░▓▒▰▱■□]{4,} *(\d{1,3}) ?%$/;

export function render(text, names) {
  const fragment = document.createDocumentFragment();
  text.split(/^```(?:\w*\n)?([^]*?)```\n?/m).forEach((piece, index) => {
    if (index % 2) fragment.append(el("pre", {}, el("code", {}, piece)));
    else if (piece) fragment.append(...blocks(piece, names));
  });
  return fragment;
}

function blocks(text, names) {
  const nodes = [];
  let plain = [];
  const flush = () => {
    if (plain.length) nodes.push(el("div", { class: "paragraph" }, ...inline(plain.join("\n"), names)));
    plain = [];
  };
  for (const line of text.replace(/\n$/, "").split("\n")) {
    const node = block(line, names);
    if (node) flush();
    if (node) nodes.push(node);
    else plain.push(line);
  }
  flush();
  return nodes;
}

function block(line, names) {
  let m;
  if ((m = BAR.exec(line))) return meter(Number(m[1]));
  if ((m = /^(#{1,3}) +(.+)/.exec(line))) return el("div", { class: `heading h${m[1].length}` }, ...inline(m[2], names));
  if ((m = /^-# +(.+)/.exec(line))) return el("div", { class: "subtext" }, ...inline(m[1], names));
  if ((m = /^> ?(.*)/.exec(line))) return el("blockquote", {}, ...inline(m[1], names));
  if ((m = /^ {0,6}[-*] +(.+)/.exec(line))) return el("div", { class: "bullet" }, ...inline(m[1], names));
  return null;
}

function inline(text, names) {
  const nodes = [];
  let plain = "";
  const flush = () => {
    if (plain) nodes.push(document.createTextNode(plain));
    plain = "";
  };
  while (text) {
    const found = MAY_BEGIN.test(text[0]) ? match(text, names) : null;
    if (found) flush();
    if (found) nodes.push(found.node);
    else plain += text[0];
    text = text.slice(found ? found.length : 1);
  }
  flush();
  return nodes;
}

function match(text, names) {
  for (const [pattern, make] of INLINE) {
    const m = pattern.exec(text);
    if (m) return { node: make(m, names), length: m[0].length };
  }
  return null;
}

// A line of blocks and a percentage, as bots draw progress, becomes a bar that moves smoothly from edit to edit.
function meter(percent) {
  const bounded = Math.min(100, percent);
  const fill = el("i", {});
  fill.style.width = `${bounded}%`;
  return el("div", { class: "progress" },
    el("div", { class: "meter", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": bounded }, fill),
    el("span", {}, `${bounded} %`));
}

function spoiler(children) {
  const node = el("button", { type: "button", class: "spoiler", "aria-label": "Reveal a spoiler" }, ...children);
  node.addEventListener("click", () => { node.classList.add("revealed"); node.removeAttribute("aria-label"); });
  return node;
}

function instant(seconds, style) {
  const then = new Date(seconds * 1000);
  const node = el("time", { class: "instant", datetime: then.toISOString(), title: then.toLocaleString() });
  const left = Math.round((then - Date.now()) / 1000);
  const [amount, unit] = Math.abs(left) < 90 ? [left, "second"] : Math.abs(left) < 5400 ? [left / 60, "minute"] : Math.abs(left) < 129600 ? [left / 3600, "hour"] : [left / 86400, "day"];
  const styles = { t: { timeStyle: "short" }, T: { timeStyle: "medium" }, d: { dateStyle: "short" }, D: { dateStyle: "long" }, f: { dateStyle: "long", timeStyle: "short" }, F: { dateStyle: "full", timeStyle: "short" } };
  node.textContent = style === "R"
    ? new Intl.RelativeTimeFormat([], { numeric: "auto" }).format(Math.round(amount), unit)
    : new Intl.DateTimeFormat([], styles[style]).format(then);
  return node;
}

function link(url, text = url) {
  return el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, text);
}
