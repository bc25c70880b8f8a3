"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);

  // Everything that the app says becomes text, never markup.
  function put(node, text) { if (node.textContent !== text) node.textContent = text; }
  function mark(node, name) { if (node.getAttribute("class") !== name) node.setAttribute("class", name); }
  function make(tag, name, ...children) {
    const node = document.createElement(tag);
    if (name) node.className = name;
    node.append(...children);
    return node;
  }
  function drawn(tag, name) {
    const node = document.createElementNS(SVG, tag);
    node.setAttribute("class", name);
    return node;
  }

  // A list on the page is brought up to date in place: what somebody reads, has opened or has focused stays.
  function each(parent, items, keyOf, build) {
    const there = parent.kept || (parent.kept = new Map());
    const seen = new Set();
    let before = parent.firstChild;
    for (const item of items) {
      let key = keyOf(item);
      while (seen.has(key)) key += "+";
      seen.add(key);
      let entry = there.get(key);
      if (!entry) { entry = build(item); there.set(key, entry); }
      entry.update(item);
      if (entry.node !== before) parent.insertBefore(entry.node, before);
      else before = before.nextSibling;
    }
    for (const [key, entry] of there) if (!seen.has(key)) { entry.node.remove(); there.delete(key); }
  }

  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  function number(n) { return n > 0 && n < 10 && n % 1 ? n.toFixed(1) : whole.format(n); }
  function percent(part) {
    if (!part) return "0 %";
    const of100 = part * 100;
    return (of100 < 0.1 ? "<0.1" : of100 < 10 ? of100.toFixed(1) : of100.toFixed(0)) + " %";
  }
  function time(seconds) {
    if (seconds === null || seconds === undefined) return "–";
    const [value, unit] = seconds < 0.00095 ? [seconds * 1e6, "µs"] : seconds < 0.95 ? [seconds * 1e3, "ms"] : [seconds, "s"];
    return (value < 10 ? value.toFixed(1) : whole.format(value)) + " " + unit;
  }
  function host(name) { return name.replace(/^https?:\/\//, ""); }

  function worst(chain) {
    const bad = chain.parts.find((part) => part.state === "bad");
    if (bad) return ["bad", bad.says === "open" ? "circuit open" : `${bad.kind.replaceAll("_", " ")} ${bad.says}`];
    const warn = chain.parts.find((part) => part.state === "warn");
    if (chain.errors >= 0.5) return ["bad", "failing"];
    if (warn) return ["warn", warn.says === "half-open" ? "circuit half-open" : `${warn.kind.replaceAll("_", " ")} ${warn.says}`];
    if (chain.errors >= 0.05) return ["warn", "errors"];
    return chain.calls ? ["good", "well"] : ["", "idle"];
  }

  function spark() {
    const node = drawn("svg", "spark");
    node.setAttribute("viewBox", "0 0 58 20");
    node.setAttribute("preserveAspectRatio", "none");
    node.setAttribute("role", "img");
    const area = drawn("path", "area"), wrong = drawn("path", "wrong"), edge = drawn("path", "edge");
    node.append(area, wrong, edge);
    return {
      node,
      update(seconds) {
        const most = Math.max(1, ...seconds.map(([calls]) => calls));
        const y = (count) => (19.25 - (18 * count) / most).toFixed(2);
        const line = seconds.map(([calls], x) => `${x ? "L" : "M"}${x} ${y(calls)}`).join("");
        edge.setAttribute("d", line);
        area.setAttribute("d", `${line}L58 20L0 20Z`);
        wrong.setAttribute("d", seconds.map(([, bad], x) => (bad ? `M${x - 0.4} 20V${y(bad)}h.8V20Z` : "")).join(""));
        const last = seconds.length ? seconds[seconds.length - 1][0] : 0;
        node.setAttribute("aria-label", `Calls a second in the last minute: ${last} now, ${most} at most`);
      },
    };
  }

  function figures(node, names) {
    const fields = names.map((name) => {
      const value = make("dd");
      node.append(make("div", "", make("dt", "", name), value));
      return value;
    });
    return (...values) => values.forEach((value, at) => put(fields[at], value));
  }

  function part() {
    const node = make("li"), name = document.createTextNode(""), key = make("span"), says = make("span", "says");
    const dot = make("span", "dot"), fill = make("i"), bar = make("span", "bar", fill);
    dot.setAttribute("aria-hidden", "true");
    bar.setAttribute("role", "meter");
    bar.setAttribute("aria-valuemin", "0");
    bar.setAttribute("aria-valuemax", "100");
    node.append(dot, make("span", "what", name, key), says, bar);
    return {
      node,
      update(said) {
        mark(node, said.state);
        const kind = said.kind.replaceAll("_", " ");
        put(name, kind);
        put(key, host(said.name));
        put(says, said.says);
        const share = said.of ? Math.min(1, said.used / said.of) : 0;
        bar.hidden = !said.of;
        fill.style.transform = `scaleX(${share})`;
        bar.setAttribute("aria-valuenow", String(Math.round(share * 100)));
        bar.setAttribute("aria-label", `${kind} in use`);
      },
    };
  }
  function parts(node, said) {
    node.hidden = !said.length;
    each(node, said, (one) => `${one.kind} ${one.name}`, part);
  }

  function templateRow() {
    const cells = Array.from({ length: 4 }, () => make("td"));
    return {
      node: make("tr", "", ...cells),
      update(said) {
        [said.name, whole.format(said.calls), percent(said.errors), time(said.p99)].forEach((text, at) => put(cells[at], text));
      },
    };
  }

  function card() {
    const name = make("h3"), says = make("span", "says"), dot = make("span", "dot");
    const state = make("p", "state", dot, says), rate = document.createTextNode(""), line = spark();
    dot.setAttribute("aria-hidden", "true");
    const numbers = make("dl", "numbers"), show = figures(numbers, ["errors", "p50", "p90", "p99"]);
    const also = make("p", "also quiet"), list = make("ul", "parts"), layers = make("p", "layers"), rows = make("tbody");
    const head = make("tr", "", ...["called", "calls", "errors", "p99"].map((text) => make("th", "", text)));
    const table = make("table", "templates", make("thead", "", head), rows);
    const title = make("header", "", make("div", "", name), state);
    title.firstChild.style.flex = "1";
    const more = make("details", "", make("summary", "", "Details"), table, layers);
    const node = make("article", "", title, make("div", "figures", make("p", "rate", rate, make("small", "", "/s")), line.node),
      numbers, also, list, more);
    return {
      node,
      update(said) {
        const [how, why] = worst(said);
        mark(node, how === "bad" ? "is-bad" : "");
        node.setAttribute("aria-label", said.name);
        put(name, host(said.name));
        mark(state, `state ${how}`);
        put(says, why);
        put(rate, number(said.rate));
        line.update(said.seconds);
        show(percent(said.errors), time(said.p50), time(said.p90), time(said.p99));
        const facts = [`${whole.format(said.calls)} ${said.calls === 1 ? "call" : "calls"} in a minute`];
        if (said.under_way) facts.push(`${said.under_way} under way`);
        for (const outcome of ["failed", "rejected", "deadline", "degraded", "cancelled"])
          if (said.outcomes[outcome]) facts.push(`${whole.format(said.outcomes[outcome])} ${outcome}`);
        if (said.retries) facts.push(`${whole.format(said.retries)} retries so far`);
        if (said.cache !== null) facts.push(`${percent(said.cache)} from the cache`);
        put(also, facts.join(" · "));
        parts(list, said.parts);
        table.hidden = !said.templates.length;
        each(rows, said.templates, (one) => one.name, templateRow);
        put(layers, said.layers.join(" › "));
      },
    };
  }

  function uncounted() {
    const layers = make("p", "layers"), list = make("ul", "parts");
    return {
      node: make("div", "", layers, list),
      update(said) { put(layers, said.layers.join(" › ")); parts(list, said.parts); },
    };
  }

  function waterfall(said) {
    const bad = !["ok", "degraded", "cancelled"].includes(said.outcome);
    const dot = make("span", "dot"), called = make("span", "called", said.name, make("span", "", host(said.chain)));
    dot.setAttribute("aria-hidden", "true");
    const last = said.rows[0];
    const why = said.outcome === "ok" ? String((last && last.status) || "ok") : [said.outcome, last && (last.status || last.error)].filter(Boolean).join(" ");
    const head = make("summary", bad ? "bad" : said.outcome === "degraded" ? "warn" : "good",
      dot, called, make("span", "says", why), make("span", "took", time(said.took)));
    const lanes = said.rows.map((row) => {
      const fill = make("i"), lane = make("span", "lane", fill), wrong = row.error || row.status >= 500;
      fill.style.left = `${Math.min(99.5, (100 * row.from) / (said.took || 1))}%`;
      fill.style.width = `${Math.min(100, (100 * row.took) / (said.took || 1))}%`;
      const name = make("span", "name", row.name + (row.error ? ` · ${row.error}` : row.status ? ` · ${row.status}` : ""));
      name.style.paddingLeft = `${Math.min(row.depth, 12) * 0.6}rem`;
      return make("li", row.name === "pause" ? "pause" : wrong ? "bad" : "", name, lane, make("span", "took", time(row.took)));
    });
    return { node: make("details", "", head, make("ul", "rows", ...lanes)), update() {} };
  }

  const sums = byId("sums");
  const showSums = figures(sums, ["Calls a second, all chains", "Errors, last minute", "Circuits open", "Chains"]);
  let heard = 0;

  function render(said) {
    heard = Date.now();
    document.body.classList.remove("is-stale");
    byId("board").hidden = false;
    byId("sign-in").hidden = true;
    const counted = said.chains.filter((chain) => "rate" in chain), rest = said.chains.filter((chain) => !("rate" in chain));
    const calls = counted.reduce((sum, chain) => sum + chain.calls, 0);
    const wrong = counted.reduce((sum, chain) => sum + chain.calls * chain.errors, 0);
    const open = said.chains.reduce((sum, chain) => sum + chain.parts.filter((one) => one.says === "open").length, 0);
    showSums(number(counted.reduce((sum, chain) => sum + chain.rate, 0)), percent(calls ? wrong / calls : 0),
      String(open), String(said.chains.length + said.other));
    const fields = sums.querySelectorAll("dd");
    mark(fields[2], open ? "bad" : "");
    live("good", `live · process ${said.pid}`);
    byId("none").hidden = counted.length > 0;
    each(byId("chains"), counted, (chain) => chain.id, card);
    byId("uncounted-section").hidden = !rest.length;
    each(byId("uncounted"), rest, (chain) => `${chain.id} ${chain.layers.join()}`, uncounted);
    byId("other").hidden = !said.other;
    put(byId("other"), `and ${whole.format(said.other)} more, which have not been called for longer`);
    byId("waterfalls-section").hidden = !said.waterfalls.length;
    if (!byId("waterfalls").querySelector("details[open]"))  // what somebody reads stays
      each(byId("waterfalls"), said.waterfalls, (one) => `${one.at} ${one.chain} ${one.name} ${one.took}`, waterfall);
    document.title = open ? `(${open} open) Formation` : "Formation";
  }

  function live(how, says) { mark(byId("live"), how); put(byId("live-says"), says); }

  function signIn(says) {
    byId("board").hidden = true;
    byId("sign-in").hidden = false;
    put(byId("sign-in-says"), says);
    live("", "signed out");
    byId("token").focus();
  }

  async function logIn(token) {
    const answer = await fetch("login", { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
    if (answer.ok) await start();
    else signIn("That is not the token.");
  }

  async function start() {
    let answer;
    try {
      answer = await fetch("snapshot", { cache: "no-store" });
    } catch {
      live("warn", "the app does not answer");
      setTimeout(start, 2000);
      return;
    }
    if (answer.status === 401) { signIn("This dashboard needs its token."); return; }
    if (!answer.ok) { live("warn", await answer.text()); return; }
    render(await answer.json());
    const events = new EventSource("events");
    events.onmessage = (event) => render(JSON.parse(event.data));
    events.onerror = () => {  // at the end of each stream, too; the browser then asks again
      if (events.readyState === EventSource.CLOSED) setTimeout(start, 2000);
    };
  }

  setInterval(() => {
    if (heard && Date.now() - heard > 6000) {
      document.body.classList.add("is-stale");
      live("warn", "the app does not answer");
    }
  }, 1000);

  byId("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("token"), token = field.value.trim();
    field.value = "";
    logIn(token);
  });

  // Behind the # a token stays in the browser; it leaves the address before anything else happens.
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  if (given) logIn(given); else start();
})();
