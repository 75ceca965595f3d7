"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const tip = document.getElementById("tip");

  const add = (parent, name, text) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    return parent.appendChild(made);
  };

  const describe = (index) => {
    const [uri, shape, run, columns] = data.rows[index];
    if (data.thumbnails[index]) add(tip, "img").src = data.thumbnails[index];
    add(tip, "b", uri);
    add(tip, "span", `${shape}, run ${run}`);
    for (const [name, value] of columns) add(tip, "span", `${name}: ${value}`);
  };

  const tooltip = (_, event, item, value) => {
    tip.hidden = value === null || value === undefined || value === "";
    if (tip.hidden) return;
    tip.replaceChildren();
    if (item.datum && item.datum.i !== undefined) describe(item.datum.i);
    else for (const [name, v] of Object.entries(value)) add(tip, "span", `${name}: ${v}`);
    const left = event.clientX + 16 + tip.offsetWidth > window.innerWidth
      ? event.clientX - tip.offsetWidth - 12 : event.clientX + 16;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 12, window.innerHeight - tip.offsetHeight - 8))}px`;
  };

  const theme = () => {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(name).trim();
    const [text, line, series, failed] = ["--soft", "--line", "--series", "--failed"].map(get);
    const others = dark.matches
      ? ["#e8c15a", "#5fc9a3", "#c79bf2", "#f29ac0", "#8fd0e8", "#b5c26a", "#d9a679", "#b0b6c0"]
      : ["#b07d10", "#1f8f6b", "#8250c4", "#c2407f", "#157fa3", "#66751a", "#9a5b2d", "#66707c"];
    const axis = { labelColor: text, titleColor: text, domainColor: line, tickColor: line, gridColor: line };
    return {
      background: "transparent",
      font: "system-ui, sans-serif",
      view: { stroke: "transparent" },
      axis: { ...axis, titleFontWeight: "normal", labelOverlap: true, labelLimit: 140 },
      legend: { labelColor: text, titleColor: text, labelLimit: 240 },
      range: { category: [series, ...others, failed], diverging: [series, failed] },
      mark: { color: series },
    };
  };

  const draw = () => {
    for (const [name, spec] of Object.entries(data.charts)) {
      const place = document.getElementById(`chart-${name}`);
      if (!place) continue;
      const renderer = name.startsWith("map") ? "canvas" : "svg";
      vegaEmbed(place, spec, { actions: false, ast: true, config: theme(), renderer, tooltip });
    }
  };

  for (const image of document.querySelectorAll("img[data-row]")) {
    image.src = data.thumbnails[image.dataset.row];
  }
  // Kept once: by the charts' data the pictures are only named.
  for (const [name, spec] of Object.entries(data.charts)) {
    for (const layer of name.startsWith("map") ? spec.layer.slice(1) : []) {
      for (const point of layer.data.values) point.u = data.thumbnails[point.i];
    }
  }
  draw();
  dark.addEventListener("change", draw);
})();
