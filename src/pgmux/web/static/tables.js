// The tables of the page: which columns they have, and what a cell says.

import { makePoolBar, makeShareBar, updatePoolBar, updateShareBar } from "./bars.js";
import { el, setAttribute, setText } from "./dom.js";
import { count, duration, NOTHING, percent, place, rate, visible } from "./format.js";

const number = (title, of, more = {}) => ({ title, of, class: "number", ...more });

/** A name above, and in smaller letters what it belongs to. */
const named = (title, main, under, more = {}) => ({
  title,
  header: true,
  class: "name",
  make: () => el("span", {}, el("b"), " ", el("small")),
  update: (cell, row) => {
    setText(cell.children[0], main(row));
    setText(cell.children[1], under(row));
    setAttribute(cell, "title", `${main(row)} ${under(row)}`.trim());
  },
  ...more,
});

/** A button that does `act(row)`; it is there for rows of which `has(row)` is true. */
const button = (text, label, act, has) => ({
  title: "",
  label: "",
  class: "act",
  make: () => el("span"),
  update: (cell, row) => {
    if (!has(row)) return cell.replaceChildren();
    const present = cell.firstElementChild ?? cell.appendChild(el("button", { type: "button" }));
    setText(present, text);
    setAttribute(present, "aria-label", label(row));
    present.onclick = () => act(row);
  },
});

export const poolKey = (row) => JSON.stringify([row.database, row.user]);
const poolName = (row) => `${visible(row.database)} / ${visible(row.user)}`;

/** `onPool(row)`: its charts are wanted; `onAct(row, button)`: what can be done with it. */
export function poolColumns(onPool, onAct, canAct) {
  return [
    {
      title: "Pool",
      header: true,
      class: "name",
      hint: "database / user; a press shows its charts",
      make: () => el("button", { type: "button", class: "link" }, el("b"), " ", el("small")),
      update: (cell, row) => {
        setText(cell.children[0], visible(row.database));
        setText(cell.children[1], `${visible(row.user)} · ${poolState(row)}`);
        cell.children[1].classList.toggle("marked", Boolean(row.paused || row.disabled));
        setAttribute(cell, "aria-label", `Charts of pool ${poolName(row)}`);
        setAttribute(cell, "title", poolName(row));
        cell.onclick = () => onPool(row);
      },
    },
    {
      title: "Servers of limit, clients waiting",
      class: "bars",
      make: makePoolBar,
      update: (bar, row) =>
        updatePoolBar(bar, {
          active: row.sv_active,
          idle: row.sv_idle,
          other: row.sv_other,
          limit: row.limit,
          waiting: row.cl_waiting,
        }),
    },
    number("Active", (row) => count(row.sv_active), { hint: "servers at work for a client" }),
    number("Idle", (row) => count(row.sv_idle), { hint: "servers that nobody uses" }),
    number("Limit", (row) => (row.limit == null ? "none" : count(row.limit)), {
      hint: "pool_size",
    }),
    number("Clients", (row) => count(row.cl_active), { hint: "clients that don't wait" }),
    number("Waiting", (row) => count(row.cl_waiting), {
      hint: "clients that wait for a server",
      mark: (row) => row.cl_waiting > 0,
    }),
    number("Longest", (row) => duration(row.maxwait), {
      hint: "how long the first in the queue has waited",
      mark: (row) => row.maxwait > 1_000_000,
    }),
    number("Wait p99", (row) => duration(row.wait_p99), { hint: "of the last 10 s" }),
    number("Xact/s", (row) => rate(row.xacts), { hint: "transactions per second" }),
    button("⋯", (row) => `Commands for ${poolName(row)}`, onAct, canAct),
  ];
}

function poolState(row) {
  if (row.disabled) return "disabled";
  return row.paused ? "paused" : (row.mode ?? "");
}

export function appColumns() {
  return [
    named(
      "Application",
      (row) => (row.application_name === "" ? "(no name)" : visible(row.application_name)),
      (row) => poolName(row),
    ),
    {
      title: "Servers held",
      class: "bars short",
      hint: "servers held on average over the last minute",
      make: () => el("span", { class: "with-number" }, makeShareBar(), el("span")),
      update: (cell, row) => {
        updateShareBar(cell.children[0], row.share, "active");
        setText(cell.children[1], rate(row.held));
      },
    },
    number("Idle in xact", (row) => percent(row.idle_share), {
      hint: "of the time that it held servers, the part idle in a transaction",
      mark: (row) => row.idle_share > 0.5 && row.held >= 0.1,
    }),
    number("Waits caused", (row) => rate(row.caused), {
      hint: "clients that waited on average while it held the servers, its share",
      mark: (row) => row.caused >= 1,
    }),
    number("Waits", (row) => rate(row.waited), {
      hint: "clients of its own that waited on average",
    }),
    number("Clients", (row) => count(row.clients)),
    number("Xact/s", (row) => rate(row.xacts)),
    number("Open xact", (row) => duration(row.open_xact), {
      hint: "age of its oldest open transaction",
    }),
    number("Longest", (row) => duration(row.max_xact), {
      hint: "its longest transaction since the start",
    }),
    number("Errors", (row) => count(row.errors), { hint: "since the start" }),
  ];
}

const FEW_OF_A_ROLE = 4;
const FEW_WAITERS = 16;

/** Of each pool the first who wait and the first who hold its servers are not extras. */
export function extraWaiters(rows) {
  const counts = new Map();
  let shown = 0;
  return rows.map((row) => {
    const key = JSON.stringify([row.database, row.user, row.role]);
    const count = counts.get(key) ?? 0;
    counts.set(key, count + 1);
    const isExtra = count >= FEW_OF_A_ROLE || shown >= FEW_WAITERS;
    if (!isExtra) shown += 1;
    return isExtra;
  });
}

export const waiterKey = (row) => JSON.stringify([row.role, row.client_id, row.addr, row.port]);

export function waiterColumns(onKill, canKill) {
  return [
    {
      title: "",
      class: "role",
      label: "",
      of: (row) => (row.role === "waiting" ? "waits" : "holds"),
      mark: (row) => row.role === "waiting",
    },
    named(
      "Application",
      (row) => (row.application_name ? visible(row.application_name) : "(no name)"),
      (row) => poolName(row),
    ),
    number("For", (row) => duration(row.duration)),
    { title: "Why", of: (row) => visible(row.state) },
    { title: "Client", class: "place", of: (row) => place(row.addr, row.port) },
    number("Backend", (row) => (row.server_pid == null ? NOTHING : String(row.server_pid)), {
      hint: "process id of its PostgreSQL backend",
    }),
    button("Kill", (row) => `Kill client ${row.client_id}`, onKill, canKill),
  ];
}

export const errorKey = (row) => JSON.stringify([row.database, row.source, row.sqlstate, row.error]);

export function errorColumns() {
  return [
    named("Error", (row) => visible(row.error), (row) => errorOrigin(row)),
    number("5 min", (row) => count(row.lately), { mark: (row) => row.lately > 0 }),
    number("Since start", (row) => count(row.count)),
    number("Last", (row) => timeOfDay(row.last)),
  ];
}

/** Of `2026-11-20 22:04:09 UTC` the middle. */
function timeOfDay(text) {
  return /\d\d:\d\d:\d\d/.exec(text ?? "")?.[0] ?? NOTHING;
}

function errorOrigin(row) {
  const who = row.source === "server" ? "PostgreSQL" : "the pooler";
  return `${[row.sqlstate, row.database].filter(Boolean).map(visible).join(" · ")} · ${who}`;
}

export function hostColumns() {
  return [
    named("Server", (row) => place(row.host, row.port), () => ""),
    {
      title: "Ours of what it has",
      class: "bars short",
      make: makeShareBar,
      update: (bar, row) => {
        const share = row.usable ? row.connections / row.usable : null;
        updateShareBar(bar, share, share > 0.9 ? "waiting" : "active");
      },
    },
    number("Ours", (row) => count(row.connections)),
    number("For us", (row) => count(row.usable), {
      hint: "max_connections without what is reserved for superusers",
    }),
    number("max_connections", (row) => count(row.max_connections), { label: "of" }),
  ];
}
