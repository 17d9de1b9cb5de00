// The page: what comes in from the stream goes to the charts, the tables and the words around them.

import { Actions } from "./actions.js";
import { Charts } from "./charts.js";
import { el, setText, Table } from "./dom.js";
import { bytes, count, duration, rate, visible } from "./format.js";
import { Live } from "./live.js";
import {
  appColumns,
  errorColumns,
  errorKey,
  extraWaiters,
  hostColumns,
  poolColumns,
  poolKey,
  waiterColumns,
  waiterKey,
} from "./tables.js";

const $ = (id) => document.getElementById(id);
const FILTER_DELAY = 250; // ms after the last key

const actions = new Actions();
const charts = new Charts($("chart-rate"), $("chart-wait"));
let asked = { filter: "", database: null, user: null };
let product = "pgmux"; // or PgBouncer

// ---- the stream

const live = new Live({ history: (data) => charts.replace(data), sample: show, state: showState });

function join(change) {
  asked = { ...asked, ...change };
  live.ask(asked);
  const isOne = asked.database != null;
  const name = isOne ? `pool ${visible(asked.database)} / ${visible(asked.user)}` : "all pools";
  setText($("charts-of"), name);
  $("charts-all").hidden = !isOne;
}

function showState(state, age) {
  const seconds = age == null ? "" : `${Math.round(age)} s ago`;
  const texts = {
    live: `live, ${seconds}`,
    stale: `stale: last sample ${seconds}`,
    away: age == null ? "no answer yet; trying again" : `no connection, last sample ${seconds}`,
  };
  setText($("freshness"), texts[state]);
  document.body.classList.toggle("stale", state !== "live");
  if (state === "away") setCondition("no connection", "bad");
}

// ---- one sample

function show(sample) {
  actions.ways = sample.actions;
  if (sample.gone != null) {
    setCondition("console gone", "bad");
    showTrouble(`The console doesn't answer; it is asked again and again: ${visible(sample.gone)}`);
    document.body.classList.add("gone");
    return;
  }
  document.body.classList.remove("gone");
  showTrouble(sample.condition.trouble.map(visible).join(" "));
  setCondition(visible(sample.condition.text), sample.condition.kind);
  showHead(sample);
  showTotals(sample);
  showPools(sample.pools);
  showApps(sample.apps);
  showWaiters(sample.waiters);
  showErrors(sample.errors);
  showHosts(sample.hosts);
  showFoot(sample);
  if (sample.point) charts.append(sample.point);
}

function setCondition(text, kind) {
  setText($("condition"), text);
  $("condition").className = `chip ${kind}`;
}

function showTrouble(text) {
  setText($("trouble"), text);
  $("trouble").hidden = text === "";
}

function showHead({ version, place, is_pgmux }) {
  product = is_pgmux ? "pgmux" : "PgBouncer";
  setText($("name"), product);
  const told = [version.replace(`${product} `, ""), place];
  setText($("version"), told.filter(Boolean).map(visible).join(" · "));
  document.title = `${product} ${visible(place || location.host)}`;
  setText($("wait-note"), is_pgmux ? "(p99 dashed, p50)" : "(PgBouncer tells the mean alone)");
  charts.hasQuantiles = is_pgmux;
}

function showTotals({ totals, errors, is_pgmux }) {
  const told = [
    ["Transactions/s", rate(totals.xacts)],
    ["Queries/s", rate(totals.queries)],
    is_pgmux
      ? ["Wait p50 · p99", `${duration(totals.wait_p50)} · ${duration(totals.wait_p99)}`]
      : ["Wait, mean", duration(totals.wait_mean)],
    ["Clients waiting", count(totals.cl_waiting), totals.cl_waiting > 0],
    ["Clients", count(totals.cl_active + totals.cl_waiting)],
    ["Servers active · idle", `${count(totals.sv_active)} · ${count(totals.sv_idle)}`],
    ["In · out, per s", `${bytes(totals.received)} · ${bytes(totals.sent)}`],
  ];
  if (errors) told.push(["Errors, 5 min", count(errors.lately), errors.lately > 0]);
  const list = $("totals");
  while (list.children.length > told.length) list.lastElementChild.remove();
  told.forEach(([name, value, isMarked], index) => {
    const item = list.children[index] ?? list.appendChild(el("div", {}, el("dt"), el("dd")));
    setText(item.children[0], name);
    setText(item.children[1], value);
    item.classList.toggle("marked", Boolean(isMarked));
  });
}

// ---- the tables

const toPool = (row) => join({ database: row.database, user: row.user });
const tables = {
  pools: new Table($("pools"), poolColumns(toPool, poolMenu, () => actions.areOn), poolKey),
  apps: new Table($("apps"), appColumns(), (row) => poolKey(row) + row.application_name),
  waiters: new Table($("waiters"), waiterColumns(kill, canKill), waiterKey, extraWaiters),
  errors: new Table($("errors"), errorColumns(), errorKey),
  hosts: new Table($("hosts"), hostColumns(), (row) => JSON.stringify([row.host, row.port])),
};

/** The rows, or none of a table and a word why. */
function fill(name, part, absent, none, note) {
  const rows = part?.rows ?? [];
  $(name).hidden = rows.length === 0;
  tables[name].show(rows);
  setText($(`${name}-note`), part == null ? absent : rows.length === 0 ? none : note(part));
}

function showPools({ rows, matching, all }) {
  tables.pools.show(rows);
  const shown = `the first ${count(rows.length)}, waiting and busy ones first`;
  const found = asked.filter === "" ? count(all) : `${count(matching)} of ${count(all)}`;
  setText($("pools-count"), rows.length < matching ? `${found}: ${shown}` : found);
}

const firstOf = (part) => (part.rows.length < part.all ? `, the first ${part.rows.length}` : "");

function showApps(apps) {
  const note = (part) =>
    `${count(part.all)}, by server time held over the last ${part.seconds} s${firstOf(part)}`;
  fill("apps", apps, `${product} tells no applications.`, "None yet.", note);
}

function showWaiters(waiters) {
  const note = (part) =>
    `${count(part.waiting)} wait, ${count(part.holding)} hold a server${firstOf(part)}`;
  fill("waiters", waiters, `${product} doesn't tell who holds what.`, "Nobody waits.", note);
}

function showErrors(errors) {
  const note = (part) => `${count(part.lately)} in the last 5 minutes${firstOf(part)}`;
  fill("errors", errors, `${product} counts no errors.`, "None since the start.", note);
}

function showHosts(hosts) {
  fill("hosts", hosts, `${product} doesn't tell max_connections.`, "None yet.", () => "");
}

// ---- words and commands

function showFoot({ readiness, action_hint }) {
  setText($("readiness"), readiness == null ? `${product} tells no readiness.` : visible(readiness));
  setText($("actions-note"), actions.areOn ? "" : action_hint);
  const commands = $("commands");
  if (!actions.areOn) commands.replaceChildren();
  else if (!commands.hasChildNodes()) {
    const press = el("button", { type: "button", "aria-haspopup": "menu" }, "Commands …");
    press.onclick = () => openMenu(press, ["reload", "pause", "resume", "reconnect"], {});
    commands.append(press);
  }
}

function poolMenu(row) {
  const { database } = row;
  const press = document.activeElement;
  openMenu(press, row.paused ? ["resume", "reconnect"] : ["pause", "reconnect"], { database });
}

let closeMenu = () => {};

/** A menu under a button: arrows move, Escape leaves. */
function openMenu(press, names, target) {
  closeMenu();
  const menu = el("div", { class: "menu", role: "menu" });
  closeMenu = (isBack = false) => {
    closeMenu = () => {}; // the removal takes the focus out, which asks for it again
    menu.remove();
    if (isBack) press.focus();
  };
  for (const name of names) {
    const label = `${name.toUpperCase()}${target.database == null && name !== "reload" ? ", all databases" : ""} …`;
    const item = el("button", { type: "button", role: "menuitem" }, label);
    item.onclick = () => {
      closeMenu(true);
      actions.ask({ action: name, ...target });
    };
    menu.append(item);
  }
  menu.onkeydown = (event) => {
    const items = [...menu.children];
    const at = items.indexOf(document.activeElement);
    if (event.key === "Escape") closeMenu(true);
    else if (event.key === "ArrowDown") items[(at + 1) % items.length].focus();
    else if (event.key === "ArrowUp") items.at(at - 1).focus();
    else return;
    event.preventDefault();
  };
  menu.addEventListener("focusout", (event) => {
    if (!menu.contains(event.relatedTarget)) closeMenu();
  });
  const where = press.getBoundingClientRect();
  document.body.append(menu);
  const left = Math.min(where.left, innerWidth - menu.offsetWidth - 8);
  menu.style.left = `${Math.max(8, left) + scrollX}px`;
  menu.style.top = `${where.bottom + 2 + scrollY}px`;
  menu.firstElementChild.focus();
}

function canKill(row) {
  return actions.areOn && row.client_id != null;
}

function kill(row) {
  const name = row.application_name ? `${visible(row.application_name)}, ` : "";
  const told = `client ${row.client_id} (${name}user ${visible(row.user)})`;
  actions.ask({ action: "kill_client", client_id: row.client_id, told });
}

let typing = 0;
$("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => join({ filter: $("filter").value.trim() }), FILTER_DELAY);
});
$("charts-all").addEventListener("click", () => join({ database: null, user: null }));
$("theme").addEventListener("click", () => window.switchTheme());

join({});
