// The few things that the page does to its document. All text goes in by textContent.

/** An element with attributes and children; a child is an element or a text. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Writes a text where it isn't so already. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Writes an attribute where it isn't so already; null takes it away. */
export function setAttribute(element, name, value) {
  if (value == null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

const FEW = 10; // rows that are shown without being asked for
const beyondFew = (items) => items.map((_, index) => index >= FEW);

/**
 * A table that is filled again and again. `columns`: {title, of(row) → text or element, hint?,
 * class?}; a cell's element is made once and updated by `column.update(element, row)`.
 * A row stays the same element for as long as its key is there, so focus and selection stay too.
 * Rows for which `extras(items)` has true are shown after a press of the button below.
 */
export class Table {
  #columns;
  #key;
  #extras;
  #rows = new Map();
  #table;
  #body;
  #more;
  #count = 0;

  constructor(table, columns, key, extras = beyondFew) {
    this.#table = table;
    this.#columns = columns;
    this.#key = key;
    this.#extras = extras;
    this.#more = el("button", { type: "button", class: "more", "aria-controls": table.id });
    this.#more.onclick = () => {
      table.classList.toggle("all");
      this.#showMore();
    };
    table.after(this.#more);
    const head = el("tr");
    for (const column of columns) {
      const attributes = { scope: "col", class: column.class, title: column.hint };
      head.append(el("th", attributes, column.title));
    }
    this.#body = el("tbody");
    table.replaceChildren(el("thead", {}, head), this.#body);
  }

  /** Shows these rows. While somebody points into the table, rows keep their places. */
  show(items) {
    const shown = new Map();
    const extras = this.#extras(items);
    items.forEach((item, index) => {
      const key = this.#key(item);
      const row = this.#rows.get(key) ?? this.#make();
      this.#update(row, item);
      row.element.classList.toggle("extra", extras[index]);
      shown.set(key, row);
    });
    this.#more.hidden = !extras.includes(true);
    this.#count = items.length;
    this.#showMore();
    for (const [key, row] of this.#rows) if (!shown.has(key)) row.element.remove();
    const isHeld = this.#body.matches(":hover, :focus-within");
    let at = 0;
    for (const row of shown.values()) {
      const present = this.#body.children[at];
      if (present !== row.element && !(isHeld && row.element.isConnected)) {
        this.#body.insertBefore(row.element, isHeld ? null : (present ?? null));
      }
      at += 1;
    }
    this.#rows = shown;
  }

  #showMore() {
    const isAll = this.#table.classList.contains("all");
    setText(this.#more, isAll ? "Show fewer" : `Show all ${this.#count}`);
    setAttribute(this.#more, "aria-expanded", String(isAll));
  }

  #make() {
    const element = el("tr");
    const cells = this.#columns.map((column) => {
      const isHeader = column.header === true;
      const cell = el(isHeader ? "th" : "td", {
        scope: isHeader ? "row" : null,
        class: column.class,
        "data-label": column.label ?? column.title,
      });
      if (column.make) cell.append(column.make());
      element.append(cell);
      return cell;
    });
    return { element, cells };
  }

  #update(row, item) {
    this.#columns.forEach((column, index) => {
      const cell = row.cells[index];
      if (column.update) column.update(cell.firstElementChild, item, cell);
      else setText(cell, column.of(item));
      if (column.mark) cell.classList.toggle("marked", column.mark(item));
    });
  }
}
