// Commands: what they do in words, the dialog that asks, and the request with the secret in a header.
// The secret stays in this module's memory: a reload of the page forgets it.

import { setText } from "./dom.js";
import { visible } from "./format.js";

const $ = (id) => document.getElementById(id);

/** What a command is called, what will happen, and whether it may do harm. */
function describe(action) {
  const what = action.database == null ? "all databases" : `database ${visible(action.database)}`;
  const texts = {
    pause: [
      "Pause",
      `Clients of ${what} get no server any more once their transaction has ended: they wait until` +
        " RESUME. When the last transaction has ended, the server connections are closed.",
    ],
    resume: ["Resume", `Clients of ${what} that wait because of PAUSE get servers again.`],
    reconnect: [
      "Reconnect",
      `Each server connection of ${what} is closed once it is free, and made anew. Clients` +
        " notice nothing.",
    ],
    reload: [
      "Reload",
      "The configuration files are read again. Where they have an error, nothing changes.",
    ],
    kill_client: [
      "Kill client",
      `The connection of ${action.told ?? "this client"} is closed; its open transaction is` +
        " rolled back.",
    ],
  };
  return texts[action.action];
}

const SQL = { pause: "PAUSE", resume: "RESUME", reconnect: "RECONNECT", reload: "RELOAD" };

function sqlOf(action) {
  if (action.action === "kill_client") return `KILL_CLIENT ${action.client_id}`;
  if (action.database == null) return SQL[action.action];
  const name = visible(action.database);
  const word = /^[0-9A-Za-z_]+$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
  return `${SQL[action.action]} ${word}`;
}

export class Actions {
  #ways = [];
  #secret = null; // the value of the Authorization header
  #asked = null;

  constructor() {
    $("confirm-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    $("confirm-cancel").addEventListener("click", () => $("confirm").close());
    $("confirm").addEventListener("close", () => {
      $("confirm-secret").value = "";
    });
  }

  /** Which ways to prove who one is there are: "token", "password"; none: no buttons. */
  set ways(ways) {
    this.#ways = ways;
  }

  get areOn() {
    return this.#ways.length > 0;
  }

  /** Opens the dialog: {action, database?, client_id?, told?}. */
  ask(action) {
    const [name, effect] = describe(action);
    this.#asked = action;
    setText($("confirm-title"), `${name}?`);
    setText($("confirm-effect"), effect);
    setText($("confirm-sql"), sqlOf(action));
    setText($("confirm-do"), name);
    $("confirm-do").disabled = false;
    $("confirm-do").hidden = false;
    setText($("confirm-cancel"), "Cancel");
    setText($("confirm-outcome"), "");
    this.#askWho(this.#secret === null);
    $("confirm").showModal();
    (this.#secret === null ? this.#firstField() : $("confirm-cancel")).focus();
  }

  #firstField() {
    return this.#ways.includes("password") ? $("confirm-user") : $("confirm-secret");
  }

  #askWho(isAsked) {
    const hasBoth = this.#ways.length > 1;
    const hasPassword = this.#ways.includes("password");
    $("confirm-who").hidden = !isAsked;
    $("confirm-user-label").hidden = !hasPassword;
    $("confirm-secret").required = isAsked;
    const secret = hasBoth ? "Password, or token" : hasPassword ? "Password" : "Token";
    setText($("confirm-secret-name"), secret);
    setText(
      $("confirm-hint"),
      hasBoth
        ? "One of admin_users and the password; or no user, and the token."
        : hasPassword
          ? "One of the console's admin_users."
          : "What the token file holds.",
    );
  }

  #header() {
    const secret = $("confirm-secret").value;
    const user = $("confirm-user").value;
    const isToken = !this.#ways.includes("password") || (this.#ways.includes("token") && !user);
    if (isToken) return `Bearer ${secret.trim()}`;
    const bytes = new TextEncoder().encode(`${user}:${secret}`);
    return `Basic ${btoa(String.fromCharCode(...bytes))}`;
  }

  async #send() {
    const header = this.#secret ?? this.#header();
    const { action, database, client_id } = this.#asked;
    $("confirm-do").disabled = true;
    setText($("confirm-outcome"), "…");
    const [isDone, text, isRefused] = await post(header, { action, database, client_id });
    $("confirm-do").disabled = false;
    if (isRefused) {
      this.#secret = null;
      this.#askWho(true);
      $("confirm-secret").value = "";
      this.#firstField().focus();
    } else {
      this.#secret = header;
      this.#askWho(false);
    }
    setText($("confirm-outcome"), text);
    if (isDone) {
      $("confirm-do").hidden = true;
      setText($("confirm-cancel"), "Close");
      $("confirm-cancel").focus();
    }
  }
}

/** [whether it was done, what to say, whether the secret was refused] */
async function post(header, action) {
  let response;
  try {
    response = await fetch("api/actions", {
      method: "POST",
      headers: { Authorization: header, "Content-Type": "application/json" },
      body: JSON.stringify(action),
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
  } catch {
    return [false, "No answer: whether it was done isn't known.", false];
  }
  const body = await response.json().catch(() => ({}));
  const text = visible(String(body.message ?? `HTTP status ${response.status}`));
  return [response.ok, text, response.status === 401];
}
