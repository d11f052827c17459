// Ages of <time data-age>, renewed as they pass; the exact local time is one hover away.
const STEPS = [
  [90, 1, "s"],
  [5400, 60, "min"],
  [172800, 3600, "h"],
  [Infinity, 86400, "days"],
];

export function ageText(at, now = Date.now()) {
  const seconds = (now - at) / 1000;
  const size = Math.abs(seconds);
  if (size < 2) return "now";
  const [, unit, name] = STEPS.find(([limit]) => size < limit);
  const text = `${Math.round(size / unit)} ${name}`;
  return seconds < 0 ? `in ${text}` : `${text} ago`;
}

export function clockText(at) {
  return new Date(at).toLocaleTimeString([], { hour12: false });
}

export function renewTimes(root = document) {
  const now = Date.now();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) continue;
    if (!time.title) time.title = `${new Date(at).toLocaleString()} here, ${new Date(at).toISOString()}`;
    if (!("age" in time.dataset)) continue;
    const text = ageText(at, now);
    if (time.textContent !== text) time.textContent = text;
  }
}

export function startTimes() {
  renewTimes();
  setInterval(() => renewTimes(), 5000);
  document.body.addEventListener("htmx:afterSettle", () => renewTimes());
}
