// The feeds of a page together, and the mark that says whether what is seen is current.
import { Feed } from "./feed.js";
import { clockText } from "./times.js";

const STALE_AFTER_MS = 20000;

export function openFeeds(root, handlers) {
  const mark = document.getElementById("connection");
  const heartbeatS = Number(root.dataset.heartbeatS);
  let nudge = null;

  const show = () => {
    const lost = feeds.filter((feed) => feed.lostAt !== null).map((feed) => feed.lostAt);
    const since = Math.min(...lost);
    let [state, text] = ["connecting", "connecting"];
    if (feeds.length === 0) [state, text] = ["idle", "no live feed"];
    else if (feeds.some((feed) => feed.refused)) {
      [state, text] = ["stale", "not current: the feed was refused; reload the page"];
    } else if (lost.length && Date.now() - since > STALE_AFTER_MS) {
      [state, text] = ["stale", `not current since ${clockText(since)}; reconnecting`];
    } else if (lost.length) [state, text] = ["reconnecting", "reconnecting"];
    else if (feeds.every((feed) => feed.live)) [state, text] = ["live", "live"];
    if (mark.dataset.state !== state || mark.textContent !== text) {
      mark.dataset.state = state;
      mark.textContent = text;
    }
  };

  const changed = () => {
    // Counts elsewhere on the page follow, a few seconds late and never all consoles at once.
    nudge ??= setTimeout(() => {
      nudge = null;
      window.htmx.trigger(document.body, "feed-changed");
    }, 1500 + Math.random() * 1500);
  };

  const feeds = JSON.parse(root.dataset.feeds).map(
    ({ vertical, cursor }) =>
      new Feed(vertical, cursor, heartbeatS, {
        event: (type, body) => {
          handlers.event(type, body);
          changed();
        },
        snapshot: handlers.snapshot,
        state: show,
      }),
  );
  for (const feed of feeds) feed.connect();
  show();
  setInterval(show, 2000);
  window.addEventListener("online", () => {
    for (const feed of feeds) if (feed.lostAt !== null) feed.connect();
  });
  window.addEventListener("offline", () => {
    for (const feed of feeds) if (!feed.refused) feed.lost();
  });
  return {
    // After the page was loaded anew: each feed goes on from where that page was made.
    restart(places) {
      const cursors = new Map(JSON.parse(places).map((place) => [place.vertical, place.cursor]));
      for (const feed of feeds) if (cursors.has(feed.vertical)) feed.restart(cursors.get(feed.vertical));
      changed();
    },
  };
}
