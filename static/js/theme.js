// Runs before the first paint, so that nobody sees the wrong theme. The server writes a chosen
// theme into the page; "auto" follows the system here, also when it changes.
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const choice = root.dataset.themeChoice;
    root.dataset.bsTheme = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
  };
  apply();
  dark.addEventListener("change", apply);
  document.addEventListener("podium:theme", apply);
})();
