// What scrolls sideways can be scrolled by the keyboard, and what does not is no stop of the Tab key.
export function fitScrollers() {
  for (const box of document.querySelectorAll(".scroll")) {
    const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

export function startScrollers() {
  fitScrollers();
  window.addEventListener("resize", fitScrollers);
  document.body.addEventListener("htmx:afterSettle", fitScrollers);
  document.body.addEventListener("toggle", fitScrollers, true); // a part that is unfolded
}
