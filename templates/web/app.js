// Keeps the status page up to date. The page works without it, by reloading.
"use strict";
(() => {
  const root = document.documentElement;
  root.dataset.script = "";
  const stored = () => { try { return localStorage.getItem("keyrot-theme"); } catch { return null; } };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  if (["dark", "light"].includes(stored())) root.dataset.theme = stored();

  // The server escapes all that it sends; nothing else is ever made into HTML.
  const trusted = window.trustedTypes
    ? trustedTypes.createPolicy("keyrot", { createHTML: (html) => html })
    : { createHTML: (html) => html };
  const parse = (html) => {
    const box = document.createElement("template");
    box.innerHTML = trusted.createHTML(html);
    return box.content.firstElementChild;
  };

  // The server's clock: the machine that shows the page may have another time.
  let ahead = 0, fresh = Date.now();
  const now = () => Date.now() + ahead;
  const asOf = (ms) => { ahead = Number(ms) - Date.now(); fresh = Date.now(); };

  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const span = (seconds) => {
    const i = units.findIndex(([, n]) => seconds >= n);
    if (i < 0) return "0s";
    const [name, n] = units[i];
    const rest = units[i + 1] ? Math.floor((seconds % n) / units[i + 1][1]) : 0;
    return Math.floor(seconds / n) + name + (rest ? " " + rest + units[i + 1][0] : "");
  };
  const word = (time) => {
    const s = Math.round((Date.parse(time.dateTime) - now()) / 1000);
    if (time.dataset.relative === "due" && s < 2) return "now"; // planned, so it has not happened
    if (time.dataset.relative === "since") return "for " + span(Math.max(0, -s));
    return Math.abs(s) < 2 ? "now" : s > 0 ? "in " + span(s) : span(-s) + " ago";
  };
  // move draws what is on a time axis where it is by now.
  const move = (drawing) => {
    const shift = 100 * (Number(drawing.dataset.anchor) - now()) / Number(drawing.dataset.span);
    for (const mover of drawing.querySelectorAll(".mover")) mover.setAttribute("x", shift.toFixed(3) + "%");
    for (const id of drawing.querySelectorAll(".id")) {
      const from = parseFloat(id.dataset.from), to = parseFloat(id.dataset.to);
      id.setAttribute("x", Math.max(from, -shift).toFixed(3) + "%");
      id.setAttribute("visibility", from + shift > 94 || to + shift < 8 ? "hidden" : "visible");
    }
  };
  const tick = (under) => {
    for (const time of under.querySelectorAll("time[data-relative]")) {
      const words = word(time);
      if (time.textContent !== words) time.textContent = words;
    }
    for (const drawing of under.querySelectorAll("[data-anchor]")) move(drawing);
  };

  // replace puts a new element in the place of an old one and keeps what the
  // reader did there: what is open, scrolled to and focused.
  const focusable = "a, button, input, summary, [tabindex]";
  const replace = (old, now) => {
    for (const d of old.querySelectorAll("details[open]")) {
      const same = d.id && now.querySelector("#" + d.id);
      if (same) same.open = true;
    }
    const scrolled = [...old.querySelectorAll(".scroll, .scroll-y")].map((e) => [e.scrollLeft, e.scrollTop]);
    const focused = [...old.querySelectorAll(focusable)].indexOf(document.activeElement), id = document.activeElement?.id;
    tick(now);
    // A live region speaks when its own text changes, not when it is replaced.
    const said = old.querySelector("[data-headline]"), says = now.querySelector("[data-headline]");
    if (said && says) {
      if (said.textContent !== says.textContent) said.textContent = says.textContent;
      says.replaceWith(said);
    }
    old.replaceWith(now);
    [...now.querySelectorAll(".scroll, .scroll-y")].forEach((e, i) => {
      if (scrolled[i]) [e.scrollLeft, e.scrollTop] = scrolled[i];
    });
    if (focused < 0) return;
    const again = (id && now.querySelector("#" + id)) || now.querySelectorAll(focusable)[focused];
    again?.focus({ preventScroll: true });
  };

  // apply shows what is new: elements by id, and which of them lists have, in
  // order.
  const apply = (elements, orders) => {
    for (const [id, element] of Object.entries(elements)) {
      const old = document.getElementById(id);
      if (old) { replace(old, element); delete elements[id]; }
    }
    for (const [id, wanted] of Object.entries(orders)) {
      const list = document.getElementById(id);
      for (const item of [...list.children]) if (!wanted.includes(item.id)) item.remove();
      wanted.forEach((id, i) => {
        const item = document.getElementById(id) || elements[id];
        if (!item || list.children[i] === item) return;
        tick(item);
        list.insertBefore(item, list.children[i] || null);
      });
    }
    const headline = document.querySelector("[data-headline]");
    if (headline) document.title = "keyrot: " + headline.textContent;
  };

  // The stream of changes. Something comes every 10 s; if nothing does, what is
  // shown may be wrong, and must not look as if all were well.
  const silence = 25_000;
  let source = null;
  const show = (state, words) => {
    const live = document.getElementById("live"), says = document.getElementById("live-text");
    live.hidden = false;
    live.dataset.state = state;
    if (says.textContent !== words) says.textContent = words;
  };
  const connect = (address) => {
    source?.close();
    const mine = source = new EventSource(address);
    const heard = (event) => {
      const { at, parts, items, orders } = JSON.parse(event.data);
      asOf(at);
      delete root.dataset.stale;
      show("on", "live");
      const elements = {};
      for (const [id, html] of Object.entries({ ...parts, ...items })) elements[id] = parse(html);
      if (event.type === "change") apply(elements, orders || {});
    };
    mine.addEventListener("change", heard);
    mine.addEventListener("beat", heard);
    mine.addEventListener("bye", () => { mine.close(); location.reload(); });
    mine.addEventListener("error", () => {
      if (mine !== source) return;
      show("off", "reconnecting");
      if (mine.readyState === EventSource.CLOSED) setTimeout(() => mine === source && again(), 3000); // otherwise it tries by itself
    });
  };
  // again connects from the beginning, unless the session is over.
  const again = async () => {
    const answer = await fetch("/status.json", { method: "HEAD" }).catch(() => null);
    if (answer && answer.status === 401) location.reload();
    else connect("/events" + location.search);
  };
  const watch = () => {
    if (!source || Date.now() - fresh < silence) return;
    if (!("stale" in root.dataset)) {
      root.dataset.stale = "";
      const since = new Date(fresh + ahead).toISOString().slice(11, 19) + " UTC";
      show("off", "no news since " + since);
      const headline = document.querySelector("[data-headline]");
      headline.textContent = "No news from keyrot since " + since;
      document.title = "keyrot: " + headline.textContent;
    }
    fresh = Date.now() - silence + 5000; // and again in 5 s
    again();
  };

  // go shows another part of the list without loading the page anew.
  let latest = 0;
  const go = async (address, { push = true, focus = true } = {}) => {
    const mine = ++latest;
    const answer = await fetch(address).catch(() => null);
    if (mine !== latest) return; // another one was asked for meanwhile
    if (!answer || !answer.ok || answer.redirected) { location.assign(address); return; }
    const box = new DOMParser().parseFromString(trusted.createHTML(await answer.text()), "text/html");
    if (mine !== latest) return;
    const main = document.querySelector("main"), fetched = box.querySelector("main");
    const elements = {}, orders = {};
    for (const list of fetched.querySelectorAll("#users, #event-list")) {
      orders[list.id] = [...list.children].map((item) => item.id);
      for (const item of list.children) elements[item.id] = item;
    }
    for (const id of ["banner", "shown", "clear", "filters", "legend", "heads", "more", "pager", "events-none", "callers"]) {
      elements[id] = fetched.querySelector("#" + id);
    }
    asOf(fetched.dataset.now);
    if (push) history[push === "replace" ? "replaceState" : "pushState"](null, "", address);
    apply(elements, orders);
    document.getElementById("said").textContent = document.getElementById("shown").textContent + " users";
    if (focus) document.getElementById(new URL(address, location).hash.slice(1))?.scrollIntoView({ block: "nearest" });
    connect(fetched.dataset.stream);
  };
  const searched = (form) => {
    const wanted = new URLSearchParams(new FormData(form));
    if (!wanted.get("q").trim()) wanted.delete("q");
    return "/" + (wanted.size ? "?" + wanted : "");
  };

  const listen = (main) => {
    const form = main.querySelector("form.search"), q = document.getElementById("q");
    let typing = 0;
    form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); go(searched(form)); });
    q.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => go(searched(form), { push: "replace", focus: false }), 300);
    });
    main.addEventListener("click", (event) => {
      const link = event.target.closest("a[href]");
      if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      if (link.id === "clear-a") { q.value = ""; q.focus(); }
      go(link.getAttribute("href"));
    });
    addEventListener("popstate", () => {
      q.value = new URLSearchParams(location.search).get("q") || "";
      go(location.pathname + location.search + location.hash, { push: false });
    });
    addEventListener("pagehide", () => { source?.close(); source = null; });
    asOf(main.dataset.now);
    connect(main.dataset.stream);
  };

  document.addEventListener("DOMContentLoaded", () => {
    const main = document.querySelector("main[data-stream]");
    if (main) listen(main);
    tick(document);
    setInterval(() => { tick(document); watch(); }, 1000);
    const button = document.getElementById("theme");
    if (!button) return;
    const label = () => { button.textContent = theme() === "dark" ? "Light" : "Dark"; button.setAttribute("aria-label", button.textContent + " theme"); };
    button.hidden = false;
    label();
    system.addEventListener("change", label);
    button.addEventListener("click", () => {
      root.dataset.theme = theme() === "dark" ? "light" : "dark";
      try { localStorage.setItem("keyrot-theme", root.dataset.theme); } catch { /* it lasts as long as the page */ }
      label();
    });
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
})();
