// One row of the alert list. The markup is the server's own, from the page's <template>.
import { renewTimes } from "./times.js";

export function scoreText(score) {
  let tenths = Math.round(score * 1000);
  if (tenths === 1000 && score < 1) tenths = 999;
  return `${(tenths / 10).toFixed(1)} %`;
}

export function makeRow(alert, operable) {
  const template = document.getElementById("alert-row");
  const row = template.content.firstElementChild.cloneNode(true);
  row.id = `alert-${alert.id}`;
  row.dataset.id = alert.id;
  row.querySelector(".title a").href = `/alerts/${alert.id}/`;
  const form = row.querySelector("form");
  if (form && operable.includes(alert.vertical)) {
    const target = `/alerts/${alert.id}/acknowledge/`;
    form.setAttribute("action", target);
    form.setAttribute("hx-post", target);
  } else {
    form?.remove();
    row.querySelector('[name="id"]')?.remove();
  }
  const pick = row.querySelector('[name="id"]');
  if (pick) pick.value = alert.id;
  const opened = row.querySelector("time");
  opened.dateTime = alert.opened_at;
  fillRow(row, alert);
  return row;
}

export function fillRow(row, alert) {
  row.dataset.version = alert.version;
  row.dataset.severity = alert.severity;
  row.dataset.status = alert.status;
  const set = (name, text) => {
    row.querySelector(`[data-field="${name}"]`).textContent = text;
  };
  set("severity", alert.severity);
  set("score", scoreText(alert.score));
  set("title", alert.title);
  set("record_count", alert.record_count > 1 ? `× ${alert.record_count}` : "");
  set("reason_text", alert.reason_text);
  set("entity_key", alert.entity_key);
  row.querySelector('[data-field="entity_key"]').title = alert.entity_key;
  set("status", alert.status);
  set("assigned_to", alert.assigned_to ?? "");
  const form = row.querySelector("form");
  if (form) form.hidden = alert.status !== "open";
  row.querySelector(".row-error")?.remove();
  renewTimes(row);
}
