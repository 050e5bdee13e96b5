// Sorts tables, draws charts with Vega, and redoes the leaderboard for a selection that is kept in the address.
"use strict";
(() => {
  const NOTHING = "–";

  // as `benchmark.report.numbers.number`
  function number(value) {
    if (value === null || !Number.isFinite(value)) return NOTHING;
    const rounded = Number(value.toPrecision(3));
    if (rounded === 0 || (Math.abs(rounded) >= 1e-3 && Math.abs(rounded) < 1e4)) return String(rounded);
    const [mantissa, exponent] = value.toExponential(2).split("e");
    return `${Number(mantissa)}e${Number(exponent)}`;
  }

  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const given = (value) => value !== null;

  // ---- sorting ----------------------------------------------------------------------------------------

  function keyOf(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const value = Number(text);
    return text === "" || text === NOTHING ? null : Number.isNaN(value) ? text : value;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  // Rows without a value come last in either direction.
  function sortBy(table, column, direction) {
    const body = table.tBodies[0];
    const sign = direction === "descending" ? -1 : 1;
    const rows = [...body.rows].map((row) => ({ row, key: keyOf(row, column) }));
    rows.sort((a, b) =>
      a.key === null || b.key === null ? (a.key === null) - (b.key === null) : sign * compare(a.key, b.key));
    body.append(...rows.map(({ row }) => row));
    for (const header of table.tHead.rows[0].cells) header.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
  }

  function sortedBy(table) {
    const headers = [...table.tHead.rows[0].cells];
    const column = headers.findIndex((header) => header.hasAttribute("aria-sort"));
    return { column, direction: column < 0 ? null : headers[column].getAttribute("aria-sort") };
  }

  for (const button of document.querySelectorAll(".sort")) {
    button.addEventListener("click", () => {
      const table = button.closest("table");
      const column = button.parentElement.cellIndex;
      const now = sortedBy(table);
      sortBy(table, column, now.column === column && now.direction === "ascending" ? "descending" : "ascending");
      table.dispatchEvent(new Event("sorted"));
    });
  }

  // ---- charts -----------------------------------------------------------------------------------------

  for (const script of document.querySelectorAll("script.spec")) {
    const options = { mode: "vega-lite", renderer: "svg", actions: false };
    const spec = JSON.parse(script.textContent);
    window.vegaEmbed(script.previousElementSibling, spec, options).then(() => { script.parentElement.dataset.drawn = ""; });
  }

  // ---- the leaderboard --------------------------------------------------------------------------------

  const table = document.getElementById("leaderboard");
  if (!table) return;
  const board = JSON.parse(document.getElementById("board").textContent);
  const selects = Object.fromEntries(
    ["metric", "task", "capability", "budget"].map((name) => [name, document.getElementById(name)]));
  const first = selects.metric.options[0].value;

  function selected() {
    const { task, capability, budget } = selects;
    return board.places.flatMap((place, index) =>
      (!task.value || place.task === task.value) && (!budget.value || place.budget === Number(budget.value)) &&
      (!capability.value || place.can.includes(capability.value)) ? [index] : []);
  }

  // as `benchmark.report.leaderboard.means`
  function means(values, geometric) {
    const counts = board.methods.map((_, k) => values.filter((row) => given(row[k])).length);
    const partial = counts.map((count) => count < values.filter((row) => row.some(given)).length / 2);
    const common = values.filter((row) => row.every((value, k) => partial[k] || given(value)));
    return board.methods.map((_, k) => {
      const own = (partial[k] ? values : common).map((row) => row[k]).filter(given);
      if (!own.length) return { value: null, partial: false };
      return { value: geometric ? Math.exp(mean(own.map(Math.log))) : mean(own), partial: partial[k] };
    });
  }

  function rankOf(k, places) {
    const { metric, task, capability, budget } = selects;
    const known = board.intervals[metric.value][budget.value];
    if (!task.value && !capability.value) return known?.[board.methods[k]] ?? [null, null, null];
    const own = places.map((place) => board.ranks[metric.value][place][k]).filter(given);
    return [own.length ? mean(own) : null, null, null];
  }

  function fill(cell, text, key) {
    cell.firstElementChild ? (cell.firstElementChild.textContent = text) : (cell.textContent = text);
    cell.dataset.sort = key === null ? "" : key;
  }

  function show() {
    const places = selected();
    const at = (columns) => places.map((place) => columns[place]);
    const columns = board.means.map((name) => means(at(board.values[name]), board.metrics[name].geometric));
    const cost = at(board.cost), failed = at(board.failed);
    for (const row of table.tBodies[0].rows) {
      const k = board.methods.indexOf(row.dataset.method);
      const [, rank, ...others] = row.cells;
      const [value, low, high] = rankOf(k, places);
      fill(rank, number(value) + (given(low) && given(high) ? ` [${number(low)}, ${number(high)}]` : ""), value);
      columns.forEach((column, j) =>
        fill(others[j], number(column[k].value) + (column[k].partial ? " †" : ""), column[k].value));
      const seconds = cost.map((line) => line[k]).filter(given);
      const average = seconds.length ? mean(seconds) : null;
      fill(others[columns.length], number(average), average);
      const tried = failed.map((line) => line[k]).filter(given);
      const failures = tried.reduce((a, b) => a + b, 0);
      fill(others[columns.length + 1], `${failures} of ${tried.length}`, failures);
    }
    const plain = selects.task.value || selects.capability.value;
    document.getElementById("selection").textContent = places.length
      ? `${places.length === board.places.length ? "All " : ""}${places.length} places.` +
        (plain ? " Ranks are plain means here, without intervals." : "")
      : "No place fits this selection.";
  }

  function write() {
    const state = new URLSearchParams();
    for (const [name, select] of Object.entries(selects)) {
      if (select.value && !(name === "metric" && select.value === first)) state.set(name, select.value);
    }
    const { column, direction } = sortedBy(table);
    if (column !== 1 || direction !== "ascending") state.set("sort", `${column}-${direction}`);
    const hash = state.toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function read() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const [name, select] of Object.entries(selects)) {
      const wanted = state.get(name) ?? (name === "metric" ? first : "");
      select.value = [...select.options].some((option) => option.value === wanted) ? wanted : select.options[0].value;
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
