(function () {
  "use strict";
  // Airflow's own theme, light or dark, which may change while the page is open.
  function follow() {
    var dark = null;
    try {
      var root = window.parent.document.documentElement;
      dark = root.classList.contains("dark") ? true : root.classList.contains("light") ? false : null;
    } catch (ignored) { /* not in Airflow's frame */ }
    if (dark === null) dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }
  follow();
  try {
    new MutationObserver(follow).observe(window.parent.document.documentElement, {
      attributes: true, attributeFilter: ["class"],
    });
  } catch (ignored) { /* not in Airflow's frame */ }
  // Airflow 3.1.0 keeps the login in local storage instead of a cookie: request a refused page again with it.
  if (document.documentElement.dataset.refused !== "401") return;
  var token = window.localStorage.getItem("token");
  if (!token) return;
  fetch(window.location.href, { headers: { Authorization: "Bearer " + token } }).then(function (answer) {
    if (answer.status === 401) return;
    answer.text().then(function (text) {
      var page = new DOMParser().parseFromString(text, "text/html");
      document.head.replaceWith(document.adoptNode(page.head));
      document.body.replaceWith(document.adoptNode(page.body));
    });
  });
})();
