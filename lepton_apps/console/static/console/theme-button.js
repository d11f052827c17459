// One button for three choices: what the system says, dark, light.
const ORDER = ["system", "dark", "light"];

export function startThemeButton() {
  const button = document.getElementById("theme-button");
  const root = document.documentElement;
  const show = () => {
    button.textContent = `Theme: ${root.dataset.theme ?? "system"}`;
  };
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(root.dataset.theme ?? "system") + 1) % ORDER.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("lepton-theme", next);
    } catch {
      // It holds for this page then.
    }
    show();
  });
  show();
}
