// Requests that failed are said where the eye is, and said to be over when they work again.
import { clockText } from "./times.js";

const WORDS = {
  403: "Your role does not allow that, or you were signed out.",
  404: "It is not there any more, or not open to you.",
};

export function startFailures() {
  const box = document.getElementById("failure");
  const refresh = document.getElementById("refresh");
  const lost = (detail) => {
    if (refresh && detail.requestConfig.verb === "get") {
      if (refresh.dataset.state !== "stale") {
        refresh.dataset.state = "stale";
        refresh.textContent = `not renewed since ${clockText(Date.now())}`;
      }
      return;
    }
    // A GET that fails renews something by itself and will try again.
    if (detail.requestConfig.verb === "get") return;
    const status = detail.xhr.status;
    box.textContent = status
      ? WORDS[status] ?? `The server answered with an error (${status}); what you did was not done.`
      : "The server cannot be reached; what you did was not done.";
    box.hidden = false;
    box.scrollIntoView({ block: "nearest" });
  };
  document.body.addEventListener("htmx:responseError", (event) => lost(event.detail));
  document.body.addEventListener("htmx:sendError", (event) => lost(event.detail));
  document.body.addEventListener("htmx:afterOnLoad", (event) => {
    if (event.detail.failed) return;
    box.hidden = true;
    if (refresh && refresh.dataset.state === "stale") {
      refresh.dataset.state = "live";
      refresh.textContent = refresh.dataset.live;
    }
  });
}
