// An alert's page: what other operators do shows at once, and a note being typed stays.
import { openFeeds } from "./connection.js";

export function startAlertPage() {
  const root = document.getElementById("feed");
  const id = Number(root.dataset.alert);
  const shown = () => Number(document.getElementById("state").dataset.version);

  openFeeds(root, {
    event: (type, alert) => {
      if (alert.id === id && alert.version > shown()) {
        window.htmx.trigger(document.body, "alert-changed");
      }
    },
    snapshot: async () => location.reload(),
  });

  sessionStorage.setItem("lepton-last-alert", String(id));
  const list = sessionStorage.getItem("lepton-list");
  if (list?.startsWith("/")) document.getElementById("back").href = list;

  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id !== "alert-state" || document.activeElement !== document.body) return;
    document.getElementById("do").focus({ preventScroll: true });
  });
}
