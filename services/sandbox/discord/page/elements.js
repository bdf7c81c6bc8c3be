// Building nodes, and the faces of people.  Text only ever becomes text nodes.

const COLOURS = ["#3ba55d", "#d97706", "#ed4245", "#eb459e", "#0ea5e9", "#9b59b6"];
const BOT_COLOUR = "#5865f2";

export const byId = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function avatar(name, { bot = false, small = false } = {}) {
  const node = el("span", { class: small ? "avatar small" : "avatar", "aria-hidden": "true" });
  paintAvatar(node, name, bot);
  return node;
}

export function paintAvatar(node, name, bot = false) {
  node.classList.toggle("flask", bot);
  node.style.backgroundColor = bot ? BOT_COLOUR : colourOf(name);
  node.textContent = bot ? "" : name[0];
}

export function colourOf(name) {
  const sum = [...name].reduce((total, letter) => total + letter.codePointAt(0), 0);
  return COLOURS[sum % COLOURS.length];
}

export function clock(epoch) {
  const then = new Date(epoch * 1000);
  const time = then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const today = then.toDateString() === new Date().toDateString();
  const text = today ? `Today at ${time}` : `${then.toLocaleDateString()} ${time}`;
  return el("time", { datetime: then.toISOString(), title: then.toLocaleString() }, text);
}
