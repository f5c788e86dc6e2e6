"use strict";
(() => {
  const PAGE = 10;
  const $ = (id) => document.getElementById(id);

  for (const button of document.querySelectorAll("[data-toggle]")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      for (const part of document.querySelectorAll(`figure [data-arm="${button.dataset.toggle}"]`)) {
        part.classList.toggle("off", !on);
      }
    });
  }

  const store = $("samples-data");
  if (!store) return;
  const numbers = new Map();
  const keys = new Map();
  for (const entry of $("keys").content.children) {
    numbers.set(entry.dataset.name, entry.dataset.number);
    keys.set(entry.dataset.name, entry.firstElementChild);
  }

  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  };

  // All text from models goes in as text, never as HTML. What was searched for is marked.
  const marked = (element, text, terms) => {
    const lower = text.toLowerCase();
    // Lower case may have another length (as of İ); then nothing is marked rather than the wrong letters.
    const usable = lower.length === text.length ? terms : [];
    let at = 0;
    while (at < text.length) {
      let next = -1;
      let size = 0;
      for (const term of usable) {
        const found = lower.indexOf(term, at);
        if (found >= 0 && (next < 0 || found < next || (found === next && term.length > size))) {
          next = found;
          size = term.length;
        }
      }
      if (next < 0) break;
      element.append(text.slice(at, next), make("mark", "", text.slice(next, next + size)));
      at = next + size;
    }
    element.append(text.slice(at));
    element.dir = "auto";
    return element;
  };

  const shown = (value) => (Math.abs(value) >= 100 ? value.toFixed(1) : value.toPrecision(3)).replace("-", "−");

  const start = (data) => {
    const { runs, figures, examples } = data;
    const hidden = new Set();
    let page = 0;
    for (const example of examples) {
      const texts = [example.id, ...example.p, ...example.r, ...example.a.map((answer) => answer[1])];
      example.text = texts.join("\n").toLowerCase().normalize("NFC");
    }

    // The arms' means over seeds in one figure, of the arms that are shown.
    const means = (example, figure) => {
      const sums = new Map();
      for (const [run, , , , scores] of example.a) {
        const value = scores[figure];
        if (value === null || value === undefined || hidden.has(runs[run][0])) continue;
        const sum = sums.get(runs[run][0]) ?? [0, 0];
        sums.set(runs[run][0], [sum[0] + value, sum[1] + 1]);
      }
      return [...sums.values()].map(([sum, num]) => sum / num);
    };
    const apart = (example, figure) => {
      const values = means(example, figure);
      return values.length > 1 ? Math.max(...values) - Math.min(...values) : 0;
    };
    const mean = (example, figure) => {
      const values = means(example, figure);
      return values.length ? values.reduce((a, b) => a + b, 0) / values.length : NaN;
    };

    const answer = ([run, text, finished, prompt, scores], figure, terms) => {
      const [arm, seed] = runs[run];
      const who = make("p", "who", keys.get(arm).cloneNode(true), make("b", "", arm), `seed ${seed}`);
      if (scores[figure] !== null && scores[figure] !== undefined) who.append(make("span", "score", shown(scores[figure])));
      if (!finished) who.append("cut off at the length limit");
      if (prompt) who.append(`asked with prompt ${prompt + 1}`);
      const said = text.trim()
        ? marked(make("p", "text"), text, terms)
        : make("p", "text empty", text ? `(${text.length} characters of white space)` : "(nothing)");
      const number = Number(numbers.get(arm));
      return make("div", `answer c${number === 0 ? 0 : 1 + ((number - 1) % 7)}`, who, said);
    };

    const item = (example, figure, terms) => {
      const head = make("div", "sample-head", marked(make("h3"), example.id, terms));
      if (figures.length && means(example, figure).length > 1) {
        head.append(make("small", "", `arms are ${shown(apart(example, figure))} apart in ${figures[figure][0]}`));
      }
      const prompts = make("div");
      example.p.forEach((prompt, i) => {
        prompts.append(make("h4", "", example.p.length > 1 ? `Prompt ${i + 1}` : "Prompt"));
        const box = marked(make("div", "prompt"), prompt, terms);
        box.tabIndex = 0;
        prompts.append(box);
      });
      const list = make("ol", "references");
      for (const reference of example.r) list.append(marked(make("li"), reference, terms));
      const references = make("div", "", make("h4", "", example.r.length > 1 ? "References" : "Reference"), list);
      const asked = make("div", "asked", prompts, ...(example.r.length ? [references] : []));
      const answers = make("div", "answers");
      for (const row of example.a) if (!hidden.has(runs[row[0]][0])) answers.append(answer(row, figure, terms));
      return make("li", "", head, asked, answers);
    };

    const sorted = (found, figure) => {
      const by = $("sort").value;
      if (by === "data" || !figures.length) return found.sort((a, b) => a.n - b.n);
      const sign = figures[figure][1] ? 1 : -1;
      const worth = new Map(
        found.map((example) => [example, by === "apart" ? -apart(example, figure) : sign * mean(example, figure)]),
      );
      const last = (value) => (Number.isNaN(value) ? Infinity : value);
      return found.sort((a, b) => last(worth.get(a)) - last(worth.get(b)) || a.n - b.n);
    };

    const draw = () => {
      const terms = $("search").value.toLowerCase().normalize("NFC").split(/\s+/).filter(Boolean);
      const figure = Number($("figure")?.value ?? 0);
      const found = sorted(examples.filter((example) => terms.every((term) => example.text.includes(term))), figure);
      const pages = Math.max(1, Math.ceil(found.length / PAGE));
      page = Math.min(page, pages - 1);
      const here = found.slice(page * PAGE, page * PAGE + PAGE);
      $("samples-list").replaceChildren(...here.map((example) => item(example, figure, terms)));
      const where = here.length ? `${page * PAGE + 1} to ${page * PAGE + here.length} of ` : "";
      $("samples-count").textContent = `${where}${found.length} ${found.length === 1 ? "example" : "examples"}`;
      $("samples-list").dataset.found = String(found.length);
      for (const button of document.querySelectorAll("[data-turn]")) {
        const to = page + Number(button.dataset.turn);
        button.disabled = to < 0 || to >= pages;
      }
      $("pager-end").hidden = pages === 1;
    };

    const again = () => {
      page = 0;
      draw();
    };
    let waiting;
    $("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(again, 120);
    });
    for (const id of ["sort", "figure"]) $(id)?.addEventListener("change", again);
    for (const button of document.querySelectorAll("[data-show]")) {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        hidden[on ? "delete" : "add"](button.dataset.show);
        again();
      });
    }
    for (const button of document.querySelectorAll("[data-turn]")) {
      button.addEventListener("click", () => {
        page += Number(button.dataset.turn);
        draw();
        $("samples").scrollIntoView();
      });
    }
    draw();
    $("samples-controls").hidden = false;
    $("samples-pager").hidden = false;
  };

  const unpack = async () => {
    const bytes = Uint8Array.from(atob(store.textContent.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  };
  // Without DecompressionStream (browsers before 2023) the first examples stay as they are in the page.
  if ("DecompressionStream" in window) unpack().then(start);
})();
