// Make elements. Text is always set as text: what a peer calls itself is never read as HTML.
const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children (nodes or texts); `null` and `undefined` are left out. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** A table; `columns` are [title, isNumber], a row is an array of nodes or texts, or a finished <tr>. */
export function table(caption, columns, rows) {
  const cell = (content, index) => el("td", { class: columns[index][1] ? "number" : null }, content);
  return el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {},
      el("thead", {}, el("tr", {}, columns.map(([title, isNumber]) =>
        el("th", { scope: "col", class: isNumber ? "number" : null }, title)))),
      el("tbody", {}, rows.map((row) => (row instanceof Node ? row : el("tr", {}, row.map(cell)))))));
}

/** A peer id that a person can tell from others. */
export const short = (id) => (id.length > 12 ? `${id.slice(-8)}` : id);

export const time = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

export const number = (value, digits = 3) =>
  Number.isInteger(value) ? String(value) : value.toPrecision(digits).replace(/\.?0+$/, "");
