(function () {
  "use strict";
  var root = document.documentElement;
  // Airflow's page around this one; null where the page is open by itself.
  var airflow = null;
  try { if (window.parent !== window) airflow = window.parent.document; } catch (ignored) { /* another site's frame */ }
  function all(selector, from) { return Array.from((from || document).querySelectorAll(selector)); }

  // Airflow's own theme, light or dark, which may change while the page is open.
  function follow() {
    var dark = null;
    if (airflow) {
      var classes = airflow.documentElement.classList;
      dark = classes.contains("dark") ? true : classes.contains("light") ? false : null;
    }
    if (dark === null) dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "dark" : "light";
  }
  follow();
  if (airflow) {
    new MutationObserver(follow).observe(airflow.documentElement, { attributes: true, attributeFilter: ["class"] });
  }

  // Airflow keeps the login in a cookie; 3.1.0 in local storage, where another version's may be old.
  function request(url, options) {
    return fetch(url, options).then(function (answer) {
      var token = window.localStorage.getItem("token");
      if (answer.status !== 401 || !token) return answer;
      var headers = Object.assign({ Authorization: "Bearer " + token }, options.headers);
      return fetch(url, Object.assign({}, options, { headers: headers }));
    });
  }

  // Times stand in UTC in the page, and are shown in the time zone that is chosen in Airflow.
  function chosenZone() {
    var zone = window.localStorage.getItem("timezone");
    try { zone = JSON.parse(zone); } catch (ignored) { /* a plain text */ }
    try { return new Intl.DateTimeFormat("sv-SE", { timeZone: zone || undefined }).resolvedOptions().timeZone; }
    catch (ignored) { return "UTC"; }
  }
  function showTimes() {
    var zone = chosenZone();
    function format(parts) {
      return new Intl.DateTimeFormat("sv-SE", Object.assign({ timeZone: zone }, parts));
    }
    var date = { year: "numeric", month: "2-digit", day: "2-digit" };
    var minute = { hour: "2-digit", minute: "2-digit" };
    var forms = { moment: format(Object.assign({}, date, minute)), hour: format(minute), day: format(date) };
    all("time[data-at]").forEach(function (time) {
      var at = new Date(Number(time.dataset.at));
      if (isNaN(at)) return;
      time.textContent = forms[time.dataset.as || "moment"].format(at).slice(time.dataset.as === "day" ? 5 : 0);
      time.title = forms.moment.format(at) + " " + zone;
    });
    all(".zone").forEach(function (name) { name.textContent = zone; });
  }

  // Sort, search and filter, kept in the address, so that a reload and a bookmark show the same.
  function state() { return new URLSearchParams(window.location.search); }
  function keep(name, value) {
    var kept = state();
    if (value) kept.set(name, value); else kept.delete(name);
    var query = kept.toString();
    window.history.replaceState(null, "", window.location.pathname + (query ? "?" + query : ""));
    arrange();
  }
  function arrange() {
    var list = document.getElementById("tables");
    if (!list) return;
    var kept = state(), words = (kept.get("q") || "").toLowerCase(), only = kept.get("state") || "";
    var owner = kept.get("owner") || "";
    var sort = kept.get("sort") || "", descending = sort[0] === "-", column = sort.replace("-", "");
    var rows = all("tbody[data-table]", list), shown = 0;
    rows.forEach(function (row) {
      var named = row.querySelector(".name").textContent.toLowerCase().includes(words);
      var fits = named && (!only || row.dataset.state === only) && (!owner || row.dataset.owner === owner);
      row.hidden = !fits;
      shown += fits;
    });
    function value(row) {
      if (!column) return Number(row.dataset.order);
      if (column === "table") return row.dataset.table.toLowerCase();
      var cell = row.querySelector('td[data-column="' + CSS.escape(column) + '"]');
      return cell && cell.dataset.sort !== "" ? Number(cell.dataset.sort) : null;
    }
    rows.map(function (row) { return [value(row), row]; }).sort(function (a, b) {
      if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null);
      return (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) * (descending ? -1 : 1);
    }).forEach(function (pair) { list.appendChild(pair[1]); });
    all("th button", list).forEach(function (button) {
      var own = button.dataset.sort === column;
      button.parentElement.ariaSort = own ? (descending ? "descending" : "ascending") : null;
    });
    all("[data-only]").forEach(function (button) { button.ariaPressed = String(button.dataset.only === only); });
    var box = document.getElementById("search");
    if (box && box !== document.activeElement) box.value = kept.get("q") || "";
    var owners = document.getElementById("owner");
    if (owners) owners.value = owner;
    var count = document.getElementById("shown");
    if (count) count.textContent = shown === rows.length ? "" : shown + " of " + rows.length;
  }
  document.addEventListener("input", function (event) {
    if (event.target.id === "search") keep("q", event.target.value);
    if (event.target.id === "owner") keep("owner", event.target.value);
    if (event.target.id === "columns-search") {
      var words = event.target.value.toLowerCase();
      all("#columns tbody tr").forEach(function (row) { row.hidden = !row.textContent.toLowerCase().includes(words); });
    }
  });

  // The frame's sandbox lets no link out of it: Airflow's page follows it instead.
  function leave(href, apart) {
    var home = airflow || document, link = home.createElement("a");
    link.href = href;
    if (apart) { link.target = "_blank"; link.rel = "noopener noreferrer"; }
    home.body.appendChild(link);
    link.click();
    link.remove();
  }
  function copy(text, button) {
    function done() {
      var before = button.textContent;
      button.textContent = "Copied";
      window.setTimeout(function () { button.textContent = before; }, 1200);
    }
    function select() {
      var box = document.createElement("textarea");
      box.value = text;
      (document.querySelector("dialog[open]") || document.body).appendChild(box);
      box.select();
      document.execCommand("copy");
      box.remove();
      done();
    }
    // Without HTTPS there is no clipboard.
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, select); else select();
  }

  // A run is started by Airflow's REST API, as the user, who may do it there or may not.
  var asked = null;
  function ask(button) {
    var dialog = document.getElementById("start");
    asked = button;
    dialog.querySelector("h2").textContent = button.textContent;
    dialog.querySelector(".about").textContent = button.dataset.about;
    dialog.querySelector(".dag").textContent = button.dataset.dag;
    dialog.querySelector("pre").textContent = button.dataset.conf;
    dialog.querySelector(".paused").hidden = button.dataset.paused !== "yes";
    dialog.querySelector(".answer").textContent = "";
    dialog.showModal();
  }
  function start() {
    var dialog = document.getElementById("start"), answer = dialog.querySelector(".answer"), button = asked;
    var base = new URL(button.dataset.airflow, window.location.href), dag = encodeURIComponent(button.dataset.dag);
    answer.textContent = "Starting…";
    request(new URL("api/v2/dags/" + dag + "/dagRuns", base), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ logical_date: null, conf: JSON.parse(button.dataset.conf) }),
    }).then(function (reply) {
      return reply.json().catch(function () { return {}; }).then(function (run) {
        if (reply.ok) return leave(new URL("dags/" + dag + "/runs/" + encodeURIComponent(run.dag_run_id), base).href);
        var why = typeof run.detail === "string" ? run.detail : "";
        answer.textContent = reply.status === 403 || reply.status === 401
          ? "Airflow does not let you start this DAG." : "Airflow answered " + reply.status + ". " + why;
      });
    }).catch(function () { answer.textContent = "Airflow cannot be reached."; });
  }
  document.addEventListener("click", function (event) {
    var on = event.target.closest("button, a");
    if (!on || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (on.dataset.copy !== undefined) {
      var from = on.dataset.copy ? on.closest(".copied").querySelector(on.dataset.copy) : null;
      copy(from ? from.textContent : asked.dataset.conf, on);
    } else if (on.dataset.conf) { event.preventDefault(); ask(on); }
    else if (on.id === "start-run") start();
    else if (on.id === "start-form") leave(asked.href);
    else if (on.id === "start-close") document.getElementById("start").close();
    else if (on.dataset.sort) {
      keep("sort", state().get("sort") === on.dataset.sort ? "-" + on.dataset.sort : on.dataset.sort);
    } else if (on.dataset.only !== undefined) keep("state", on.ariaPressed === "true" ? "" : on.dataset.only);
    else if (on.dataset.leave) { event.preventDefault(); leave(on.href, on.dataset.leave === "apart"); }
  });

  function show() { showTimes(); arrange(); }
  function load(into) {
    return request(window.location.href, { cache: "no-store" }).then(function (answer) {
      return answer.text().then(function (text) {
        var page = new DOMParser().parseFromString(text, "text/html");
        if (answer.status !== 401) into(page);
      });
    }).catch(function () { /* the next time */ });
  }
  // What changes is replaced; a reader who types, selects or is asked something is not disturbed.
  function refresh() {
    var busy = document.hidden || document.querySelector("dialog[open]") || String(window.getSelection());
    if (busy || /INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) return;
    load(function (page) {
      var open = all("details").map(function (details) { return details.open; });
      document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
      all("details").forEach(function (details, place) { details.open = open[place]; });
      show();
    });
  }
  if (root.dataset.refused === "401") {
    // Airflow 3.1.0 keeps the login in local storage instead of a cookie: request a refused page again with it.
    if (!window.localStorage.getItem("token")) return;
    load(function (page) {
      document.head.replaceWith(document.adoptNode(page.head));
      document.body.replaceWith(document.adoptNode(page.body));
      root.removeAttribute("data-refused");
      show();
    });
  } else if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", show);
  else show();
  window.setInterval(refresh, 60000);
  window.addEventListener("storage", showTimes);
})();
