// What a screen reader hears of alerts that arrive: summed up, never more often than every 4 s.
const ORDER = ["low", "medium", "high", "critical"];
let waiting = 0;
let loudest = 0;
let timer = null;

export function announceAlert(severity) {
  waiting += 1;
  loudest = Math.max(loudest, ORDER.indexOf(severity));
  timer ??= setTimeout(speak, 4000);
}

function speak() {
  const noun = waiting === 1 ? "1 new alert" : `${waiting} new alerts, the most severe`;
  document.getElementById("announcer").textContent = `${noun}: ${ORDER[loudest]}`;
  waiting = 0;
  loudest = 0;
  timer = null;
}
