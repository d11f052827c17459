// A secret that is shown once, into the clipboard. Where the browser refuses (no TLS), it is selected.
for (const button of document.querySelectorAll("[data-copy]")) {
  const secret = document.getElementById(button.dataset.copy);
  secret.focus();
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(secret.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(secret);
      button.textContent = "Selected: copy it by hand";
    }
  });
}
