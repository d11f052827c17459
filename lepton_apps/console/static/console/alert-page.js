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
  offerNeighbours(id);

  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id !== "alert-state") return;
    renew();
    if (document.activeElement === document.body) {
      document.getElementById("do").focus({ preventScroll: true });
    }
  });
}

// The list that the alert was opened from, as it was left: j and k walk along it.
function offerNeighbours(id) {
  let ids = [];
  try {
    ids = JSON.parse(sessionStorage.getItem("lepton-list-ids") ?? "[]");
  } catch {
    // Somebody else's value: there are no neighbours then.
  }
  const at = ids.indexOf(id);
  for (const [link, neighbour] of [["previous-alert", ids[at - 1]], ["next-alert", ids[at + 1]]]) {
    const shown = document.getElementById(link);
    if (at < 0 || neighbour === undefined) continue;
    shown.href = `/alerts/${neighbour}/`;
    shown.hidden = false;
  }
}
