// The last hour: what the node kept of it, drawn by uPlot.

import { ask } from "../api.js";
import { Empty, html, useEffect, useRef, useState } from "../parts.js";
import { count, octets } from "../words.js";

const WANTED = [
  { title: "Sessions in progress", series: [["live", "in progress", "a"]] },
  { title: "Calls a second", series: [["started", "started", "a"], ["answered", "answered", "b"]] },
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
      width: Math.max(260, element.clientWidth), height: 190, padding: [10, 8, 0, 0], cursor: { y: false, points: { size: 6 } }, legend: { live: true },
      scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.15, wanted.octets ? 1000 : 1)] } },
      axes: [{ ...axis, space: 70, size: 30, values: (_, at) => at.map((second) => new Date(second * 1_000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })) }, { ...axis, size: 58, values: (_, at) => at.map(value) }],
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

export function Charts({ theme }) {
  const [history, keep] = useState(null);
  const [Plot, have] = useState(null);
  const [problem, say] = useState(null);
  const [scheme, see] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    let clock, all = null;
    const look = async () => {
      try {
        const more = await ask(`/api/v1/history?after=${all?.at[all.at.length - 1] ?? 0}`, stop.signal);
        const most = Math.ceil(3_600 / more.step);
        const joined = (a, b) => [...(a ?? []), ...b].slice(-most);
        all = { step: more.step, at: joined(all?.at, more.at), live: joined(all?.live, more.live), rates: Object.fromEntries(Object.entries(more.rates).map(([name, column]) => [name, joined(all?.rates[name], column)])) };
        keep(all);
        say(null);
      } catch (error) {
        if (error.name === "AbortError") return;
        say(error.message);
        // What comes next may be of another process.
        if (error.status === 0) all = null;
      }
      clock = setTimeout(look, 5_000);
    };
    look();
    uplot().then((found) => have(() => found), (error) => say(error.message));
    const dark = matchMedia("(prefers-color-scheme: dark)"), turned = () => see((n) => n + 1);
    dark.addEventListener("change", turned);
    return () => { stop.abort(); clearTimeout(clock); dark.removeEventListener("change", turned); };
  }, []);
  return html`<header class="head"><h1>Charts</h1><p class="sum">The last hour of this process, in steps of five seconds</p></header>
    ${problem ? html`<p class="banner is-bad" role="alert">${problem}</p>` : null}
    ${history && history.at.length < 2 ? html`<${Empty} title="It has just begun">The first points come within ten seconds.</${Empty}>` : null}
    ${history && Plot && history.at.length >= 2 ? html`<div class="charts">${WANTED.map((wanted) => html`<${Chart} key=${wanted.title} wanted=${wanted} history=${history} theme=${`${theme}${scheme}`} Plot=${Plot} />`)}</div>` : null}`;
}
