// One key for each thing an operator does. Help is in the dialog behind "?".

const ROWS = "#alerts > .alert-row, tr.row";
const GO_MS = 1500; // how long "g" waits for the letter of a section

const focusedRow = () => document.activeElement?.closest(ROWS);

function move(step) {
  const rows = [...document.querySelectorAll(ROWS)];
  if (rows.length === 0) {
    // An alert's page: the neighbours in the list that it was opened from.
    const link = document.getElementById(step > 0 ? "next-alert" : "previous-alert");
    if (link && !link.hidden) link.click();
    return;
  }
  const at = rows.indexOf(focusedRow());
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step;
  const row = rows[Math.max(0, Math.min(rows.length - 1, next))];
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function press(key) {
  const scope = focusedRow() ?? document.getElementById("state");
  const button = scope?.querySelector(`[data-key="${key}"]`);
  if (button && !button.closest("[hidden]")) button.click();
}

function resolve() {
  const note = document.getElementById("note");
  if (note) note.focus();
  else {
    const link = focusedRow()?.querySelector(".title a");
    if (link) location.assign(`${link.href}#note`);
  }
}

function search() {
  const field = document.getElementById("f-entity") ?? document.querySelector("[type=search]");
  if (field) field.focus();
  else location.assign("/#f-entity");
}

function help() {
  const sections = [...document.querySelectorAll("#nav [data-go]")].map((link) => {
    const key = document.createElement("kbd");
    key.textContent = link.dataset.go;
    return [key, ` ${link.firstChild.textContent.trim()}  `];
  });
  document.getElementById("go-keys").replaceChildren(...sections.flat());
  document.getElementById("help").showModal();
}

let goUntil = 0;

const ACTIONS = {
  j: () => move(1),
  k: () => move(-1),
  a: () => press("a"),
  m: () => press("m"),
  x: () => press("x"),
  r: resolve,
  n: () => document.getElementById("held")?.click(),
  u: () => document.getElementById("back")?.click(),
  g: () => {
    goUntil = Date.now() + GO_MS;
  },
  "/": search,
  "?": help,
};

function go(key) {
  const link = [...document.querySelectorAll("#nav [data-go]")].find((a) => a.dataset.go === key);
  link?.click();
  return Boolean(link);
}

function actionOf(key) {
  if (Date.now() < goUntil) {
    goUntil = 0;
    return () => go(key);
  }
  if (/^[1-9]$/.test(key)) {
    return () => document.querySelectorAll("#views a")[Number(key) - 1]?.click();
  }
  return ACTIONS[key];
}

export function startKeys() {
  document.getElementById("help-button").addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    const target = event.target;
    if (target.matches("input:not([type=checkbox]), textarea, select")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (event.key === "Enter" && target.matches(ROWS)) {
      (target.querySelector(".title a") ?? target.querySelector("a"))?.click();
      return;
    }
    const action = actionOf(event.key);
    if (!action) return;
    event.preventDefault();
    action();
  });
  document.querySelector("#nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
  // A link may lead straight to a field: #note, #f-entity.
  if (location.hash === "#note" || location.hash === "#f-entity") {
    document.getElementById(location.hash.slice(1))?.focus();
  }
}
