// Plotly on demand. The page holds <figure data-chart> with a JSON script ({data, layout}) and a
// table; Plotly loads once, when the first chart comes near, and the table stays for readers.
(() => {
  "use strict";
  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const source = document.currentScript.dataset.plotly;
  if (!figures.length) return;

  const ROLES = {
    champion: { color: "--champ", dash: "dash", width: 1.75 },
    candidate: { color: "--cand", dash: "solid", width: 1.75 },
    limit: { color: "--bad", dash: "dot", width: 1.25 },
  };
  const CONFIG = { displaylogo: false, responsive: true, scrollZoom: false, displayModeBar: false };

  // Tokens are light-dark() pairs: only a computed colour tells which one holds.
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const colour = token => {
    probe.style.color = `var(${token})`;
    return getComputedStyle(probe).color;
  };

  let loading;
  const load = () => loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = done;
    script.onerror = failed;
    document.head.append(script);
  });

  const styled = spec => {
    const axis = {
      gridcolor: colour("--grid"), linecolor: colour("--ctl"), zerolinecolor: colour("--ink-2"),
      tickcolor: colour("--grid"), tickfont: { size: 11, color: colour("--ink-3") }, automargin: true,
    };
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink-2") },
      margin: { l: 40, r: 12, t: 8, b: 28 }, showlegend: false, hovermode: "x unified", dragmode: "zoom",
      hoverlabel: {
        bgcolor: colour("--surface"), bordercolor: colour("--line"), namelength: -1,
        font: { color: colour("--ink"), size: 12 },
      },
      ...spec.layout,
    };
    layout.xaxis = { ...axis, showgrid: false, ...spec.layout?.xaxis };
    layout.yaxis = { ...axis, ...spec.layout?.yaxis };
    layout.shapes = (spec.layout?.shapes ?? []).map(shape => {
      const role = ROLES[shape.meta?.role];
      return role ? { ...shape, line: { ...role, color: colour(role.color) } } : shape;
    });
    const data = spec.data.map(trace => {
      const role = ROLES[trace.meta?.role];
      if (!role) return trace;
      if (trace.meta.kind === "band") {
        const band = trace.meta.role === "champion" ? "--band-champ" : "--band";
        return { ...trace, line: { width: 0 }, fillcolor: colour(band), hoverinfo: "skip" };
      }
      const ink = colour(role.color);
      return { ...trace, line: { ...role, color: ink, ...trace.line }, marker: { color: ink, ...trace.marker } };
    });
    return [data, layout];
  };

  const specs = new Map();
  const draw = async figure => {
    if (!specs.has(figure)) {
      specs.set(figure, JSON.parse(figure.querySelector("script[type='application/json']").textContent));
    }
    let box = figure.querySelector(".plot");
    if (!box) {
      box = document.createElement("div");
      box.className = "plot";
      figure.append(box);
    }
    await window.Plotly.react(box, ...styled(specs.get(figure)), CONFIG);
    figure.dataset.ready = "1";
  };

  const near = new IntersectionObserver(entries => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      load().then(() => draw(target)).catch(() => { target.dataset.failed = "1"; });
    }
  }, { rootMargin: "200px" });
  figures.forEach(figure => near.observe(figure));

  const recolour = () => figures.forEach(figure => { if (figure.dataset.ready) draw(figure); });
  new MutationObserver(recolour).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
})();
