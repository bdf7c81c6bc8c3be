// The line in which commands are typed: completion from the bot's registered commands, files, sending.
import { byId, el } from "/page/elements.js";

const ATTACHMENT = 11, BOOLEAN = 5, STRING = 3;
const KINDS = { 3: "text", 4: "integer", 5: "true or false", 6: "user", 7: "channel", 8: "role", 9: "mention", 10: "number", 11: "file" };

const input = byId("text"), list = byId("hints-list"), picker = byId("file");
const files = new Map(); // option name -> File
const sent = [];
let place = { commands: [], guild: "", user: "" };
let rows = [];
let active = -1;
let sending = false;

export function setPlace(next) {
  place = { ...place, ...next };
  suggest();
}

export function fill(text) {
  input.value = text;
  input.focus();
  suggest();
}

function commandIn(text) {
  const name = /^\/([-_\p{L}\p{N}]+)(?=\s|$)/u.exec(text)?.[1];
  return place.commands.find((command) => command.name === name);
}

function freeOption(command) {
  const texts = command.options.filter((option) => option.type === STRING);
  return texts.find((option) => option.name === "prompt") ?? texts[0];
}

// What could come next, from the text before the caret; `eager` lets Enter take the first of it.
function candidates(text, wanted) {
  const start = /^\/([-_\p{L}\p{N}]*)$/u.exec(text);
  if (start) {
    const found = place.commands.filter((command) => command.name.startsWith(start[1]));
    const whole = found.some((command) => command.name === start[1] && !command.options.some((option) => option.required));
    return { help: "", found: found.map((c) => row(`/${c.name}`, c.description, `/${c.name} `)), eager: !whole };
  }
  const command = commandIn(text);
  if (!command) return { help: "", found: [] };
  const word = /\S*$/.exec(text)[0];
  const option = command.options.find((candidate) => word.startsWith(`${candidate.name}:`));
  return option && option !== freeOption(command) ? values(option, word) : options(command, word, text, wanted);
}

// Options are offered right after the command, while one is being typed, or on demand: not at every space of a prompt.
function options(command, word, text, wanted) {
  const free = freeOption(command);
  const taken = (option) => option === free || files.has(option.name) || new RegExp(`(^|\\s)${option.name}:`).test(text);
  const left = command.options.filter((option) => !taken(option));
  const begun = word.length > 1 && left.some((option) => option.name.startsWith(word));
  const offered = wanted || begun || new RegExp(`^/${command.name}\\s*$`).test(text);
  const found = offered ? left.filter((option) => !begun || option.name.startsWith(word)) : [];
  const more = left.length && !found.length ? `  (↓ for ${left.length} more options)` : "";
  const help = (free ? `${free.name}: ${free.description}` : command.description) + more;
  return { help, found: found.map((o) => row(o.name, o.description, o.type === ATTACHMENT ? o : `${o.name}:`, limits(o))) };
}

function values(option, word) {
  const typed = word.slice(option.name.length + 1).replaceAll('"', "").toLowerCase();
  const names = option.type === BOOLEAN ? ["true", "false"] : (option.choices ?? []).map((choice) => choice.name);
  const found = names.filter((name) => name.toLowerCase().startsWith(typed) && name.toLowerCase() !== typed);
  const quoted = (name) => (/\s/.test(name) ? `${option.name}:"${name}" ` : `${option.name}:${name} `);
  const quotes = option.type === STRING && !option.choices?.length ? '; "in quotes" where it is several words' : "";
  return { help: `${option.name}: ${option.description} (${limits(option)}${quotes})`, found: found.map((n) => row(n, "", quoted(n))), eager: true };
}

function limits(option) {
  if (option.choices?.length) return "one of a list";
  const { min_value: least, max_value: most } = option;
  const range = least !== undefined && most !== undefined ? `, ${least} to ${most}` : "";
  return KINDS[option.type] + range;
}

// `completion` is text for the word at the caret, or an option whose file is to be picked.
function row(name, description, completion, kind = "") {
  return { name, description, completion, kind };
}

function suggest({ wanted = false } = {}) {
  const before = input.value.slice(0, input.selectionStart);
  const { help, found, eager } = candidates(before, wanted);
  rows = found;
  active = found.length && (eager || wanted) ? 0 : -1;
  byId("help").textContent = help;
  byId("hints").hidden = !found.length;
  list.replaceChildren(...rows.map(item));
  paintActive();
  grow();
}

function item(entry, index) {
  const node = el("li", { role: "option", id: `hint-${index}` },
    el("b", {}, entry.name), el("span", {}, entry.description), el("small", {}, entry.kind));
  node.addEventListener("pointerdown", (event) => { event.preventDefault(); accept(index); });
  return node;
}

function paintActive() {
  [...list.children].forEach((node, index) => node.setAttribute("aria-selected", index === active));
  list.children[active]?.scrollIntoView({ block: "nearest" });
  input.setAttribute("aria-expanded", rows.length > 0 && !byId("hints").hidden);
  if (active >= 0) input.setAttribute("aria-activedescendant", `hint-${active}`);
  else input.removeAttribute("aria-activedescendant");
}

function accept(index) {
  const { completion } = rows[index];
  const caret = input.selectionStart;
  const start = caret - /\S*$/.exec(input.value.slice(0, caret))[0].length;
  const text = typeof completion === "string" ? completion : "";
  input.setRangeText(text, start, caret, "end");
  input.focus();
  suggest();
  if (typeof completion !== "string") pick(completion.name);
}

function keys(event) {
  const open = rows.length > 0 && !byId("hints").hidden;
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (open && active >= 0) accept(active);
    else byId("composer").requestSubmit();
  } else if (event.key === "Tab" && open && !event.shiftKey) {
    event.preventDefault();
    accept(Math.max(active, 0));
  } else if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    active = (active + (event.key === "ArrowDown" ? 1 : -1) + rows.length) % rows.length;
    paintActive();
  } else if (event.key === "ArrowDown" && commandIn(input.value) && input.selectionStart === input.value.length) {
    event.preventDefault();
    suggest({ wanted: true });
  } else if (event.key === "ArrowUp" && !input.value && sent.length) {
    event.preventDefault();
    fill(sent.at(-1));
  } else if (event.key === "Escape") {
    closeHints();
  }
}

function closeHints() {
  byId("hints").hidden = true;
  rows = [];
  active = -1;
  paintActive();
}

function grow() {
  input.style.height = "auto";
  input.style.height = `${Math.min(input.scrollHeight, 200)}px`;
}

function fileOption() {
  const holder = commandIn(input.value) ?? place.commands.find((c) => c.options.some((o) => o.type === ATTACHMENT));
  if (!holder) return null;
  if (!input.value) fill(`/${holder.name} `);
  return holder.options.find((o) => o.type === ATTACHMENT && !files.has(o.name)) ?? holder.options.find((o) => o.type === ATTACHMENT);
}

function pick(name) {
  picker.dataset.option = name;
  picker.click();
}

function attach(file, name = fileOption()?.name) {
  if (!name) return complain("No command of the bot takes a file here.");
  files.set(name, file);
  complain("");
  paintFiles();
  input.focus();
}

function paintFiles() {
  const box = byId("files");
  box.querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
  box.replaceChildren(...[...files].map(([name, file]) => {
    const remove = el("button", { type: "button", class: "icon", "aria-label": `Remove ${file.name}` }, "✕");
    remove.addEventListener("click", () => { files.delete(name); paintFiles(); suggest(); input.focus(); });
    return el("li", {}, remove, el("img", { src: URL.createObjectURL(file), alt: "" }), el("b", {}, name), el("span", {}, file.name));
  }));
  box.hidden = files.size === 0;
  suggest();
}

export function complain(text) {
  byId("error").textContent = text;
  byId("error").hidden = !text;
  if (text) closeHints();
}

async function send(event) {
  event.preventDefault();
  const line = input.value.trim();
  if (!line || sending) return;
  const command = commandIn(line);
  const form = new FormData();
  form.append("payload_json", JSON.stringify({ user_id: place.user, guild_id: place.guild, line }));
  for (const [name, file] of files) {
    if (command?.options.some((option) => option.name === name)) form.append(name, file, file.name);
  }
  sending = true;
  const answer = await fetch("/sandbox/interactions", { method: "POST", body: form }).catch(() => null);
  sending = false;
  if (!answer) return complain("The loopback Discord did not answer; is it still running?");
  if (!answer.ok) return complain((await answer.json()).message);
  complain("");
  sent.push(line);
  files.clear();
  input.value = "";
  paintFiles();
}

byId("composer").addEventListener("submit", send);
input.addEventListener("keydown", keys);
input.addEventListener("input", () => { complain(""); suggest(); });
input.addEventListener("click", () => suggest());
input.addEventListener("blur", closeHints);
byId("attach").addEventListener("click", () => {
  const option = fileOption();
  if (option) pick(option.name);
  else complain("No command of the bot takes a file here.");
});
picker.addEventListener("change", () => {
  const [file] = picker.files;
  if (file) attach(file, picker.dataset.option);
  picker.value = "";
});
input.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) { event.preventDefault(); attach(file); }
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file) attach(file);
});
