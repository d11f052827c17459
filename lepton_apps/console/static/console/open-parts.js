// What somebody has unfolded stays unfolded when the page renews itself.
export function startOpenParts() {
  let open = [];
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    open = [...event.detail.target.querySelectorAll("details[id][open]")].map((part) => part.id);
  });
  document.body.addEventListener("htmx:afterSwap", () => {
    for (const id of open) {
      const part = document.getElementById(id);
      if (part) part.open = true;
    }
  });
}
