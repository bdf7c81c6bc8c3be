// The messages of the channel that is shown: added, edited in place, taken away.
import { buttons, complain } from "/page/buttons.js";
import { avatar, byId, clock, el } from "/page/elements.js";
import { enlarge } from "/page/lightbox.js";
import { render } from "/page/markdown.js";

const shown = new Map(); // message or pending interaction id -> its node and what was last drawn
const scroller = byId("scroller");
let pinned = true; // the reader is at the end and wants to stay there

scroller.addEventListener("scroll", () => { pinned = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60; });
new ResizeObserver(() => { if (pinned) toEnd(); }).observe(scroller);

export function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
  pinned = true;
}

export function clear() {
  shown.clear();
  byId("messages").replaceChildren();
}

// Says under a message that nobody answered to one of its buttons.
export function unanswered(id) {
  const entry = shown.get(id);
  if (entry) complain(entry.parts.buttons, "This interaction failed");
}

export function remove(id) {
  shown.get(id)?.node.remove();
  shown.delete(id);
}

// Draws a message, or draws it again where it differs; `me` is who looks, `names` maps ids to names.
export function show(message, me, names) {
  const entry = shown.get(message.id) ?? begin(message);
  entry.node.classList.toggle("pings", message.pinged.includes(me) || message.pinged.includes("everyone"));
  update(entry, "text", JSON.stringify([message.content, message.state, message.edited]), () => text(message, names));
  update(entry, "files", JSON.stringify(message.attachments), () => files(message));
  update(entry, "embeds", JSON.stringify(message.embeds), () => embeds(message, names));
  update(entry, "buttons", JSON.stringify(message.components), () => buttons(message, me));
  if (pinned || message.mine) toEnd();
}

function begin(message) {
  const parts = { text: el("div"), files: el("div"), embeds: el("div"), buttons: el("div") };
  const body = el("div", { class: "body" },
    el("div", { class: "byline" },
      el("span", { class: "name bot" }, message.author), el("span", { class: "tag" }, "✓ APP"), clock(message.created_epoch)),
    parts.text, parts.files, parts.embeds, parts.buttons,
    message.ephemeral ? onlyYou(message) : null);
  const node = el("li", { class: message.ephemeral ? "message ephemeral" : "message" },
    reference(message), avatar(message.author, { bot: true }), body);
  const entry = { node, parts, drawn: {} };
  shown.set(message.id, entry);
  byId("messages").append(node);
  return entry;
}

function update(entry, part, key, draw) {
  if (entry.drawn[part] === key) return;
  entry.drawn[part] = key;
  const before = entry.parts[part].querySelector(".meter i")?.style.width;
  entry.parts[part].replaceChildren(draw());
  slide(entry.parts[part].querySelector(".meter i"), before);
}

// A bar that was there before starts from where it stood, so that it moves instead of jumping.
function slide(fill, before) {
  if (!fill || before === undefined) return;
  const now = fill.style.width;
  fill.style.width = before;
  requestAnimationFrame(() => requestAnimationFrame(() => { fill.style.width = now; }));
}

function reference(message) {
  if (!message.command) return null;
  const who = [avatar(message.user_name, { small: true }), el("span", { class: "who" }, message.user_name)];
  if (message.follow_up) return el("div", { class: "reference" }, ...who, " an answer to ", command(message));
  return el("div", { class: "reference" }, ...who, " used ", command(message));
}

function command(message) {
  const typed = (message.options ?? []).map((option) => `${option.name}: ${option.type === 11 ? "(file)" : option.value}`);
  return el("span", { class: "command", title: [`/${message.command}`, ...typed].join("\n") }, `/${message.command}`);
}

function text(message, names) {
  if (message.state === "sending") return el("div", { class: "content muted" }, "Sending command…");
  if (message.state === "failed") return el("div", { class: "content failed" }, "⚠ The application did not respond");
  if (message.thinking) {
    const dots = el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i"));
    return el("div", { class: "content muted" }, dots, `${message.author} is thinking…`);
  }
  const node = el("div", { class: "content" }, render(message.content, names));
  if (message.edited && message.content) {
    const last = node.lastElementChild;
    const mark = el("span", { class: "edited", title: "This message was edited" }, "(edited)");
    (last?.matches(".paragraph, .progress") ? last : node).append(" ", mark);
  }
  return node;
}

function files(message) {
  const pictures = message.attachments.filter((file) => file.content_type.startsWith("image/") && file.width);
  const others = message.attachments.filter((file) => !pictures.includes(file));
  const box = el("div", {});
  if (pictures.length) box.append(mosaic(pictures));
  for (const file of others) {
    box.append(el("a", { class: "attachment", href: file.url, download: file.filename },
      el("b", {}, file.filename), el("span", {}, `${Math.ceil(file.size / 1024)} KB`)));
  }
  return box;
}

function mosaic(pictures) {
  const box = el("div", { class: `mosaic of${Math.min(pictures.length, 4)}` });
  const [widest, tallest] = pictures.length === 1 ? [400, 350] : [550, 550];
  box.style.maxWidth = `${Math.min(widest, Math.max(200, Math.round(tallest * pictures[0].width / pictures[0].height)))}px`;
  pictures.forEach((file, index) => {
    const label = `Enlarge image ${index + 1} of ${pictures.length}: ${file.description ?? file.filename}`;
    const image = el("img", { src: file.url, alt: file.description ?? file.filename, width: file.width, height: file.height });
    const button = el("button", { type: "button", "aria-label": label, onclick: () => enlarge(pictures, index) }, image);
    button.style.aspectRatio = `${file.width} / ${file.height}`;
    box.append(button);
  });
  return box;
}

function embeds(message, names) {
  const box = el("div", {});
  for (const embed of message.embeds) {
    const node = el("div", { class: "embed" },
      embed.title ? el("b", {}, embed.title) : null,
      embed.description ? el("div", { class: "content" }, render(embed.description, names)) : null,
      ...(embed.fields ?? []).map((field) => el("div", {}, el("b", {}, field.name), el("div", { class: "content" }, render(field.value, names)))),
      embed.footer ? el("small", {}, embed.footer.text) : null);
    if (Number.isInteger(embed.color)) node.style.borderColor = `#${embed.color.toString(16).padStart(6, "0")}`;
    box.append(node);
  }
  return box;
}

function onlyYou(message) {
  const dismiss = el("button", { type: "button", class: "link", onclick: () => remove(message.id) }, "Dismiss message");
  return el("div", { class: "only" }, el("span", { class: "eye", "aria-hidden": "true" }), "Only you can see this • ", dismiss);
}
