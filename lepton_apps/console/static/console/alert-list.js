// The alert list kept current. It never moves under the operator's hand: while a row has the focus
// or the page is scrolled, new alerts wait behind a button.
import { announceAlert } from "./announcer.js";
import { openFeeds } from "./connection.js";
import { fillRow, makeRow } from "./rows.js";

const MOST_ROWS = 500;
const FRESH_MS = 8000;

export function startAlertList() {
  const root = document.getElementById("feed");
  const list = document.getElementById("alerts");
  const heldButton = document.getElementById("held");
  const older = document.getElementById("older");
  const filters = JSON.parse(root.dataset.liveFilters);
  const operable = JSON.parse(root.dataset.operable);
  const firstPage = root.dataset.firstPage === "true";
  const held = new Map(); // id -> alert that waits behind the button
  const latest = new Map(); // id -> newest body seen of a shown row
  let more = root.dataset.more === "true";

  const rowOf = (id) => document.getElementById(`alert-${id}`);
  const oldestShown = () => Number(list.lastElementChild?.dataset.id ?? 0);
  const busy = () => window.scrollY > 80 || list.contains(document.activeElement);

  function take(type, alert) {
    const row = rowOf(alert.id);
    if (row) {
      if (alert.version > Number(row.dataset.version)) show(row, alert);
    } else if (held.has(alert.id)) {
      if (!matches(alert, filters)) held.delete(alert.id);
      else if (alert.version > held.get(alert.id).version) held.set(alert.id, alert);
      showHeld();
    } else if (firstPage && matches(alert, filters) && !(more && alert.id < oldestShown())) {
      if (type === "alert.opened") announceAlert(alert.severity);
      if (busy()) held.set(alert.id, alert);
      else insert(alert);
      showHeld();
    }
  }

  function show(row, alert) {
    latest.set(alert.id, alert);
    fillRow(row, alert);
    // It stays where it is, dimmed, until the list is loaded again.
    row.classList.toggle("settled", !matches(alert, filters));
  }

  function insert(alert) {
    const row = makeRow(alert, operable);
    let next = list.firstElementChild;
    while (next && Number(next.dataset.id) > alert.id) next = next.nextElementSibling;
    list.insertBefore(row, next);
    window.htmx.process(row);
    row.classList.add("fresh");
    setTimeout(() => row.classList.remove("fresh"), FRESH_MS);
    trim();
    fitEmpty();
  }

  function trim() {
    if (list.childElementCount <= MOST_ROWS) return;
    while (list.childElementCount > MOST_ROWS) {
      latest.delete(Number(list.lastElementChild.dataset.id));
      list.lastElementChild.remove();
    }
    more = true;
    const url = new URL(location.href);
    url.searchParams.set("before", oldestShown());
    older.href = url.search;
    older.hidden = false;
  }

  function fitEmpty() {
    const empty = list.childElementCount === 0;
    document.getElementById("empty").hidden = !empty;
    root.querySelector(".alerts-head").hidden = empty;
  }

  function showHeld() {
    heldButton.hidden = held.size === 0;
    heldButton.textContent = held.size === 1 ? "1 new alert" : `${held.size} new alerts`;
  }

  function release() {
    const alerts = [...held.values()].sort((a, b) => a.id - b.id);
    held.clear();
    for (const alert of alerts) insert(alert);
    showHeld();
    window.scrollTo({ top: 0 });
    list.firstElementChild?.focus({ preventScroll: true });
  }

  // Events cannot tell what was missed: take the page anew and go on from where it was made.
  async function reload() {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) {
      location.reload();
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const focused = document.activeElement?.closest(".alert-row")?.id;
    const fresh = page.getElementById("alerts");
    list.replaceChildren(...document.adoptNode(fresh).children);
    window.htmx.process(list);
    held.clear();
    latest.clear();
    showHeld();
    fitEmpty();
    const made = page.getElementById("feed");
    more = made.dataset.more === "true";
    older.hidden = !more;
    older.href = page.getElementById("older").getAttribute("href");
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    feeds.restart(made.dataset.feeds);
  }

  heldButton.addEventListener("click", release);
  list.addEventListener("focusin", (event) => {
    for (const row of list.querySelectorAll('.alert-row[tabindex="0"]')) row.tabIndex = -1;
    const row = event.target.closest(".alert-row");
    if (row) row.tabIndex = 0;
  });
  document.body.addEventListener("htmx:afterSettle", (event) => {
    const row = event.target.closest?.(".alert-row");
    if (!row) return;
    // The answer of an act may be older than an event that came meanwhile.
    const body = latest.get(Number(row.dataset.id));
    if (body && body.version > Number(row.dataset.version)) show(row, body);
    if (document.activeElement === document.body) row.focus({ preventScroll: true });
  });
  for (const field of document.querySelectorAll("#filters select, #filters [type=checkbox]")) {
    field.addEventListener("change", () => field.form.requestSubmit());
  }

  rememberPlace(list);
  const feeds = openFeeds(root, { event: take, snapshot: reload });
}

// What the server's filters say, for one alert.
function matches(alert, filters) {
  const q = filters.q?.toLowerCase();
  return (
    (!filters.vertical || alert.vertical === filters.vertical) &&
    (filters.statuses.length === 0 || filters.statuses.includes(alert.status)) &&
    (filters.severities.length === 0 || filters.severities.includes(alert.severity)) &&
    (!filters.stream || alert.stream === filters.stream) &&
    (!filters.assigned_to || alert.assigned_to === filters.assigned_to) &&
    (!q || alert.title.toLowerCase().includes(q) || alert.entity_key.toLowerCase().includes(q))
  );
}

// Coming back from an alert leads to the same list and the same row.
function rememberPlace(list) {
  sessionStorage.setItem("lepton-list", location.pathname + location.search);
  window.addEventListener("pagehide", () => {
    const ids = [...list.children].map((row) => Number(row.dataset.id));
    sessionStorage.setItem("lepton-list-ids", JSON.stringify(ids));
  });
  const last = sessionStorage.getItem("lepton-last-alert");
  if (last) document.getElementById(`alert-${last}`)?.focus();
  sessionStorage.removeItem("lepton-last-alert");
  // j and Tab both start at the first row.
  if (list.firstElementChild && !list.contains(document.activeElement)) list.firstElementChild.tabIndex = 0;
}
