// The page of the loopback Discord: one channel, live over server-sent events.
import { render } from "/page/markdown.js";

const COLOURS = ["#3ba55d", "#faa61a", "#ed4245", "#eb459e", "#5865f2"];
const $ = (id) => document.getElementById(id);
const state = { users: {}, commands: [], messages: new Map(), channel: "", guild: "", files: {}, connected: false };

const feed = new EventSource("/sandbox/events");
feed.onmessage = (event) => handle(JSON.parse(event.data));
feed.onerror = () => showStatus(false, "The loopback Discord is not running.");

function handle(news) {
  if (news.kind === "snapshot") return snapshot(news);
  if (news.kind === "status") return showStatus(news.connected);
  if (news.kind === "commands") return void (state.commands = merged(news.commands));
  if (news.kind === "message") return show(news.message);
  if (news.kind === "deleted") return void $(`m-${news.id}`)?.remove();
  if (news.kind === "failed") return show(failed(news));
}

function snapshot(news) {
  Object.assign(state, { users: news.users, commands: news.commands, channel: news.channel_id, guild: news.guild_id });
  $("notice").textContent = news.notice;
  $("notice").hidden = !news.notice;
  const chosen = $("user").value || localStorage.getItem("user") || Object.keys(news.users)[0];
  $("user").replaceChildren(...Object.entries(news.users).map(([id, name]) => new Option(name, id, false, id === chosen)));
  paintMe();
  $("messages").replaceChildren();
  news.messages.forEach(show);
  showStatus(news.connected);
}

function merged(commands) {
  const known = new Map(state.commands.map((command) => [command.name, command]));
  commands.forEach((command) => known.set(command.name, command));
  return [...known.values()];
}

function showStatus(connected, text) {
  state.connected = connected;
  $("status").textContent = text ?? (connected ? "" : "The bot is not connected yet…");
  $("status").classList.toggle("off", !connected);
}

function failed(news) {
  return {
    id: `failed-${news.interaction_id}`, channel_id: state.channel, user_id: news.user_id, ephemeral: true,
    content: "The application did not respond", attachments: [], history: [], command: "serve",
    user_name: state.users[news.user_id],
  };
}

function show(message) {
  if (message.channel_id !== state.channel) return;
  if (message.ephemeral && message.user_id !== $("user").value) return;
  const list = $("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 120;
  const old = $(`m-${message.id}`);
  const item = build(message);
  if (old) old.replaceWith(item); else list.append(item);
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function build(message) {
  const item = el("li", { id: `m-${message.id}`, className: `message${message.ephemeral ? " ephemeral" : ""}` });
  if (message.command) {
    const user = message.user_name ?? "someone";
    item.append(el("div", { className: "used" }, avatar(user), el("span", {}, user), " used ", el("b", {}, `/${message.command}`)));
  }
  const bot = avatar("Distillery", "#5865f2");
  const body = el("div", {},
    el("span", { className: "name" }, "Distillery"), el("span", { className: "tag" }, "APP"),
    el("span", { className: "time" }, time(message)));
  body.append(content(message), images(message));
  if (message.ephemeral) body.append(el("div", { className: "only" }, "Only you can see this"));
  item.append(bot, body);
  return item;
}

function content(message) {
  const node = el("div", { className: "content" });
  if (message.thinking) return el("div", { className: "content thinking" }, "Distillery is thinking…");
  node.append(render(message.content, state.users));
  if (message.history.length > 1) node.append(el("span", { className: "edited" }, "(edited)"));
  const percent = message.attachments.length ? null : /(\d{1,3}) ?%/.exec(message.content);
  if (percent) {
    const bar = el("i", {});
    bar.style.width = `${Math.min(100, Number(percent[1]))}%`;
    node.append(el("div", { className: "meter", role: "progressbar", ariaValueNow: percent[1], ariaLabel: "Progress" }, bar));
  }
  return node;
}

function images(message) {
  const pictures = message.attachments.filter((file) => file.content_type?.startsWith("image/"));
  const box = el("div", { className: pictures.length === 1 ? "images one" : "images" });
  for (const file of pictures) {
    const button = el("button", { type: "button", ariaLabel: `Enlarge ${file.filename}` }, el("img", { src: file.url, alt: file.filename }));
    button.onclick = () => enlarge(file);
    box.append(button);
  }
  const others = message.attachments.filter((file) => !pictures.includes(file));
  return el("div", {}, box, ...others.map((file) => el("a", { className: "attachment", href: file.url }, file.filename)));
}

function enlarge(file) {
  $("lightbox-image").src = file.url;
  $("lightbox-image").alt = file.filename;
  $("lightbox-link").href = file.url;
  $("lightbox").showModal();
}
$("lightbox").onclick = (event) => { if (event.target.tagName !== "A") $("lightbox").close(); };

// The composer: "/serve words name:value words" becomes typed options, all other words the prompt.
$("composer").onsubmit = async (event) => {
  event.preventDefault();
  const typed = parse($("text").value.trim());
  if (typeof typed === "string") return complain(typed);
  const form = new FormData();
  for (const [option, file] of Object.entries(state.files)) form.append(option, file, file.name);
  form.append("payload_json", JSON.stringify({ user_id: $("user").value, guild_id: state.guild, channel_id: state.channel, ...typed }));
  const answer = await fetch("/sandbox/interactions", { method: "POST", body: form }).catch(() => null);
  if (!answer?.ok) return complain(answer ? (await answer.json()).message : "The loopback Discord did not answer.");
  complain("");
  state.files = {};
  paintFiles();
  $("text").value = "";
  hint();
};

function parse(line) {
  const m = /^\/([\w-]+)\s*([^]*)$/.exec(line);
  if (!m) return "Type a slash command, such as /serve a lighthouse at dusk --ar 16:9";
  const command = state.commands.find((candidate) => candidate.name === m[1]);
  if (!command) return state.connected ? `There is no command /${m[1]}.` : "The bot is not connected yet.";
  const options = {};
  const words = m[2].split(/(\s+)/).filter((word) => {
    const [, name, value] = /^([\w-]+):(.+)$/.exec(word) ?? [];
    const option = (command.options ?? []).find((candidate) => candidate.name === name);
    if (!option || option.name === "prompt") return true;
    options[name] = convert(option, value);
    return false;
  });
  const prompt = words.join("").trim();
  if ((command.options ?? []).some((option) => option.name === "prompt") && (prompt || required(command, "prompt"))) options.prompt = prompt;
  if (required(command, "prompt") && !prompt) return `/${command.name} needs a prompt.`;
  return { command: command.name, options };
}

function required(command, name) {
  return (command.options ?? []).some((option) => option.name === name && option.required);
}

function convert(option, text) {
  if (option.type === 4) return Number.parseInt(text, 10);
  if (option.type === 10) return Number.parseFloat(text);
  if (option.type === 5) return text === "true";
  return option.choices?.find((choice) => choice.name === text)?.value ?? text;
}

function complain(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

function hint() {
  const text = $("text").value;
  const box = $("hints");
  const typing = /^\/([\w-]*)$/.exec(text);
  const command = state.commands.find((candidate) => text.startsWith(`/${candidate.name} `));
  let rows = [];
  if (typing) rows = state.commands.filter((c) => c.name.startsWith(typing[1])).map((c) => row(`/${c.name}`, c.description, `/${c.name} `));
  else if (command && /\s$/.test(text)) {
    rows = (command.options ?? []).filter((o) => o.name !== "prompt" && !text.includes(`${o.name}:`))
      .map((o) => o.type === 11 ? row(o.name, o.description, null, () => pick(o.name)) : row(`${o.name}:`, o.description, `${text}${o.name}:`));
  }
  box.replaceChildren(...rows);
  box.hidden = rows.length === 0;
}

function row(name, description, completed, action) {
  const button = el("button", { type: "button", role: "option" }, el("b", {}, name), el("span", {}, description ?? ""));
  button.onclick = action ?? (() => { $("text").value = completed; $("text").focus(); hint(); });
  return button;
}

function pick(option) {
  $("file").dataset.option = option;
  $("file").click();
}

$("attach").onclick = () => {
  const command = state.commands.find((c) => (c.options ?? []).some((o) => o.type === 11));
  const option = command?.options.find((o) => o.type === 11);
  if (option) pick(option.name); else complain("No command of the bot takes an image.");
};
$("file").onchange = () => {
  const [file] = $("file").files;
  if (file) state.files[$("file").dataset.option] = file;
  $("file").value = "";
  paintFiles();
  $("text").focus();
};

function paintFiles() {
  const rows = Object.entries(state.files).map(([option, file]) => {
    const remove = el("button", { type: "button", ariaLabel: `Remove ${file.name}` }, "remove");
    remove.onclick = () => { delete state.files[option]; paintFiles(); };
    return el("div", {}, `${option}: ${file.name} `, remove);
  });
  $("files").replaceChildren(...rows);
  $("files").hidden = rows.length === 0;
}

$("text").oninput = hint;
$("text").onkeydown = (event) => {
  const first = $("hints").querySelector("button");
  if (event.key === "Tab" && first && !$("hints").hidden) { event.preventDefault(); first.click(); }
  if (event.key === "Escape") $("hints").hidden = true;
};
$("user").onchange = () => {
  localStorage.setItem("user", $("user").value);
  paintMe();
  feedAgain();
};

async function feedAgain() {
  const answer = await fetch("/sandbox/state");
  snapshot(await answer.json());
}

function paintMe() {
  const name = state.users[$("user").value] ?? "?";
  $("me-avatar").textContent = name[0];
  $("me-avatar").style.background = colour(name);
}

function avatar(name, fixed) {
  const node = el("span", { className: "avatar", ariaHidden: "true" }, name[0]);
  node.style.background = fixed ?? colour(name);
  return node;
}

function colour(name) {
  return COLOURS[[...name].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % COLOURS.length];
}

function time(message) {
  const epoch = message.history[0]?.epoch;
  return (epoch ? new Date(epoch * 1000) : new Date()).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

function el(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
