// The shell's behaviour: menus, theme, toasts, confirmation, copying, and errors of htmx requests.
// Everything works without it; it only makes things smoother.

const toasts = document.getElementById("toasts");
const TOAST_MILLISECONDS = 8000;

/** Show a short note; `kind` is success, info, warning or danger. Errors stay until dismissed. */
export function showToast(text, kind = "info") {
  const note = document.createElement("div");
  note.className = `toast-note toast-${kind}`;
  note.dataset.toast = kind;
  const words = document.createElement("span");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "btn-close";
  close.setAttribute("aria-label", "Dismiss");
  close.dataset.dismissToast = "";
  note.append(words, close);
  toasts.append(note);
  expireToast(note);
  return note;
}

function expireToast(note) {
  if (["danger", "warning"].includes(note.dataset.toast)) return;
  const remove = () => (note.matches(":hover, :focus-within") ? setTimeout(remove, 1000) : note.remove());
  setTimeout(remove, TOAST_MILLISECONDS);
}

document.querySelectorAll("[data-toast]").forEach(expireToast);

/** Ask before something that is hard to take back; resolves to true when the person agrees. */
export function askToConfirm(question, label = "Continue") {
  const dialog = document.createElement("dialog");
  dialog.className = "confirm-dialog";
  dialog.setAttribute("aria-labelledby", "confirm-question");
  const form = document.createElement("form");
  form.method = "dialog";
  const words = document.createElement("p");
  words.id = "confirm-question";
  words.textContent = question;
  const buttons = document.createElement("div");
  buttons.className = "btn-list justify-content-end";
  const cancel = makeButton("Cancel", "btn", "");
  const agree = makeButton(label, "btn btn-danger", "yes");
  buttons.append(cancel, agree);
  form.append(words, buttons);
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();
  cancel.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

function makeButton(text, classes, value) {
  const button = document.createElement("button");
  button.className = classes;
  button.value = value;
  button.textContent = text;
  return button;
}

// A form or button with `data-confirm` asks first. Listening in the capture phase keeps htmx from
// seeing the submission until the person agreed.
const confirmed = new WeakSet();
document.addEventListener(
  "submit",
  async (event) => {
    const { target: form, submitter } = event;
    const asker = submitter?.dataset.confirm ? submitter : form;
    if (!asker.dataset.confirm || confirmed.delete(form)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const label = asker.dataset.confirmLabel ?? submitter?.textContent.trim();
    if (await askToConfirm(asker.dataset.confirm, label || undefined)) {
      confirmed.add(form);
      form.requestSubmit(submitter ?? undefined);
    }
  },
  true,
);

// Menus are <details>: one open at a time, closed by Escape or a click elsewhere.
document.addEventListener("click", (event) => {
  document.querySelectorAll("details[data-menu][open]").forEach((menu) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  if (event.target.closest("[data-dismiss-toast]")) event.target.closest("[data-toast]").remove();
  const copier = event.target.closest("[data-copy]");
  if (copier) copy(copier);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  document.querySelectorAll("details[data-menu][open]").forEach((menu) => {
    menu.open = false;
    menu.querySelector("summary").focus();
  });
});

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.value);
    showToast("Copied.", "success");
  } catch {
    source.focus();
    source.select();
    showToast("Press Ctrl+C to copy the selected text.", "info");
  }
}

document.addEventListener("focusin", (event) => {
  if (event.target.matches("[data-select-on-focus]")) event.target.select();
});

// The theme changes at once; the server keeps the choice in a cookie for the next page.
document.querySelectorAll("form[data-theme-form]").forEach((form) => {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const choice = event.submitter.value;
    document.documentElement.dataset.themeChoice = choice;
    document.dispatchEvent(new Event("podium:theme"));
    document.querySelectorAll("form[data-theme-form] button").forEach((button) => {
      button.toggleAttribute("aria-current", false);
      if (button.value === choice) button.setAttribute("aria-current", "true");
    });
    form.closest("details")?.removeAttribute("open");
    await fetch(form.action, { method: "POST", body: new URLSearchParams({ theme: choice }) });
  });
});

// Where tabs do not all fit, the one shown is in view.
document.querySelectorAll(".project-tabs").forEach((tabs) => {
  const here = tabs.querySelector("[aria-current]");
  if (!here) return;
  new ResizeObserver(() => {
    tabs.scrollLeft = here.offsetLeft - (tabs.clientWidth - here.offsetWidth) / 2;
  }).observe(tabs);
});

// An error page must not land inside a fragment: say what it says in a toast instead.
document.addEventListener("htmx:after:request", (event) => {
  const { ctx } = event.detail;
  if (!ctx.response?.headers.get("Podium-Error")) return;
  event.preventDefault();
  const page = new DOMParser().parseFromString(ctx.text, "text/html");
  const detail = page.querySelector("[data-error-detail]")?.textContent.trim();
  showToast(detail || `The server answered ${ctx.response.status}.`, "danger");
});

document.addEventListener("htmx:error", (event) => {
  // A fragment that polls fails once a tick while the server is away: one note is enough.
  if (toasts.querySelector("[data-connection]")) return;
  if (event.detail.error?.name === "AbortError") return;
  showToast("The server cannot be reached. Your last change may not be saved.", "danger").dataset
    .connection = "";
});

// A form of one select submits when a choice is made; without scripts it has a button.
document.querySelectorAll("form[data-submit-on-change]").forEach((form) => {
  form.querySelector("[data-without-script]")?.remove();
  form.addEventListener("change", () => form.requestSubmit());
});
