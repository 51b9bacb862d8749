// What pages gain with JavaScript: theme, palette, keys, dialogs, live parts, toasts. Every act and
// every reading works without this file. No framework, nothing global, nothing evaluated.
(() => {
  "use strict";
  const root = document.documentElement;
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, attributes = {}, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };
  root.classList.add("js");

  // ── Theme: a cookie, so that the server renders it and nothing flashes ────────────────
  const isDark = () =>
    (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const switchTheme = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax${secure}`;
  };
  $("#theme")?.closest("form").addEventListener("submit", event => {
    event.preventDefault();
    switchTheme();
  });

  // ── Menu on the phone ─────────────────────────────────────────────────────────────────
  const menu = $("#menu");
  const showMenu = open => {
    document.body.classList.toggle("nav-open", open);
    menu?.setAttribute("aria-expanded", String(open));
  };
  menu?.addEventListener("click", () => showMenu(!document.body.classList.contains("nav-open")));
  document.addEventListener("click", event => {
    if (!event.target.closest(".side, #menu")) showMenu(false);
    for (const open of $$("details.menu-pop[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  });

  // ── Dialogs: an opener is a link to the same form on a page of its own ────────────────
  document.addEventListener("click", event => {
    const opener = event.target.closest("[data-open]");
    const dialog = opener && $(opener.dataset.open);
    if (dialog) {
      event.preventDefault();
      dialog.showModal();
      $("input:not([type=hidden]), textarea, select", dialog)?.focus();
    }
    if (event.target.closest("[data-close]")) event.target.closest("dialog")?.close();
    if (event.target.matches("dialog")) event.target.close();
  });

  // ── Toasts ────────────────────────────────────────────────────────────────────────────
  const toasts = $(".toasts");
  const settle = toast => {
    if (!$("a, button[data-retry]", toast)) setTimeout(() => toast.remove(), 6000);
  };
  const toast = (text, retry) => {
    const box = make("div", { class: "toast" });
    box.append(make("div", { class: "grow" }, text));
    if (retry) {
      const button = make("button", { class: "btn sm", type: "button", "data-retry": "" }, "Retry");
      button.addEventListener("click", () => { box.remove(); retry(); });
      box.append(button);
    }
    const close = make("button", { class: "icon-btn", type: "button", "aria-label": "Dismiss" }, "×");
    close.dataset.dismiss = "";
    box.append(close);
    toasts?.append(box);
    settle(box);
  };
  $$(".toast").forEach(settle);
  document.addEventListener("click", event => {
    event.target.closest("[data-dismiss]")?.closest(".toast, .banner")?.remove();
  });

  // ── Copying ───────────────────────────────────────────────────────────────────────────
  document.addEventListener("click", async event => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = $(button.dataset.copy);
    await navigator.clipboard.writeText((source.value ?? source.textContent).trim());
    const label = $("[data-label]", button);
    if (!label) return;
    const before = label.textContent;
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = before; }, 1500);
  });

  // ── Palette: results come from the server, which lists only what the reader may see ───
  const palette = $("#palette");
  const field = palette && $("input", palette);
  const list = palette && $("ul", palette);
  let hits = [], chosen = 0, asked = 0, waiting;
  const marked = (text, words) => {
    const span = make("span");
    const at = words ? text.toLowerCase().indexOf(words.toLowerCase()) : -1;
    if (at < 0) span.textContent = text;
    else span.append(text.slice(0, at), make("mark", {}, text.slice(at, at + words.length)), text.slice(at + words.length));
    return span;
  };
  const choose = number => {
    chosen = number;
    $$("[role=option]", list).forEach((option, index) => {
      option.setAttribute("aria-selected", String(index === chosen));
      if (index === chosen) option.scrollIntoView({ block: "nearest" });
    });
    field.setAttribute("aria-activedescendant", hits.length ? `hit-${chosen}` : "");
  };
  const draw = (groups, words) => {
    hits = [];
    list.replaceChildren();
    for (const group of groups) {
      list.append(make("li", { class: "grp", role: "presentation" }, group.name));
      for (const item of group.items) {
        const option = make("li", { role: "option", id: `hit-${hits.length}` });
        option.append(marked(item.text, words), make("span", { class: "k" }, item.note || ""));
        list.append(option);
        hits.push(item.url);
      }
    }
    if (!hits.length) {
      list.append(make("li", { class: "grp" },
        `Nothing matches “${words}”. Search covers models, versions, runs, datasets, promotions, people and entries.`));
    }
    choose(0);
  };
  const ask = async () => {
    const words = field.value.trim(), mine = ++asked;
    try {
      const answer = await fetch(`${palette.dataset.url}?q=${encodeURIComponent(words)}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const found = await answer.json();
      if (mine === asked) draw(found.groups, words);
    } catch {
      if (mine === asked) list.replaceChildren(make("li", { class: "grp" }, "Search did not answer. Type again to retry."));
    }
  };
  const openPalette = () => {
    if (!palette || palette.open) return;
    palette.showModal();
    field.value = "";
    ask();
  };
  $("#find")?.addEventListener("click", event => { event.preventDefault(); openPalette(); });
  field?.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(ask, 120); });
  field?.addEventListener("keydown", event => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && hits.length) {
      event.preventDefault();
      choose((chosen + step + hits.length) % hits.length);
    }
    if (event.key === "Enter") {
      event.preventDefault();
      if (hits[chosen]) location.href = hits[chosen];
    }
  });
  list?.addEventListener("click", event => {
    const option = event.target.closest("[role=option]");
    if (option) location.href = hits[Number(option.id.slice(4))];
  });

  // ── Keys: no single key changes data, and a reader can turn single keys off ───────────
  let prefixed = 0;
  const moveRow = step => {
    const rows = $$("tbody th a, .list [data-row]");
    const now = rows.indexOf(document.activeElement);
    rows[Math.max(0, Math.min(rows.length - 1, now + step))]?.focus();
  };
  document.addEventListener("keydown", event => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openPalette();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || document.body.dataset.singleKeys === "off") return;
    if (event.target.closest("input, textarea, select, dialog[open]")) return;
    if (Date.now() - prefixed < 900) {
      prefixed = 0;
      const link = $(`[data-go="${CSS.escape(event.key)}"]`);
      if (link) location.href = link.href;
      return;
    }
    const act = {
      g: () => { prefixed = Date.now(); },
      j: () => moveRow(1),
      k: () => moveRow(-1),
      t: switchTheme,
      "?": () => $("#keys")?.showModal(),
      "/": () => { event.preventDefault(); $(".filters input[type=search]")?.focus(); },
    }[event.key];
    act?.();
  });

  // ── Live parts: [data-poll=seconds] asks again, with jitter, and rests while unseen ───
  let lastAnswer = Date.now(), misses = 0;
  const schedule = part => {
    const seconds = Number(part.dataset.poll) * Math.min(2 ** Math.max(0, misses - 2), 8);
    setTimeout(() => {
      if (!part.isConnected || !part.dataset.poll) return;
      const isTyping = part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
      if (document.hidden || isTyping || part.dataset.held) schedule(part);
      else window.htmx.trigger(part, "poll");
    }, seconds * 1000 * (0.9 + Math.random() * 0.2));
  };
  const watch = within => {
    const parts = $$("[data-poll]", within);
    if (within.matches?.("[data-poll]")) parts.push(within);
    for (const part of parts) {
      if (part.dataset.watched) continue;
      part.dataset.watched = "1";
      schedule(part);
    }
  };
  const sayAge = () => {
    const seconds = Math.round((Date.now() - lastAnswer) / 1000);
    for (const place of $$("[data-live]")) {
      const isStale = misses >= 3;
      place.classList.toggle("stale", isStale);
      place.textContent = isStale ? `Live updates stopped ${seconds} s ago` : `live, updated ${seconds} s ago`;
    }
  };
  if ($("[data-live]")) setInterval(sayAge, 1000);

  document.body.addEventListener("htmx:load", event => watch(event.detail.elt));
  document.body.addEventListener("htmx:configRequest", event => {
    const log = event.detail.elt.closest("[data-next]");
    if (log) event.detail.parameters.from = log.dataset.next;
  });
  document.body.addEventListener("htmx:afterRequest", event => {
    const part = event.detail.elt, answer = event.detail.xhr;
    if (!part.matches("[data-poll]")) return;
    if (event.detail.successful) {
      misses = 0;
      lastAnswer = Date.now();
      part.dataset.next = answer.getResponseHeader("Gatehouse-Next") ?? part.dataset.next ?? "";
      if (answer.status === 286) part.removeAttribute("data-poll");
    } else misses += 1;
    if (part.isConnected) schedule(part);
  });
  document.body.addEventListener("htmx:afterSwap", event => {
    const first = $("[aria-invalid=true]", event.detail.target);
    first?.focus();
  });

  // ── A log follows its end until it is held or scrolled up; 2,000 lines stay in the page ─
  const log = $("[data-log]");
  const toEnd = () => { log.scrollTop = log.scrollHeight; };
  if (log) {
    toEnd();
    const hold = $("[data-hold]");
    hold?.addEventListener("click", () => {
      const held = !log.dataset.held;
      if (held) log.dataset.held = "1";
      else { delete log.dataset.held; toEnd(); }
      $("[data-label]", hold).textContent = held ? "Follow" : "Hold";
      hold.setAttribute("aria-pressed", String(held));
    });
    let wasAtEnd = true;
    document.body.addEventListener("htmx:beforeSwap", event => {
      if (event.detail.target === log) wasAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    });
    document.body.addEventListener("htmx:afterSwap", event => {
      if (event.detail.target !== log) return;
      while (log.childElementCount > 2000) log.firstElementChild.remove();
      if (wasAtEnd) toEnd();
    });
  }

  // ── Failed requests: said once, nothing lost, and a way to try again ──────────────────
  const failed = event => {
    const part = event.detail.elt;
    if (part.matches("[data-poll]")) return;
    const answer = event.detail.xhr;
    const page = new DOMParser().parseFromString(answer?.responseText ?? "", "text/html");
    const sentence = $("[data-sentence]", page)?.textContent.trim();
    const isRefusal = answer && answer.status >= 400 && answer.status < 500;
    toast(sentence || "The portal did not answer. What you typed is still here.",
      isRefusal ? null : () => window.htmx.trigger(part, event.detail.requestConfig?.triggeringEvent?.type || "click"));
  };
  document.body.addEventListener("htmx:responseError", failed);
  document.body.addEventListener("htmx:sendError", failed);

  // ── One form, one sending ─────────────────────────────────────────────────────────────
  document.addEventListener("submit", event => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post" || form.hasAttribute("hx-post")) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
  });
  addEventListener("pageshow", () => $$("form[data-sent]").forEach(form => { delete form.dataset.sent; }));

  // ── Sections of a long page: the tab of the one being read is marked ──────────────────
  const tabs = $$(".anchor .tabs a[href^='#']");
  if (tabs.length) {
    const seen = new IntersectionObserver(entries => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const tab of tabs) {
          if (tab.hash === `#${entry.target.id}`) tab.setAttribute("aria-current", "true");
          else tab.removeAttribute("aria-current");
        }
      }
    }, { rootMargin: "-20% 0px -70% 0px" });
    for (const tab of tabs) {
      const section = $(tab.hash);
      if (section) seen.observe(section);
    }
  }

  // ── Addresses that the MLflow client prints carry their object in the fragment ────────
  const { hash } = location;
  const login = $("form[data-login]");
  if (login && hash) login.action = `${login.getAttribute("action")}${hash}`;
  const run = /^#\/experiments\/(\d+)(?:\/runs\/(\w+))?/.exec(hash);
  const model = /^#\/models\/([^/?]+)(?:\/versions\/(\d+))?/.exec(hash);
  if (!login && run) location.replace(run[2] ? `/runs/${run[2]}/` : `/runs/?experiment=${run[1]}`);
  else if (!login && model) location.replace(`/models/${model[1]}/${model[2] ? `versions/${model[2]}/` : ""}`);
})();
