// Comfort only: every action on these pages is a plain link or form. No markup is made here.
(() => {
  "use strict";

  const units = [[86400, "day", "days"], [3600, "h", "h"], [60, "min", "min"], [1, "s", "s"]];
  const spell = (seconds) => {
    seconds = Math.max(0, Math.floor(seconds));
    for (let i = 0; i < units.length; i++) {
      const [size, one, many] = units[i];
      if (seconds < size) continue;
      const count = Math.floor(seconds / size);
      let text = `${count} ${count === 1 ? one : many}`;
      if (i < 2 && count < 3) {
        const smaller = Math.floor((seconds % size) / units[i + 1][0]);
        if (smaller) text += ` ${smaller} ${units[i + 1][2]}`;
      }
      return text;
    }
    return "0 s";
  };

  const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  const times = () => {
    const now = Date.now() / 1000;
    for (const element of document.querySelectorAll("[data-until]")) {
      const left = Number(element.dataset.until) - now;
      say(element, left <= 0 ? "time is over" : `${spell(left)} left`);
      element.classList.toggle("soon", left < 300);
    }
    for (const element of document.querySelectorAll("[data-since]")) {
      const gone = now - Number(element.dataset.since);
      say(element, gone < 2 ? "just now" : `${spell(gone)} ago`);
    }
  };

  const wide = () => matchMedia("(min-width: 761px)").matches;
  const rows = () => [...document.querySelectorAll(".rows .row")];
  const open = () => document.querySelector("[data-request]")?.dataset.request;

  const mark = () => {
    const id = open();
    for (const row of rows()) {
      if (row.id === `row-${id}`) row.setAttribute("aria-current", "page");
      else row.removeAttribute("aria-current");
    }
  };

  const title = document.title.replace(/^\(\d+\) /, "");
  const count = () => {
    const waiting = Number(document.querySelector("[data-waiting]")?.dataset.waiting ?? 0);
    const name = document.getElementById("request-title") && location.pathname.startsWith("/r/")
      ? `${document.getElementById("request-title").textContent.trim()} · Approvals` : title;
    document.title = waiting ? `(${waiting}) ${name}` : name;
  };

  const presets = () => { for (const element of document.querySelectorAll(".presets[hidden]")) element.hidden = false; };

  const settle = () => { times(); mark(); count(); presets(); };

  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.hasAttribute("aria-current"));
    const next = all[Math.min(all.length - 1, Math.max(0, at + by))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    if (wide()) next.click();
  };

  const reject = () => {
    const details = document.querySelector(".reject");
    if (!details) return;
    details.open = true;
    details.querySelector("textarea").focus();
  };

  const keys = {
    j: () => step(1),
    k: () => step(-1),
    a: () => document.getElementById("approve")?.focus(),
    r: reject,
    e: () => { for (const element of document.querySelectorAll("main details:not(.reject)")) element.open = true; },
    "?": () => document.getElementById("keys")?.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === "Escape") document.querySelector(".reject[open]")?.removeAttribute("open");
    if (event.target.closest("input, textarea, select, dialog")) return;
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  document.addEventListener("click", (event) => {
    const preset = event.target.closest("[data-preset]");
    if (preset) {
      const text = preset.closest("form").querySelector("textarea");
      text.value = text.value ? `${text.value.trimEnd()} ${preset.dataset.preset}` : preset.dataset.preset;
      text.focus();
    }
    const menu = document.querySelector(".menu[open]");
    if (menu && !menu.contains(event.target)) menu.open = false;
  });

  let acted = false;
  document.addEventListener("htmx:before:request", (event) => {
    acted = event.detail?.ctx?.request?.method === "POST";
  });
  document.addEventListener("htmx:after:swap", () => {
    settle();
    const chosen = location.pathname.startsWith("/r/");
    if (chosen && !document.body.classList.contains("chosen") && !wide()) scrollTo(0, 0);
    document.body.classList.toggle("chosen", chosen);
    if (acted && !document.querySelector(".reject[open]")) document.getElementById("request-title")?.focus({ preventScroll: true });
    acted = false;
  });
  document.addEventListener("htmx:after:history:push", settle);
  document.addEventListener("htmx:sse:error", (event) => { if (event.detail?.status === 401) location.reload(); });

  settle();
  setInterval(times, 1000);
})();
