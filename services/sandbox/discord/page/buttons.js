// The buttons under a message, and what becomes of a press.
import { el } from "/page/elements.js";

const STYLES = { 1: "primary", 2: "secondary", 3: "success", 4: "danger" }, LINK = 5;

// `me` presses; the bot's answer comes over the feed, as a message or as an edit of this one.
export function buttons(message, me) {
  const box = el("div", {});
  for (const row of message.components) {
    box.append(el("div", { class: "buttons" }, ...row.components.map((button) => draw(button, message.id, me, box))));
  }
  return box;
}

// Says under a message what went wrong with one of its buttons.
export function complain(box, sentence) {
  box.querySelector(".trouble")?.remove();
  if (sentence) box.append(el("div", { class: "trouble", role: "alert" }, sentence));
}

function draw(button, message, me, box) {
  if (button.style === LINK) return el("a", { href: button.url, target: "_blank", rel: "noopener" }, button.label);
  const node = el("button", { type: "button", class: STYLES[button.style], disabled: Boolean(button.disabled) }, button.label);
  node.addEventListener("click", () => press(node, { user_id: me, message_id: message, custom_id: button.custom_id }, box));
  return node;
}

async function press(node, body, box) {
  complain(box, "");
  node.disabled = true;
  try {
    const answer = await fetch("/sandbox/presses", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (!answer.ok) complain(box, (await answer.json()).message);
  } catch {
    complain(box, "The loopback Discord is not running.");
  } finally {
    node.disabled = false;
  }
}
