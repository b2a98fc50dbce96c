// Comfort for the console: refreshes what is open, and listens to a few keys. Every page works without it.
(() => {
  "use strict";
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const comfort = find("#saga-comfort");
  if (!comfort) return;
  comfort.hidden = false;

  // Private windows may refuse to remember; then nothing is remembered.
  const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* see above */ } };
  const recall = (name) => { try { return localStorage.getItem(name); } catch { return null; } };

  const help = find("#saga-help");
  const keys = find("#saga-keys");
  keys.checked = recall("sagas.keys") !== "off";
  keys.addEventListener("change", () => remember("sagas.keys", keys.checked ? "on" : "off"));
  find("#saga-help-open").addEventListener("click", () => help.showModal());
  find("#saga-help-close").addEventListener("click", () => help.close());

  const FIELDS = "input, textarea, select, [contenteditable]";
  // Rows of tables inside a fold belong to it, and cannot be reached while it is shut.
  const listRows = () => all("#result_list tbody tr, .saga-page .saga-table tbody tr")
    .filter((row) => !row.parentElement.closest("details"));

  function moveRow(step) {
    const rows = listRows();
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    const row = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step))];
    if (!row) return;
    const target = find("[data-open]", row) || find("th a", row) || row;
    if (target === row) row.tabIndex = -1;
    target.focus();
  }

  function search() {
    const field = find("#searchbar");
    if (field) { field.focus(); field.select(); }
    else if (comfort.dataset.search) location.assign(`${comfort.dataset.search}#searchbar`);
  }

  function follow(selector) {
    const link = find(selector);
    if (link) location.assign(link.href);
    return Boolean(link);
  }

  const actions = {
    "/": search,
    j: () => moveRow(1),
    k: () => moveRow(-1),
    p: () => follow(".saga-neighbours a[rel=prev]"),
    n: () => follow(".saga-neighbours a[rel=next]"),
    "?": () => help.showModal(),
    Enter: () => {
      const fold = document.activeElement.matches("tr") && find("details", document.activeElement);
      if (fold) fold.open = !fold.open;
      return Boolean(fold);
    },
  };
  document.addEventListener("keydown", (event) => {
    const action = Object.hasOwn(actions, event.key) && actions[event.key];
    if (!action || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!keys.checked || help.open || event.target.closest(FIELDS)) return;
    if (action() !== false) event.preventDefault();
  });
  if (location.hash === "#searchbar") search();

  // From here on: refresh.
  const every = find("#saga-every");
  if (!every) return;
  const [at, show, news] = ["#saga-at", "#saga-show", "#saga-news"].map((id) => find(id));
  const url = comfort.dataset.url + location.search;
  let etag = "", timer = 0, turn = 0, held = null, announced = "", pointer = null, shownAt = "";
  // Parts that change several times a minute and move no rows, such as progress, are never held back.
  const isLive = () => Boolean(find("[data-live]"));
  // After an operation a worker goes on at once; the page follows.
  const isFollowing = Boolean(find(".messagelist .success"));
  const pace = () => (isFollowing || isLive() ? Math.min(2, every.value) : Number(every.value));
  const clockOf = (response) => new Date(response.headers.get("Date")).toISOString().slice(11, 19);

  document.addEventListener("pointermove", (event) => { pointer = [event.clientX, event.clientY]; });

  function whyPaused() {
    const focused = document.activeElement;
    if (document.hidden) return "this tab is hidden";
    if (find("dialog[open]")) return "a dialog is open";
    if (focused !== every && focused.matches(FIELDS)) return "a form is in use";
    if (!getSelection().isCollapsed) return "text is selected";
    if (find("#changelist-form tbody input:checked")) return "rows are selected";
    return "";
  }

  // What can be clicked, in order: as long as that is the same, nothing moves that the user may be aiming at.
  const outline = (part) => all("a, summary, button, tr", part)
    .map((one) => one.getAttribute("href") || one.dataset.keep || (one.matches("tr") ? "tr" : one.textContent)).join("\n");
  const isInUse = (part) => part.matches(":hover") || part.contains(document.activeElement) || find("details[open]", part);

  const isSelected = (part) => !getSelection().isCollapsed && getSelection().containsNode(part, true);

  // Change only what differs, so that focus, open folds and scroll positions stay.
  function morph(old, fresh) {
    if (old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
    if (old.nodeType !== Node.ELEMENT_NODE) { if (old.data !== fresh.data) old.data = fresh.data; return; }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open" && name !== "tabindex") old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
    after.forEach((child, place) => (before[place] ? morph(before[place], child) : old.append(child)));
    before.slice(after.length).forEach((child) => child.remove());
  }

  // What is under the mouse stays there, also when something above it grows.
  function keepPlace(change) {
    const target = pointer && document.elementFromPoint(...pointer)?.closest("tr, a, button, summary, section");
    const before = target?.getBoundingClientRect().top;
    change();
    if (target?.isConnected) window.scrollBy({ top: target.getBoundingClientRect().top - before, behavior: "instant" });
  }

  function apply(parts, isWanted) {
    held = null;
    for (const [selector, html] of Object.entries(parts)) {
      const template = document.createElement("template");
      template.innerHTML = html;
      const [old, fresh] = [find(selector), find(selector, template.content)];
      if (!old && !fresh) continue;
      if (!old || !fresh) {
        if (isWanted) return location.reload();
        held = parts;
      } else if (!isWanted && !old.matches("[data-live]")
          && (isSelected(old) || (isInUse(old) && outline(old) !== outline(fresh)))) held = parts;
      else keepPlace(() => morph(old, fresh));
    }
    show.hidden = !held;
  }

  function showTime(time) {
    if (!held) shownAt = time;
    const rest = held && (shownAt ? `as of ${shownAt}, changed since` : "changed since this page was opened");
    at.textContent = !rest ? `as of ${time}` : isLive() ? `progress as of ${time}, rows ${rest}` : rest;
  }

  function announce(answer) {
    showTime(answer.at.slice(11));
    const word = held ? "There are changes." : answer.news;
    if ((announced || held) && word && word !== announced) news.textContent = word;
    announced = word || announced;
  }

  async function refresh() {
    const mine = ++turn;
    clearTimeout(timer);
    if (!pace()) { at.textContent = ""; return; }
    const reason = (document.hidden || !isLive()) && whyPaused();
    if (reason) at.textContent = `paused: ${reason}`;
    else {
      try {
        const headers = { Accept: "application/json", ...(etag && { "If-None-Match": etag }) };
        const response = await fetch(url, { headers, credentials: "same-origin", signal: AbortSignal.timeout(10000) });
        if (mine !== turn) return; // a newer one is under way
        if (response.status === 304) showTime(`${clockOf(response)} UTC`);
        else if (!response.ok || response.redirected) throw new Error(`the server answered ${response.redirected ? 403 : response.status}`);
        else {
          const answer = await response.json();
          if (mine !== turn) return;
          if (isLive() || !whyPaused()) {
            apply(answer.parts, false);
            etag = held ? "" : response.headers.get("ETag");
            announce(answer);
          }
        }
      } catch (error) {
        if (mine !== turn) return;
        at.textContent = `no refresh: ${error.message}`;
      }
    }
    clearTimeout(timer);
    timer = setTimeout(refresh, pace() * 1000);
  }

  if (recall("sagas.every") !== null) every.value = recall("sagas.every");
  if (every.selectedIndex < 0) every.value = "15";
  every.addEventListener("change", () => { remember("sagas.every", every.value); refresh(); });
  show.addEventListener("click", () => { if (held) { apply(held, true); refresh(); } });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  timer = setTimeout(refresh, pace() * 1000);
})();
