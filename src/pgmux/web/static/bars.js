// Bars: servers against the limit up to the tick, behind it the queue of waiting clients.

import { el, setAttribute } from "./dom.js";
import { count } from "./format.js";

const PARTS = ["active", "idle", "other"];

/** An empty bar of a pool. */
export function makePoolBar() {
  const parts = PARTS.map((name) => el("i", { class: name }));
  const servers = el("span", { class: "servers" }, ...parts);
  const queue = el("span", { class: "queue" }, el("i", { class: "waiting" }));
  return el("span", { class: "bar", role: "img" }, servers, queue);
}

/** Fills it: numbers of servers by state, the limit or null, and clients that wait. */
export function updatePoolBar(bar, { active, idle, other, limit, waiting }) {
  const [servers, queue] = bar.children;
  const whole = Math.max(limit ?? 0, active + idle + other, 1);
  [active, idle, other].forEach((value, index) => {
    width(servers.children[index], (100 * value) / whole);
  });
  // Half of the queue's room at as many as there are servers to wait for; never quite full.
  width(queue.firstElementChild, waiting ? Math.max(8, (100 * waiting) / (waiting + whole)) : 0);
  const of = limit == null ? "servers, no limit" : `of ${count(limit)} servers`;
  const told = [`${count(active)} active`, `${count(idle)} idle`];
  if (other) told.push(`${count(other)} in login or test`);
  setAttribute(bar, "aria-label", `${told.join(", ")} ${of}; ${count(waiting)} clients wait`);
}

/** A bar with one part, a share of 1, and perhaps a tick where more would be too much. */
export function makeShareBar() {
  return el("span", { class: "bar share" }, el("span", { class: "servers" }, el("i")));
}

export function updateShareBar(bar, share, kind) {
  const part = bar.firstElementChild.firstElementChild;
  setAttribute(part, "class", kind);
  width(part, 100 * Math.min(1, share ?? 0));
}

function width(element, percent) {
  const text = `${Math.min(100, percent).toFixed(1)}%`;
  if (element.style.width !== text) element.style.width = text;
}

