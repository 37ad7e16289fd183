// The last hour of all processes together or of one, drawn by uPlot, and how each of them is now.

import { ask } from "../api.js";
import { Empty, Quiet, html, useEffect, useRef, useState } from "../parts.js";
import { state } from "../store.js";
import { count, octets } from "../words.js";

const WANTED = [
  { title: "Sessions in progress", series: [["live", "in progress", "a"]] },
  { title: "Calls a second", note: "set up: begun, and answered", series: [["started", "started", "a"], ["answered", "answered", "b"]] },
  { title: "Failures a second", note: "calls that ended for a reason of ours, and requests that were refused", series: [["failed", "ended badly", "bad"], ["refused", "refused", "warn"]] },
  { title: "Media, octets a second", note: "relayed as they pass; carried by the kernel as the host counts them, every few seconds; given back are counted when a stream ends", octets: true, series: [["relayed", "relayed", "a"], ["carried", "carried by the kernel", "warn"], ["octets", "given back", "b"]] },
  { title: "Tickets a second", series: [["tickets", "issued and opened", "a"], ["tickets_refused", "refused", "bad"]] },
];

let library = null;

/** uPlot is a script of its own, loaded when it is needed. */
function uplot() {
  library ??= new Promise((done, fail) => {
    const script = document.createElement("script");
    script.src = "/console/vendor/uPlot.iife.min.js";
    script.onload = () => done(window.uPlot);
    script.onerror = () => { library = null; fail(new Error("the charts could not be loaded")); };
    document.head.append(script);
  });
  return library;
}

const short = (n) => (n >= 1e6 ? `${(n / 1e6).toFixed(1)}M` : n >= 1e4 ? `${Math.round(n / 1e3)}k` : n >= 10 || Number.isInteger(n) ? count(Math.round(n)) : String(Number(n.toFixed(2))));

function Chart({ wanted, history, theme, Plot }) {
  const box = useRef(null), plot = useRef(null);
  const columns = wanted.series.map(([name]) => (name === "live" ? history.live : history.rates[name] ?? history.at.map(() => 0)));
  const data = [history.at.map((at) => at / 1_000), ...columns];
  useEffect(() => {
    const element = box.current, style = getComputedStyle(document.documentElement);
    const colour = (name) => { const probe = document.createElement("i"); probe.className = `ink-${name}`; element.append(probe); const found = getComputedStyle(probe).color; probe.remove(); return found; };
    const value = (n) => (n === null || n === undefined ? "–" : wanted.octets ? octets(n) : short(n));
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    plot.current = new Plot({
      width: Math.max(260, element.clientWidth), height: 190, padding: [10, 30, 0, 0], cursor: { y: false, points: { size: 6 } }, legend: { live: true },
      scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.15, wanted.octets ? 1000 : 1)] } },
      axes: [{ ...axis, space: 70, size: 30, values: (_, at, __, ___, step) => at.map((second) => new Date(second * 1_000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...(step < 60 ? { second: "2-digit" } : {}) })) }, { ...axis, size: 58, values: (_, at) => at.map(value) }],
      series: [{ label: "at", value: (_, at) => (at === null || at === undefined ? "–" : new Date(at * 1_000).toLocaleTimeString("en-GB")) },
        ...wanted.series.map(([, label, ink]) => ({ label, stroke: colour(ink), fill: colour(`${ink}-fill`), width: 1.6, points: { show: false }, value: (_, n) => value(n) }))],
    }, data, element);
    const fit = new ResizeObserver(() => plot.current.setSize({ width: Math.max(260, element.clientWidth), height: 190 }));
    fit.observe(element);
    return () => { fit.disconnect(); plot.current.destroy(); };
  }, [theme, Plot]);
  useEffect(() => {
    plot.current.setData(data);
    // Where nobody points, the newest values are told, after it has drawn.
    const clock = setTimeout(() => { if (plot.current.cursor.left < 0) plot.current.setLegend({ idx: data[0].length - 1 }); });
    return () => clearTimeout(clock);
  }, [history, theme, Plot]);
  const last = columns.map((column) => column[column.length - 1] ?? 0);
  return html`<section class="card chart"><h2>${wanted.title}</h2>${wanted.note ? html`<p class="quiet">${wanted.note}</p>` : null}
    <p class="away">${wanted.series.map(([, label], n) => `${label} now: ${wanted.octets ? octets(last[n]) : short(last[n])}`).join(", ")}</p><div ref=${box} class="plot" aria-hidden="true"></div></section>`;
}

/** What was read may still have grown at the end: so much is read again. */
const AGAIN = 30_000;

/** The last hour, of a process or of all. */
function useHour(node) {
  const [{ history, problem, of }, set] = useState({ history: null, problem: null, of: null });
  useEffect(() => {
    const stop = new AbortController();
    let clock, all = null;
    const look = async () => {
      try {
        const last = all?.at[all.at.length - 1] ?? 0, after = Math.max(0, last - AGAIN);
        const more = await ask(`/api/v1/network/history?after=${after}${node === null ? "" : `&node=${encodeURIComponent(node)}`}`, stop.signal);
        const most = Math.ceil(3_600 / more.step), kept = all ? all.at.filter((at) => at <= after).length : 0;
        const joined = (a, b) => [...(a ?? []).slice(0, kept), ...b].slice(-most);
        all = { ...more, at: joined(all?.at, more.at), live: joined(all?.live, more.live), rates: Object.fromEntries(Object.entries(more.rates).map(([name, column]) => [name, joined(all?.rates[name], column)])) };
        set({ history: all, problem: null, of: node });
      } catch (error) {
        if (error.name === "AbortError") return;
        set((before) => ({ ...before, problem: error.message }));
        // What comes next may be of another process.
        if (error.status === 0) all = null;
      }
      if (!stop.signal.aborted) clock = setTimeout(look, 5_000);
    };
    look();
    return () => { stop.abort(); clearTimeout(clock); };
  }, [node]);
  return { history: of === node ? history : null, nodes: history?.nodes ?? [], quiet: history?.quiet ?? [], problem };
}

/** Each process in the last minute. */
function Now({ nodes, chosen, go }) {
  const rate = (node, ...names) => names.reduce((sum, name) => sum + (node.rates[name] ?? 0), 0);
  return html`<section class="card chart now-of" aria-labelledby="now-title"><h2 id="now-title">By process</h2><p class="quiet">a second, in the last minute</p>
    <div class="scroll" tabindex="0" role="region" aria-label="Processes in the last minute"><table class="stacks"><thead><tr><th scope="col">Process</th><th scope="col">In progress</th><th scope="col">Set up</th><th scope="col">Failures</th><th scope="col">Media</th><th scope="col">Tickets</th></tr></thead>
      <tbody>${nodes.map((node) => html`<tr key=${node.node} class=${node.node === chosen ? "is-chosen" : ""}><th scope="row"><button type="button" class="plain" aria-pressed=${node.node === chosen} onClick=${() => (node.node === chosen ? go("charts") : go("charts", node.node))}>${node.node}</button></th>
        <td data-name="In progress">${short(node.live)}</td><td data-name="Set up">${short(rate(node, "answered"))} <small>of ${short(rate(node, "started"))}</small></td><td data-name="Failures">${short(rate(node, "failed", "refused"))}</td><td data-name="Media">${octets(rate(node, "relayed", "carried"))}</td><td data-name="Tickets">${short(rate(node, "tickets"))}</td></tr>`)}</tbody></table></div></section>`;
}

export function Charts({ theme, place, go }) {
  const chosen = place[0] || null;
  const { history, nodes, quiet, problem } = useHour(chosen);
  const [Plot, have] = useState(null);
  const [failed, say] = useState(null);
  const [scheme, see] = useState(0);
  useEffect(() => {
    uplot().then((found) => have(() => found), (error) => say(error.message));
    const dark = matchMedia("(prefers-color-scheme: dark)"), turned = () => see((n) => n + 1);
    dark.addEventListener("change", turned);
    return () => dark.removeEventListener("change", turned);
  }, []);
  const several = state.others > 0;
  const names = [...new Set([...nodes.map(({ node }) => node), ...quiet.map(({ node }) => node), ...(chosen ? [chosen] : [])])];
  return html`<header class="head"><h1>Charts</h1><p class="sum">The last hour ${several ? chosen === null ? "of all processes together" : html`of <b>${chosen}</b>` : "of this process"}, in steps of five seconds</p>
      ${several ? html`<label class="choose"><span>Show</span><select value=${chosen ?? ""} onChange=${(event) => (event.target.value === "" ? go("charts") : go("charts", event.target.value))}><option value="">all processes</option>${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>` : null}</header>
    ${problem ?? failed ? html`<p class="banner is-bad" role="alert">${problem ?? failed}</p>` : null}
    <${Quiet} quiet=${chosen === null ? quiet : quiet.filter(({ node }) => node === chosen)} />
    ${history && history.at.length < 2 ? html`<${Empty} title=${chosen === null ? "It has just begun" : "Nothing is known of it"}>${chosen === null ? "The first points come within ten seconds." : "It has just begun, or it does not answer."}</${Empty}>` : null}
    ${history && Plot && history.at.length >= 2 ? html`<div class="charts">${WANTED.map((wanted) => html`<${Chart} key=${wanted.title} wanted=${wanted} history=${history} theme=${`${theme}${scheme}`} Plot=${Plot} />`)}
      ${several && nodes.length > 0 ? html`<${Now} nodes=${nodes} chosen=${chosen} go=${go} />` : null}</div>` : null}`;
}
