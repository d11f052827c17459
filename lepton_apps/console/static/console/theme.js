// Runs before the first paint, so that a chosen theme never flashes. "system" is no attribute.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("lepton-theme");
  } catch {
    // Storage may be forbidden; the system's choice holds then.
  }
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
})();
