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

  // The reader's own clock: today by the hour, other days with their date.
  const moment = (at) => {
    const day = new Date(at), today = day.toDateString() === new Date().toDateString();
    return day.toLocaleString([], today ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
  };

  const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  const times = () => {
    const now = Date.now() / 1000;
    for (const element of document.querySelectorAll("[data-until]")) {
      const left = Number(element.dataset.until) - now;
      say(element, left <= 0 ? "time is over" : `${spell(left)} left`);
      element.classList.toggle("soon", left < 300);
    }
    for (const element of document.querySelectorAll("[data-at]")) say(element, moment(Number(element.dataset.at) * 1000));
    for (const element of document.querySelectorAll("[data-since]")) {
      const gone = now - Number(element.dataset.since);
      say(element, gone < 2 ? "just now" : `${spell(gone)} ago`);
    }
  };

  const wide = () => matchMedia("(min-width: 761px)").matches;
  const rows = () => [...document.querySelectorAll(".rows .row, .bunch > summary")].filter((row) => row.checkVisibility?.() ?? true);
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

  // What is typed and not sent, by request and field: a request may be decided, and opened again, while somebody writes.
  const drafts = new Map();
  const draft = (name) => `${open()} ${name}`;
  const keep = () => {
    for (const area of document.querySelectorAll("#detail textarea")) {
      const typed = drafts.get(draft(area.name));
      if (!typed || area.value) continue;
      area.value = typed;
      area.closest("details")?.setAttribute("open", "");
    }
    const unsent = document.querySelector("[data-unsent]"), typed = drafts.get(draft("reason"));
    if (!unsent || !typed) return;
    unsent.querySelector("q").textContent = typed;
    unsent.hidden = false;
  };
  document.addEventListener("input", (event) => {
    if (event.target.matches("#detail textarea")) drafts.set(draft(event.target.name), event.target.value);
  });

  const settle = () => { times(); mark(); count(); presets(); keep(); };

  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    const focused = all.indexOf(document.activeElement);
    const at = focused >= 0 ? focused : all.findIndex((row) => row.hasAttribute("aria-current"));
    const next = all[Math.min(all.length - 1, Math.max(0, at + by))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    if (wide() && next.matches(".row")) next.click();
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
      text.dispatchEvent(new Event("input", { bubbles: true }));
      text.focus();
    }
    const tick = event.target.closest("[data-tick]");
    if (tick) {
      event.preventDefault();
      const chosen = tick.dataset.tick || "leave";
      for (const radio of tick.closest("form").querySelectorAll("input[type=radio]")) radio.checked = radio.value === chosen;
    }
    const menu = document.querySelector(".menu[open]");
    if (menu && !menu.contains(event.target)) menu.open = false;
  });

  // Answers may come in another order than they were asked for. Only the row that was chosen last, and what belongs to the
  // request that is open, may change what is shown: Approve would else be the button of a call that nobody has read.
  const asked = new WeakMap();
  let chosenRow = null;
  document.addEventListener("htmx:before:request", (event) => {
    const { ctx } = event.detail, row = ctx.sourceElement.matches(".row") ? ctx.sourceElement.id : null;
    if (row) chosenRow = row;
    asked.set(ctx, { row, request: ctx.sourceElement.closest("[data-request]")?.dataset.request });
  });
  document.addEventListener("htmx:after:request", (event) => {
    const { ctx } = event.detail, { row, request } = asked.get(ctx) ?? {};
    if (ctx.target?.id === "detail" && (row ? row !== chosenRow : request !== open())) event.preventDefault();
  });

  let acted = false, said = false;
  document.addEventListener("htmx:before:request", (event) => {
    // what the page asks by itself (who is looking, what moved) neither moves the focus nor forgets that somebody acted
    if (event.detail?.ctx?.request?.method !== "POST") return;
    for (const area of event.target.querySelectorAll?.("textarea") ?? []) drafts.delete(draft(area.name));
    if (event.target.closest?.(".approve")) drafts.delete(draft("reason")); // who approves after all has nothing left to say against it
    if (event.target.closest?.(".comment")) said = true;
    else acted = true;
  });
  document.addEventListener("htmx:after:swap", () => {
    settle();
    const chosen = location.pathname.startsWith("/r/");
    if (chosen && !document.body.classList.contains("chosen") && !wide()) scrollTo(0, 0);
    document.body.classList.toggle("chosen", chosen);
    if (acted && !document.querySelector(".reject[open]")) document.getElementById("request-title")?.focus({ preventScroll: true });
    // a page that updates itself keeps what is typed: what was sent has to be taken out
    if (said && !document.querySelector("#detail [role=alert]:not([hidden])")) document.getElementById("comment").value = "";
    acted = said = false;
  });
  document.addEventListener("htmx:after:history:push", settle);

  // Live events. Of all tabs that can be seen, one holds the stream and tells the others: a browser opens only six
  // connections to one place, and every tab needs some for its pages.
  const live = document.getElementById("live");
  const follow = () => {
    const others = new BroadcastChannel("approvals-live");
    const hear = (name) => live.dispatchEvent(new CustomEvent(name, { bubbles: true }));
    const tell = (name) => {
      if (name !== "lost" && name !== "found") return hear(name);
      document.getElementById("offline").hidden = name === "found";
      if (name === "lost") return;
      // What happened while nobody listened is not told again: look, unless there is an answer that was not read yet.
      if (open() && !document.querySelector("#detail [role=alert]:not([hidden])")) hear(`request-${open()}`);
      if (document.getElementById("health").childElementCount) hear("health");
    };
    const all = (name) => { tell(name); others.postMessage(name); };
    others.onmessage = (event) => tell(event.data);

    let source = null, retry = null, lost = null, done = null;
    const connect = () => {
      source = new EventSource("/live");
      source.onopen = () => { clearTimeout(lost); lost = null; all("found"); };
      for (const name of ["inbox", "health"]) source.addEventListener(name, () => all(name));
      for (const name of ["request", "looking"]) source.addEventListener(name, (event) => all(`${name}-${event.data}`));
      source.onerror = () => {
        lost ??= setTimeout(() => all("lost"), 3000);
        if (source.readyState !== EventSource.CLOSED) return;
        all("inbox"); // the session may be over: the answer to this leads to the sign-in
        retry = setTimeout(connect, 2000 + Math.random() * 2000);
      };
    };
    const close = () => { source?.close(); clearTimeout(retry); clearTimeout(lost); source = lost = null; done?.(); done = null; };
    const lead = () => new Promise((over) => { if (document.hidden) over(); else { done = over; connect(); } });
    const take = () => {
      if (document.hidden) return;
      tell("inbox");
      tell("found");
      if (navigator.locks) navigator.locks.request("approvals-live", lead);
      else if (!source) connect();
    };
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : take()));
    addEventListener("pagehide", close);
    addEventListener("pageshow", (event) => { if (event.persisted) take(); });
    if (!document.hidden) {
      if (navigator.locks) navigator.locks.request("approvals-live", lead);
      else connect();
    }
  };

  settle();
  setInterval(times, 1000);
  setInterval(() => { if (!document.hidden && open()) live?.dispatchEvent(new CustomEvent(`looking-${open()}`, { bubbles: true })); }, 5000);
  if (live) follow();
})();
