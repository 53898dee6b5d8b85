"use strict";
(() => {
  const EVERY_MS = 2000, POINTS = 90;
  const systems = document.getElementById("systems");
  const pause = document.getElementById("pause");
  const lost = document.getElementById("lost");
  const rates = new Map(); // system -> its last requests per second, newest last
  let paused = false, heard = Date.now();

  const card = (root, name) =>
    [...root.querySelectorAll("article[data-system]")].find((each) => each.dataset.system === name);

  // ---- The numbers

  function show(status) {
    for (const [name, system] of Object.entries(status.systems)) {
      const article = card(systems, name);
      if (!article) continue;
      for (const place of article.querySelectorAll("[data-shown]")) {
        const words = system.shown[place.dataset.shown];
        if (place.textContent !== words) place.textContent = words;
        if (place.dataset.shown === "failed") {
          place.parentElement.classList.toggle("alarm", system.rates.failed > 0);
        }
      }
      const line = rates.get(name) || [];
      line.push(system.rates.qps);
      rates.set(name, line.slice(-POINTS));
      draw(article.querySelector(".trace"), rates.get(name));
    }
    const ledger = document.getElementById("ledger");
    ledger.textContent = status.ledger.shown;
    ledger.classList.toggle("bad-text", !status.ledger.reachable);
    document.getElementById("workers").textContent = `${status.workers} worker${status.workers === 1 ? "" : "s"}`;
  }

  function draw(svg, line) {
    const top = Math.max(...line);
    svg.hidden = line.length < 2 || top === 0;
    if (svg.hidden) return;
    const left = 300 - (300 / (POINTS - 1)) * (line.length - 1);
    const points = line.map((rate, i) => `${(left + (300 / (POINTS - 1)) * i).toFixed(1)},${(38 - 34 * (rate / top)).toFixed(1)}`);
    svg.querySelector(".line").setAttribute("points", points.join(" "));
    svg.querySelector(".area").setAttribute("points", [`${left.toFixed(1)},40`, ...points, "300,40"].join(" "));
  }

  // ---- More than numbers changed: the page is read anew, a form in use is kept

  async function readAnew() {
    const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
    const fresh = [...page.querySelectorAll("article[data-system]")];
    const names = new Set(fresh.map((each) => each.dataset.system));
    for (const article of systems.querySelectorAll("article[data-system]")) {
      if (!names.has(article.dataset.system)) article.remove();
    }
    for (const article of fresh) {
      const shown = card(systems, article.dataset.system);
      if (shown) renew(shown, article);
      systems.append(shown || article);
      if (!shown) article.querySelectorAll("form").forEach(wire);
    }
    document.title = page.title;
    document.body.dataset.revision = page.body.dataset.revision;
  }

  function renew(shown, article) {
    const part = (root, name) => root.querySelector(`[data-part="${name}"]`);
    const [live, old] = [part(article, "live"), part(article, "try")];
    if (live) part(shown, "live").replaceWith(live);
    const form = part(shown, "try");
    if (form?.dataset.schema === old?.dataset.schema) return;
    if (form && old) form.replaceWith(old);
    else if (old) shown.append(old);
    else form.remove();
    old?.querySelectorAll("form").forEach(wire);
  }

  async function refresh() {
    if (paused || document.hidden) return;
    try {
      const answer = await fetch("/status.json", { signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const status = await answer.json();
      if (status.revision !== document.body.dataset.revision) await readAnew();
      show(status);
      heard = Date.now();
      lost.hidden = true;
    } catch {
      lost.textContent = `The service has not answered for ${Math.round((Date.now() - heard) / 1000)} s; the numbers below are old.`;
      lost.hidden = false;
    }
  }

  async function follow() {
    await refresh();
    setTimeout(follow, EVERY_MS);
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.classList.toggle("paused", paused);
    pause.textContent = paused ? "Resume" : "Pause";
    if (!paused) refresh();
  });
  document.addEventListener("visibilitychange", refresh);

  // ---- Trying it

  const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

  // The JSON of one input, or nothing where it is left empty. A number goes as it was typed: no digit is lost.
  function literal(input) {
    if (input.type === "checkbox") return String(input.checked);
    const text = input.validity.badInput ? "not a number" : input.value;
    if (text === "" && !(input.dataset.kind === "text" && "required" in input.dataset && input.type === "text")) return null;
    switch (input.dataset.kind) {
      case "number": case "integer": return NUMBER.test(text) ? text : JSON.stringify(text);
      case "boolean": return text;
      case "datetime": return JSON.stringify((text.length === 16 ? `${text}:00` : text) + "Z");
      default: return JSON.stringify(text);
    }
  }

  function record(form) {
    const members = [];
    for (const input of form.querySelectorAll("[data-name]")) {
      const value = literal(input);
      if (value !== null) members.push(`${JSON.stringify(input.dataset.name)}: ${value}`);
    }
    return `{${members.join(", ")}}`;
  }

  function element(name, text, kind = "") {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function place(form, faults) {
    for (const field of form.querySelectorAll("[data-field]")) {
      const own = faults.filter((fault) => fault.field === field.dataset.field);
      const input = field.querySelector("[data-name]");
      field.querySelector(".fault").textContent = own.map((fault) => fault.reason).join("; ");
      if (own.length) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    form.querySelector("[aria-invalid]")?.focus();
  }

  function tell(form, refused, ...lines) {
    const answer = form.querySelector(".answer");
    answer.classList.toggle("refused", refused);
    answer.replaceChildren(...lines);
  }

  function worded(form, content) {
    const classified = form.dataset.task === "classification";
    const digits = classified ? { maximumFractionDigits: 4 } : { maximumSignificantDigits: 7 };
    const value = element("p", content.prediction.toLocaleString("en", digits), "value");
    if (form.dataset.unit) value.append(" ", element("span", form.dataset.unit));
    if ("decision" in content) value.append(" ", element("span", content.decision ? "→ yes" : "→ no"));
    return value;
  }

  async function ask(form) {
    const headers = { "content-type": "application/json" };
    const key = form.querySelector("[data-key]").value;
    if (key) headers.authorization = `Bearer ${key}`;
    const began = performance.now();
    const response = await fetch(form.dataset.action, { method: "POST", headers, body: record(form) });
    const content = await response.json();
    const took = `${(performance.now() - began).toFixed(1)} ms, there and back`;
    if (response.ok) {
      place(form, []);
      const meta = `${form.dataset.label} · version ${content.version} · release ${content.release.slice(0, 12)} · ${took}`;
      tell(form, false, worded(form, content), element("p", meta, "meta"));
    } else {
      tell(form, true, element("p", content.detail), element("p", `${content.title}, ${response.status} · ${took}`, "meta"));
      place(form, content.faults || []);
    }
  }

  function wire(form) {
    const button = form.querySelector("button");
    button.disabled = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      try {
        await ask(form);
      } catch {
        tell(form, true, element("p", "The service did not answer."));
      } finally {
        button.disabled = false;
      }
    });
  }

  document.querySelectorAll("form").forEach(wire);
  follow();
})();
