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

  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const span = (seconds) => {
    const i = units.findIndex(([, n]) => seconds >= n);
    if (i < 0) return "0s";
    const [name, n] = units[i];
    const rest = units[i + 1] ? Math.floor((seconds % n) / units[i + 1][1]) : 0;
    return Math.floor(seconds / n) + name + (rest ? " " + rest + units[i + 1][0] : "");
  };
  const word = (time) => {
    const s = Math.round((Date.parse(time.dateTime) - Date.now()) / 1000);
    return Math.abs(s) < 2 ? "now" : s > 0 ? "in " + span(s) : span(-s) + " ago";
  };
  const tick = (under) => {
    for (const time of under.querySelectorAll("time[data-relative]")) {
      const words = word(time);
      if (time.textContent !== words) time.textContent = words;
    }
  };

  // replace puts a new element in the place of an old one and keeps what the
  // reader did there: what is open, scrolled to and focused.
  const replace = (old, html) => {
    const now = parse(html);
    for (const d of old.querySelectorAll("details[open]")) {
      const same = d.id && now.querySelector("#" + d.id);
      if (same) same.open = true;
    }
    const scrolled = [...old.querySelectorAll(".scroll, .scroll-y")].map((e) => [e.scrollLeft, e.scrollTop]);
    const focusable = "a, button, input, summary, [tabindex]";
    const focused = [...old.querySelectorAll(focusable)].indexOf(document.activeElement);
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
    if (focused >= 0) now.querySelectorAll(focusable)[focused]?.focus({ preventScroll: true });
  };

  const apply = ({ parts = {}, cards = {}, order }) => {
    for (const [id, html] of Object.entries(parts)) {
      const old = document.getElementById(id);
      if (old) replace(old, html);
    }
    const list = document.getElementById("users");
    for (const [id, html] of Object.entries(cards)) {
      const old = document.getElementById(id);
      if (old) replace(old, html);
      else { const card = parse(html); tick(card); list.append(card); }
    }
    const wanted = order || [];
    for (const card of [...list.children]) if (!wanted.includes(card.id)) card.remove();
    wanted.forEach((id, i) => {
      const card = document.getElementById(id);
      if (card && list.children[i] !== card) list.insertBefore(card, list.children[i] || null);
    });
    const headline = document.querySelector("[data-headline]");
    if (headline) document.title = "keyrot: " + headline.textContent;
  };

  const connect = (address) => {
    const live = document.getElementById("live"), says = document.getElementById("live-text");
    const show = (state, words) => { live.hidden = false; live.dataset.state = state; says.textContent = words; };
    const source = new EventSource(address);
    source.addEventListener("open", () => show("on", "live"));
    source.addEventListener("change", (event) => apply(JSON.parse(event.data)));
    source.addEventListener("bye", () => { source.close(); location.reload(); });
    source.addEventListener("error", () => {
      show("off", "reconnecting");
      if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
      setTimeout(async () => {
        const answer = await fetch("/status.json", { method: "HEAD" }).catch(() => null);
        if (answer && answer.status === 401) location.reload();
        else connect(address);
      }, 3000);
    });
    addEventListener("pagehide", () => source.close(), { once: true });
  };

  document.addEventListener("DOMContentLoaded", () => {
    tick(document);
    setInterval(() => tick(document), 1000);
    const button = document.getElementById("theme");
    if (button) {
      const label = () => { button.textContent = theme() === "dark" ? "Light" : "Dark"; button.setAttribute("aria-label", button.textContent + " theme"); };
      button.hidden = false;
      label();
      system.addEventListener("change", label);
      button.addEventListener("click", () => {
        root.dataset.theme = theme() === "dark" ? "light" : "dark";
        try { localStorage.setItem("keyrot-theme", root.dataset.theme); } catch { /* it lasts as long as the page */ }
        label();
      });
    }
    const main = document.querySelector("main[data-events]");
    if (main) connect(main.dataset.events);
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
})();
