// Freezing reads and hashes every pair, which takes a while: say so, and take no second click.

export function bindFreezing(root) {
  const form = root.querySelector("[data-freeze]");
  if (!form) return;
  const [button, said] = [form.querySelector("button"), form.querySelector("[data-freeze-busy]")];
  form.addEventListener("submit", () => {
    button.disabled = true;
    form.setAttribute("aria-busy", "true");
    said.textContent = "Freezing… Hundreds of thousands of pairs take a minute.";
  });
  // Coming back to a page that the browser kept.
  window.addEventListener("pageshow", () => {
    button.disabled = false;
    form.removeAttribute("aria-busy");
    said.textContent = "";
  });
}
