// The page of the loopback Discord: state from one live feed of server-sent events, drawn into one channel.
import * as channel from "/page/channel.js";
import { complain, fill, setPlace } from "/page/composer.js";
import { avatar, byId, colourOf, el, paintAvatar } from "/page/elements.js";

const LATEST = 200; // messages that are shown
const EXAMPLES = ["/serve a lighthouse at dusk --ar 16:9", "/serve a fox in fresh snow, soft morning light", "/serve-help"];

const names = new Map(); // user and channel ids -> names
const state = { guilds: [], users: [], guild: "", user: "", connected: new Set(), messages: new Map(), pending: new Map(), unread: new Set() };

const feed = new EventSource(`/sandbox/events?limit=${LATEST}`);
feed.onmessage = (event) => hear(JSON.parse(event.data));
feed.onerror = () => paintStatus("The loopback Discord is not running; trying again…");

function hear(news) {
  const handlers = {
    snapshot: () => start(news),
    status: () => { state.connected = new Set(news.connected); paintStatus(); },
    commands: () => learn(news.commands),
    message: () => arrive(news.message),
    interaction: () => follow(news.interaction),
    deleted: () => { state.messages.delete(news.id); channel.remove(news.id); },
  };
  handlers[news.kind]?.();
}

function start(news) {
  Object.assign(state, { guilds: news.guilds, users: news.users, connected: new Set(news.connected) });
  state.messages = new Map(news.messages.map((message) => [message.id, message]));
  state.pending = new Map(news.interactions.filter((interaction) => !interaction.pressed).map((interaction) => [interaction.id, interaction]));
  for (const user of news.users) names.set(user.id, user.name);
  for (const guild of news.guilds) names.set(guild.channel_id, guild.channel);
  state.user ||= remembered("user", news.users);
  state.guild ||= remembered("guild", news.guilds);
  byId("notice").textContent = news.notice;
  byId("notice").hidden = !news.notice;
  byId("user").replaceChildren(...news.users.map((user) => el("option", { value: user.id, selected: user.id === state.user }, user.name)));
  paintPlace();
}

function remembered(key, list) {
  const kept = localStorage.getItem(key);
  return list.some((entry) => entry.id === kept) ? kept : list[0].id;
}

function here() {
  return state.guilds.find((guild) => guild.id === state.guild);
}

function learn(commands) {
  for (const guild of state.guilds) guild.commands = commands[guild.id] ?? [];
  setPlace({ commands: here().commands });
  paintExamples();
}

function arrive(message) {
  state.messages.set(message.id, message);
  if (state.messages.size > LATEST) {
    const oldest = state.messages.keys().next().value;
    state.messages.delete(oldest);
    channel.remove(oldest);
  }
  if (state.pending.delete(message.interaction_id)) channel.remove(`pending-${message.interaction_id}`);
  draw(message);
  if (message.channel_id !== here().channel_id && !state.unread.has(message.channel_id)) {
    state.unread.add(message.channel_id);
    paintServers();
  }
}

function draw(message) {
  if (message.user_name) names.set(message.user_id, message.user_name);
  if (message.ephemeral && message.user_id !== state.user) return;
  if (message.channel_id === here().channel_id) channel.show(message, state.user, names);
}

// A command on its way, or what nobody answered: its own user sees it, as on Discord.
function follow(interaction) {
  if (interaction.answered) return;
  if (interaction.pressed) {
    if (interaction.failed && interaction.user_id === state.user) channel.unanswered(interaction.pressed);
    return;
  }
  state.pending.set(interaction.id, interaction);
  drawPending(interaction);
}

function drawPending(interaction) {
  const id = `pending-${interaction.id}`;
  if (interaction.user_id !== state.user || interaction.channel_id !== here().channel_id) return;
  channel.remove(id);
  const blank = { attachments: [], embeds: [], components: [], pinged: [], content: "", edited: false, thinking: false, author: "Distillery" };
  const stage = { id, state: interaction.failed ? "failed" : "sending", ephemeral: interaction.failed, mine: true };
  channel.show({ ...blank, ...interaction, ...stage }, state.user, names);
}

function paintPlace() {
  const guild = here();
  for (const id of ["channel-name", "title", "welcome-name"]) byId(id).textContent = guild.channel;
  byId("server-name").textContent = guild.name;
  byId("text").setAttribute("aria-label", `Message #${guild.channel}`);
  document.title = `#${guild.channel} · ${guild.name}`;
  state.unread.delete(guild.channel_id);
  setPlace({ commands: guild.commands, guild: guild.id, user: state.user });
  paintAvatar(byId("me-avatar"), names.get(state.user));
  paintServers();
  paintStatus();
  paintExamples();
  channel.clear();
  state.messages.forEach(draw);
  state.pending.forEach(drawPending);
  channel.toEnd();
}

function paintServers() {
  byId("servers").replaceChildren(...state.guilds.map((guild) => {
    const current = guild.id === state.guild;
    const unread = state.unread.has(guild.channel_id);
    const button = el("button", { type: "button", title: guild.name, "aria-current": current ? "true" : null,
      "aria-label": unread ? `${guild.name}, unread messages` : guild.name }, guild.name.split(" ").map((word) => word[0]).join(""));
    button.addEventListener("click", () => { state.guild = guild.id; localStorage.setItem("guild", guild.id); complain(""); paintPlace(); });
    return el("li", { class: `${current ? "current" : ""} ${unread ? "unread" : ""}` }, button);
  }));
}

function paintStatus(trouble = "") {
  const connected = state.connected.has(state.guild) && !trouble;
  const node = byId("status");
  node.textContent = trouble || (connected ? "Bot online" : "The bot is not connected yet");
  node.classList.toggle("off", !connected);
  byId("text").placeholder = connected ? `Message #${here()?.channel}, or type / for commands` : "Waiting for the bot to connect…";
  paintMembers(connected);
}

function paintMembers(connected) {
  const bot = el("li", { class: connected ? "" : "away" }, avatar("Distillery", { bot: true }), el("span", { class: "name" }, "Distillery"), el("span", { class: "tag" }, "✓ APP"));
  const people = state.users.map((user) => {
    const name = el("span", { class: "name" }, user.name);
    name.style.color = colourOf(user.name);
    return el("li", {}, avatar(user.name), name, user.id === state.user ? el("small", {}, "you") : null);
  });
  byId("members").replaceChildren(bot, ...people);
}

function paintExamples() {
  const known = new Set(here().commands.map((command) => command.name));
  const usable = EXAMPLES.filter((line) => known.has(/^\/(\S+)/.exec(line)[1]));
  byId("try").hidden = !usable.length;
  byId("examples").replaceChildren(...usable.map((line) =>
    el("li", {}, el("button", { type: "button", onclick: () => fill(line) }, line))));
}

byId("user").addEventListener("change", (event) => {
  state.user = event.target.value;
  localStorage.setItem("user", state.user);
  paintPlace();
  byId("text").focus();
});
byId("text").focus();
