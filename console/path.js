// The path of a call from process to process, and its ladder, put together from all of them. For calls of this process and of others.

import { ask } from "./api.js";
import { takeKeys } from "./keys.js";
import { Ladder } from "./ladder.js";
import { Empty, Figure, Mark, Party, Seal, html, useEffect, useLayoutEffect, usePolled, useState } from "./parts.js";
import { cause, clock, count, lasting, octets, sealOf, wentWell } from "./words.js";

/** What is known of it in all processes; again while it runs. */
export function useNetworkCall(id, runs) {
  return usePolled(`/api/v1/network/call?call_id=${encodeURIComponent(id)}`, runs ? 4_000 : 0, runs ? 1 : 0);
}

/** Its ladder in all processes: it takes them some work. `null` where nobody keeps one. */
export function useNetworkLadder(id, runs) {
  const [ladder, set] = useState(undefined);
  useEffect(() => {
    if (!id) return undefined;
    const stop = new AbortController();
    let clock;
    const look = async () => {
      try { set(await ask(`/api/v1/network/ladder?call_id=${encodeURIComponent(id)}`, stop.signal)); } catch (error) {
        if (error.name === "AbortError") return;
        set((before) => before ?? null);
      }
      if (runs && !stop.signal.aborted) clock = setTimeout(look, 15_000);
    };
    look();
    return () => { stop.abort(); clearTimeout(clock); };
  }, [id, runs]);
  return ladder;
}

function Media({ media }) {
  const rows = media.held?.terminations ?? [];
  return html`<div class="reserved"><p><b>${media.gateway}</b>, context ${media.context} ${media.node
    ? html`<span class="quiet">in <a href=${`#/network/${encodeURIComponent(media.node)}`}>${media.node}</a></span>` : html`<span class="quiet">in none of these processes</span>`}</p>
    ${rows.length > 0 ? html`<table class="octets-of"><caption class="away">What ${media.gateway} holds</caption><thead><tr><th scope="col">Termination</th><th scope="col">Here</th><th scope="col">There</th><th scope="col">In</th><th scope="col">Out</th></tr></thead>
      <tbody>${rows.map((row, n) => html`<tr key=${n}><th scope="row">${row.streams?.[0]?.realm ?? row.id}</th><td>${row.streams?.[0]?.local ?? "–"}</td><td>${row.streams?.[0]?.remote ?? "–"}</td><td>${octets(row.octets_received)}</td><td>${octets(row.octets_sent)}</td></tr>`)}</tbody></table>` : null}</div>`;
}

/** Hop by hop. */
export function Path({ value }) {
  if (!value) return null;
  return html`<ol class="path-of">${value.hops.map(({ node, session, media }, n) => html`<li key=${`${node}/${session.number}`} class="card">
      <header><span class="step" aria-hidden="true">${n + 1}</span><h3>${session.node}</h3><span class="quiet">${session.role} in <a href=${`#/network/${encodeURIComponent(node)}`}>${node}</a></span><${Seal} seal=${sealOf([session.plan])} /></header>
      <p class="quiet">${[session.networks?.[0], session.networks?.[1]].filter(Boolean).join(" → ") || "–"} · ${clock(session.began, true)} · ${session.ended_ms === null ? session.answered_ms === null ? "setting up" : "in progress" : cause(session.cause) || "ended"}</p>
      ${media.length === 0 ? html`<p class="quiet">${session.ended_ms === null ? "No context is reserved." : "Its contexts are given back."}</p>` : media.map((one) => html`<${Media} key=${`${one.gateway}/${one.context}`} media=${one} />`)}</li>`)}</ol>
    ${value.silent.length > 0 ? html`<p class="note">Not asked or not answered: ${value.silent.map((one) => `${one.node} (${one.why})`).join(", ")}.</p>` : null}`;
}

/** A call that other processes have. */
export function CallPage({ id, go }) {
  const [runs, setRuns] = useState(true);
  const { value, error } = useNetworkCall(id, runs);
  const ladder = useNetworkLadder(id, runs);
  const hops = value?.hops ?? [];
  const over = hops.length > 0 && hops.every(({ session }) => session.ended_ms !== null);
  useEffect(() => { if (over) setRuns(false); }, [over]);
  useLayoutEffect(() => takeKeys((key) => { if (key !== "Escape" && key !== "u") return false; go("calls"); return true; }), []);
  const back = html`<a class="back" href="#/calls">‹ Calls of all processes</a>`;
  if (hops.length === 0) {
    return html`<header class="head">${back}<h1>Call</h1></header>${error || value ? html`<${Empty} title=${error ? "No answer" : "No process knows it"}>${error ? error.message : "The last thousand sessions that ended are kept by each process."}</${Empty}>` : null}`;
  }
  const first = hops[0].session, began = Date.parse(first.began);
  const why = hops.map(({ session }) => session.cause).find(Boolean);
  const answered = hops.find(({ session }) => session.answered_ms !== null)?.session;
  const drawn = ladder?.sessions?.[0] ?? null;
  return html`<header class="head session">${back}
      <h1><${Party} uri=${first.from} /><i class="arrow" aria-hidden="true">→</i><span class="away"> to </span><${Party} uri=${first.to} /></h1>
      <div class="marks"><${Seal} seal=${sealOf(hops.map(({ session }) => session.plan))} long />
        ${over ? html`<${Mark} of=${wentWell(why) ? "off" : "bad"}>${cause(why) || "ended"}</${Mark}>` : html`<${Mark} of=${answered ? "good" : "warn"}>${answered ? "in progress" : "setting up"}</${Mark}>`}</div></header>
    <dl class="figures"><${Figure} name="Began" value=${clock(began)} note=${new Date(began).toLocaleDateString("en-GB")} />
      <${Figure} name="Answered after" value=${answered ? lasting(answered.answered_ms) : "–"} />
      <${Figure} name="Hops" value=${count(hops.length)} note=${hops.map(({ session }) => session.node).join(" › ")} />
      <${Figure} name="Processes" value=${count(new Set(hops.map(({ node }) => node)).size)} /></dl>
    <p class="call-id"><span class="quiet">Call-ID</span> <code>${id}</code></p>
    <div class="split"><section aria-labelledby="path-title"><h2 id="path-title">Path</h2><${Path} value=${value} /></section>
      <section aria-labelledby="ladder-title" class="card"><h2 id="ladder-title">Ladder of all processes</h2>
        ${drawn ? html`<${Remarks} ladder=${ladder} /><${Ladder} session=${drawn} />` : html`<p class="quiet">${ladder === undefined ? "" : "No process keeps messages of this call."}</p>`}</section></div>`;
}

export function Remarks({ ladder }) {
  const remarks = ladder?.remarks ?? [];
  return remarks.length === 0 ? null : html`<ul class="remarks note">${remarks.map((remark, n) => html`<li key=${n}>${remark}</li>`)}</ul>`;
}

/** Calls of all processes, the newest of each. */
export function Calls() {
  const [over, setOver] = useState(false);
  const [filter, setFilter] = useState("");
  const [wanted, want] = useState("");
  // Each word asks all processes: not each letter.
  useEffect(() => { const clock = setTimeout(() => want(filter.trim()), 350); return () => clearTimeout(clock); }, [filter]);
  const { value, error } = usePolled(`/api/v1/network/sessions?state=${over ? "ended" : "live"}${wanted ? `&q=${encodeURIComponent(wanted.slice(0, 200))}` : ""}`, 5_000);
  const calls = new Map();
  for (const { node, session } of value?.sessions ?? []) {
    if (!calls.has(session.call_id)) calls.set(session.call_id, []);
    calls.get(session.call_id).push({ node, session });
  }
  const rows = [...calls].map(([id, hops]) => [id, [...hops].sort((a, b) => Date.parse(a.session.began) - Date.parse(b.session.began))]);
  return html`<header class="head"><h1>Calls of all processes</h1>
      <div class="tabs" role="group" aria-label="Which calls"><button type="button" aria-pressed=${!over} onClick=${() => setOver(false)}>In progress</button><button type="button" aria-pressed=${over} onClick=${() => setOver(true)}>Ended</button></div>
      <label class="filter"><span class="away">Filter</span><svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true"><circle cx="11" cy="11" r="6" /><path d="M15.500 15.500L20 20" /></svg>
        <input type="search" data-filter placeholder="Who, Call-ID, cause, border" value=${filter} autocomplete="off" spellcheck="false" onInput=${(event) => setFilter(event.target.value)} /><kbd aria-hidden="true">/</kbd></label></header>
    <p class="note"><a href="#/sessions">Sessions of this process</a> are kept as they come; here the newest two hundred of each process are looked at every five seconds.</p>
    ${error ? html`<p class="banner is-bad" role="alert">${error.message}</p>` : null}
    ${value?.silent?.length > 0 ? html`<p class="banner is-warn" role="status">Not answered: ${value.silent.map((one) => `${one.node} (${one.why})`).join(", ")}.</p>` : null}
    ${value && rows.length === 0 ? html`<${Empty} title=${wanted ? "Nothing matches" : over ? "No session has ended yet" : "Nobody is talking"}>Calls through borders and steered gateways of all processes appear here.</${Empty}>` : null}
    ${rows.length > 0 ? html`<section class="card"><div class="scroll tall-scroll" tabindex="0" role="region" aria-label="Calls"><table class="calls-of stacks"><thead><tr><th scope="col">Seal</th><th scope="col">From and to</th><th scope="col">Path</th><th scope="col">Began</th><th scope="col">State</th></tr></thead>
      <tbody>${rows.map(([id, hops]) => {
        const { session } = hops[0];
        return html`<tr key=${id}><td><${Seal} seal=${sealOf(hops.map((hop) => hop.session.plan))} /></td><th scope="row"><a href=${`#/calls/${encodeURIComponent(id)}`}><${Party} uri=${session.from} /> → <${Party} uri=${session.to} /></a></th>
          <td>${hops.map((hop) => `${hop.session.node} (${hop.node})`).join(" › ")}</td><td>${clock(session.began)}</td><td>${session.ended_ms === null ? session.answered_ms === null ? "setting up" : "in progress" : cause(session.cause) || "ended"}</td></tr>`;
      })}</tbody></table></div></section>` : null}`;
}
