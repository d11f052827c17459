// One key for each thing an operator does. Help is in the dialog behind "?".

const focusedRow = () => document.activeElement?.closest(".alert-row");

function move(step) {
  const rows = [...document.querySelectorAll("#alerts > .alert-row")];
  if (rows.length === 0) return;
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
  const field = document.getElementById("f-entity");
  if (field) field.focus();
  else location.assign("/#f-entity");
}

const ACTIONS = {
  j: () => move(1),
  k: () => move(-1),
  a: () => press("a"),
  m: () => press("m"),
  r: resolve,
  n: () => document.getElementById("held")?.click(),
  u: () => document.getElementById("back")?.click(),
  "/": search,
  "?": () => document.getElementById("help").showModal(),
};

export function startKeys() {
  document.getElementById("help-button").addEventListener("click", ACTIONS["?"]);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    const target = event.target;
    if (target.matches("input:not([type=checkbox]), textarea, select")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (event.key === "Enter" && target.matches(".alert-row")) {
      target.querySelector(".title a").click();
      return;
    }
    const action = ACTIONS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  // A link may lead straight to a field: #note, #f-entity.
  if (location.hash === "#note" || location.hash === "#f-entity") {
    document.getElementById(location.hash.slice(1))?.focus();
  }
}
