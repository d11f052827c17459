// An alert's page: what other operators do shows at once, and a note being typed stays.
import { openFeeds } from "./connection.js";

export function startAlertPage() {
  const root = document.getElementById("feed");
  const id = Number(root.dataset.alert);
  const shown = () => Number(document.getElementById("state").dataset.version);

  let newest = shown();

  // Dropped by htmx while an act is under way (hx-sync), whose answer shows the state as well.
  const renew = () => {
    if (newest > shown()) window.htmx.trigger(document.body, "alert-changed");
  };

  openFeeds(root, {
    event: (type, alert) => {
      if (alert.id !== id) return;
      newest = Math.max(newest, alert.version);
      renew();
    },
    snapshot: async () => location.reload(),
  });

  sessionStorage.setItem("lepton-last-alert", String(id));
  const list = sessionStorage.getItem("lepton-list");
  if (list?.startsWith("/")) document.getElementById("back").href = list;

  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id !== "alert-state") return;
    renew();
    if (document.activeElement === document.body) {
      document.getElementById("do").focus({ preventScroll: true });
    }
  });
}
