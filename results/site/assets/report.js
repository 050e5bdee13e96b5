// Sorts tables, draws charts with Vega, and shows the leaderboard of a selection that is kept in the address.
"use strict";
(() => {
  const NOTHING = "–";

  // ---- sorting ----------------------------------------------------------------------------------------

  function keyOf(row, column) {
    const cell = row.cells[column];
    const text = cell.textContent.trim();
    const value = Number(text.split(/\s/)[0].replaceAll(",", "").replaceAll("−", "-")); // of "1.8 [1.5, 2.1]" too
    return text === "" || text === NOTHING ? null : Number.isNaN(value) ? text : value;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  // In either direction rows without a value come last, before them those marked † for few places.
  function classOf(row, column) {
    const text = row.cells[column].textContent.trim();
    return keyOf(row, column) === null ? 2 : text.endsWith("†") ? 1 : 0;
  }

  function sortBy(table, column, direction) {
    const body = table.tBodies[0];
    const sign = direction === "descending" ? -1 : 1;
    const rows = [...body.rows].map((row) => ({ row, key: keyOf(row, column), group: classOf(row, column) }));
    rows.sort((a, b) => a.group - b.group || (a.key === null ? 0 : sign * compare(a.key, b.key)));
    body.append(...rows.map(({ row }) => row));
    for (const header of table.tHead.rows[0].cells) header.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
  }

  function sortedBy(table) {
    const headers = [...table.tHead.rows[0].cells];
    const column = headers.findIndex((header) => header.hasAttribute("aria-sort"));
    return { column, direction: column < 0 ? null : headers[column].getAttribute("aria-sort") };
  }

  for (const header of document.querySelectorAll(".sortable thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const table = header.closest("table");
      const column = header.cellIndex;
      const now = sortedBy(table);
      sortBy(table, column, now.column === column && now.direction === "ascending" ? "descending" : "ascending");
      table.dispatchEvent(new Event("sorted"));
    });
  }

  // ---- charts -----------------------------------------------------------------------------------------

  // Puts back the parts that `benchmark.report.parts` took out.
  function whole(value) {
    if (value === null || typeof value !== "object") return value;
    if ("$" in value) return structuredClone(window.parts[value.$]);
    return Array.isArray(value)
      ? value.map(whole)
      : Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, whole(inner)]));
  }

  // The draws of `benchmark.report.corner`: a byte for each number, 255 for none.
  function unpacked({ columns, names, low, step, groups }) {
    return groups.flatMap(([m, budget, text]) => {
      const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      return Array.from({ length: bytes.length / columns }, (_, row) => {
        const draw = { m, method: names[m], budget };
        for (let k = 0; k < columns; k++) {
          const byte = bytes[row * columns + k];
          draw[`p${k}`] = byte === 255 ? null : low[k] + byte * step[k];
        }
        return draw;
      });
    });
  }

  function draw(chart) {
    const spec = whole(window.charts[chart.dataset.chart][chart.dataset.panel]);
    if (spec.usermeta) {
      const { columns } = spec.usermeta;
      const size = Math.floor((Math.min(chart.clientWidth, 700) - 70) / columns - 8);
      Object.assign(spec.config.view, { continuousWidth: Math.min(size, 260), continuousHeight: Math.min(size, 260) });
      spec.datasets = { ...spec.datasets, draws: unpacked(spec.usermeta) };
    }
    const options = { mode: "vega-lite", renderer: "svg", actions: false };
    window.vegaEmbed(chart, spec, options).then(() => { chart.parentElement.dataset.drawn = ""; });
  }

  for (const chart of document.querySelectorAll(".chart")) draw(chart);

  // ---- the figure of the overview ---------------------------------------------------------------------

  function loaded(id) {
    if (window.charts[id]) return Promise.resolve();
    return new Promise((resolve) => {
      const script = document.createElement("script");
      script.src = `${id}.js`;
      script.onload = resolve;
      document.head.append(script);
    });
  }

  const front = document.getElementById("front-task");
  if (front) {
    const chart = document.querySelector(".chart");
    const change = async () => {
      const option = front.selectedOptions[0];
      await loaded(option.value);
      if (option !== front.selectedOptions[0]) return;
      Object.assign(chart.dataset, { chart: option.value, panel: option.dataset.panel });
      document.getElementById("front-place").href = option.dataset.place;
      draw(chart);
    };
    front.addEventListener("change", change);
    if (front.value !== chart.dataset.chart) change(); // a browser may keep what was chosen before
  }

  // ---- the leaderboard --------------------------------------------------------------------------------

  const table = document.getElementById("leaderboard");
  if (!table) return;
  const board = JSON.parse(document.getElementById("board").textContent);
  const names = ["metric", "variant", "task", "capability", "budget"].filter((name) => document.getElementById(name));
  const selects = Object.fromEntries(names.map((name) => [name, document.getElementById(name)]));

  // What `benchmark.report.leaderboard` computed for the selection; nothing where no place fits it.
  function selected() {
    const { variant, task, capability, budget } = selects;
    if (task.value && capability.value && !board.can[task.value].includes(capability.value)) return undefined;
    const scope = task.value ? `task:${task.value}` : capability.value ? `can:${capability.value}` : "";
    return board.found[board.selections[variant ? variant.value : board.variants[0]][scope]?.[budget.value]];
  }

  function show() {
    const found = selected();
    const metric = selects.metric.value;
    const columns = found
      ? [found.rank[metric], found.ranked[metric], ...found.means, found.cost, found.failures]
      : [];
    for (const row of table.tBodies[0].rows) {
      const k = found ? found.methods.indexOf(board.methods.indexOf(row.dataset.method)) : -1;
      [...row.cells].slice(1).forEach((cell, j) => {
        (cell.firstElementChild ?? cell).textContent = columns[j]?.[k] || NOTHING;
      });
    }
    document.getElementById("selection").textContent =
      found ? `${found.places} place${found.places > 1 ? "s" : ""}.` : "No place fits this selection.";
  }

  function write() {
    const state = new URLSearchParams();
    for (const [name, select] of Object.entries(selects)) {
      if (select.value !== select.options[0]?.value) state.set(name, select.value);
    }
    const { column, direction } = sortedBy(table);
    if (column !== 1 || direction !== "ascending") state.set("sort", `${column}-${direction}`);
    const hash = state.toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function read() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const [name, select] of Object.entries(selects)) {
      const known = [...select.options].some((option) => option.value === state.get(name));
      if (select.options.length) select.value = known ? state.get(name) : select.options[0].value;
    }
    show();
    const [column, direction] = (state.get("sort") ?? "1-ascending").split("-");
    if (Number(column) < table.tHead.rows[0].cells.length) {
      sortBy(table, Number(column), direction === "descending" ? direction : "ascending");
    }
  }

  function changed() {
    show();
    const { column, direction } = sortedBy(table);
    sortBy(table, column, direction);
    write();
  }

  const form = document.getElementById("filters");
  form.addEventListener("change", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(changed));
  table.addEventListener("sorted", write);
  window.addEventListener("hashchange", read);
  read();
})();
