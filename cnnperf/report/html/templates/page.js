// Sorts the tables, draws the figures, switches the colours. Nothing is fetched, stored or evaluated.
(() => {
  "use strict";

  const root = document.documentElement;
  const query = (selector, within = document) => [...within.querySelectorAll(selector)];

  // --- tables ------------------------------------------------------------------------------------

  const textOrder = new Intl.Collator("en", { numeric: true });

  /** What a cell is sorted by: a number, a text, or null where there is none. */
  function keyOf(cell) {
    const text = cell.classList.contains("number") ? cell.dataset.value : cell.textContent;
    if (text === "") return null;
    const number = Number(text);
    return cell.classList.contains("number") && !Number.isNaN(number) ? number : text;
  }

  /** Empty cells come last, whichever way the others are sorted. */
  function compare(one, other, sign) {
    if (one === null || other === null) return (one === null) - (other === null);
    if (typeof one === "number" && typeof other === "number") return sign * (one - other);
    return sign * textOrder.compare(String(one), String(other));
  }

  function sortBy(head) {
    const column = head.cellIndex;
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = head.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
    rows.sort(([one], [other]) => compare(one, other, descending ? -1 : 1));
    body.append(...rows.map(([, row]) => row));
  }

  for (const button of query("thead button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }

  // --- colours -----------------------------------------------------------------------------------

  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const themeButton = document.getElementById("_theme");

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);

  function nameTheme() {
    themeButton.textContent = isDark() ? "Light colours" : "Dark colours";
  }

  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  prefersDark.addEventListener("change", nameTheme);
  nameTheme();
  themeButton.hidden = false;

  // --- figures -----------------------------------------------------------------------------------

  const config = JSON.parse(document.getElementById("_config").textContent);
  const options = {
    mode: "vega-lite",
    renderer: "svg", // its colours are those of the style sheet, in light, in dark and on paper
    ast: true, // interpreted: the policy allows no `eval`
    actions: false,
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true, theme: "plain" },
    config,
  };
  const waiting = new Set(query("figure"));

  async function draw(figure) {
    if (!waiting.delete(figure)) return;
    const place = figure.querySelector(".chart");
    try {
      const text = figure.querySelector("script").textContent;
      await vegaEmbed(place, JSON.parse(text), options);
    } catch (error) {
      const sentence = document.createElement("p");
      sentence.textContent = `This figure could not be drawn: ${error.message}`;
      place.replaceChildren(sentence);
    }
    place.classList.remove("waiting");
  }

  const drawAll = () => Promise.all([...waiting].map(draw));

  // What is seen first is drawn first; the rest follows while nobody waits, so that all can be
  // printed and searched.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
    },
    { rootMargin: "300px" },
  );
  for (const figure of waiting) {
    figure.querySelector(".chart").classList.add("waiting");
    watcher.observe(figure);
  }
  const whenIdle = window.requestIdleCallback ?? ((work) => setTimeout(work, 30));

  async function drawNext() {
    const [figure] = waiting;
    if (figure) {
      await draw(figure);
      whenIdle(drawNext);
    } else {
      watcher.disconnect();
      root.dataset.figures = "drawn";
    }
  }
  whenIdle(drawNext);

  // --- paper -------------------------------------------------------------------------------------

  let opened = [];
  window.addEventListener("beforeprint", () => {
    drawAll();
    opened = query("details:not([open])");
    for (const details of opened) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    opened = [];
  });
})();
