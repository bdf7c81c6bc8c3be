// Discord's markdown, the part that bots use, as DOM nodes: text is never parsed as HTML.

const RULES = [
  [/^\\([\\*_`~|<>#-])/, (m) => document.createTextNode(m[1])],
  [/^`([^`]+)`/, (m) => wrap("code", [document.createTextNode(m[1])])],
  [/^\*\*(.+?)\*\*(?!\*)/s, (m, names) => wrap("strong", inline(m[1], names))],
  [/^\*(?!\s)(.+?)\*/s, (m, names) => wrap("em", inline(m[1], names))],
  [/^__(.+?)__/s, (m, names) => wrap("u", inline(m[1], names))],
  [/^_(?!\s)(.+?)_(?!\w)/s, (m, names) => wrap("em", inline(m[1], names))],
  [/^~~(.+?)~~/s, (m, names) => wrap("s", inline(m[1], names))],
  [/^<@!?(\d+)>/, (m, names) => mention(names[m[1]] ?? "user")],
  [/^https?:\/\/[^\s<>)]+/, (m) => link(m[0])],
];
const SPECIAL = /[\\`*_~<]|https?:/;

export function render(text, names) {
  const fragment = document.createDocumentFragment();
  fragment.append(...inline(text, names));
  return fragment;
}

function inline(text, names) {
  const nodes = [];
  let plain = "";
  while (text) {
    const found = SPECIAL.test(text[0] === "h" ? text.slice(0, 6) : text[0]) && match(text, names);
    if (found) {
      if (plain) nodes.push(document.createTextNode(plain));
      plain = "";
      nodes.push(found.node);
      text = text.slice(found.length);
    } else {
      plain += text[0];
      text = text.slice(1);
    }
  }
  if (plain) nodes.push(document.createTextNode(plain));
  return nodes;
}

function match(text, names) {
  for (const [pattern, make] of RULES) {
    const m = pattern.exec(text);
    if (m) return { node: make(m, names), length: m[0].length };
  }
  return null;
}

function wrap(tag, children) {
  const node = document.createElement(tag);
  node.append(...children);
  return node;
}

function mention(name) {
  const node = wrap("span", [document.createTextNode(`@${name}`)]);
  node.className = "mention";
  return node;
}

function link(url) {
  const node = wrap("a", [document.createTextNode(url)]);
  node.href = url;
  node.target = "_blank";
  node.rel = "noopener noreferrer";
  return node;
}
