// Sessions, those in progress and those that are over, a call a line.

import { takeKeys } from "../keys.js";
import { Empty, Party, Rows, Seal, html, useClock, useLayoutEffect, useState, useStore } from "../parts.js";
import { matches, state, wordsOf } from "../store.js";
import { SEALS, cause, count, lasting, octets, wentWell } from "../words.js";

/** Kept while other pages are looked at. */
const kept = { filter: "", over: false, seal: null, chosen: null };

const narrow = matchMedia("(max-width: 760px)");

/** Hops in the order in which the call went through. */
function Path({ call }) {
  return html`<span class="path">${call.hops.map((hop, n) => html`${n > 0 ? html`<i aria-hidden="true">›</i>` : null}<span title=${hop.gateway ? `media at ${hop.gateway}` : null}>${hop.node}</span>`)}</span>`;
}

function row(call) {
  const now = Date.now(), ended = call.ended !== null;
  const state = ended ? lasting(call.ended - call.began) : call.answered === null ? "setting up" : lasting(now - call.answered);
  return html`<a class="call ${ended ? "is-over" : ""}" href=${`#/sessions/${call.number}`} tabindex="-1">
    <${Seal} seal=${call.seal} />
    <span class="parties"><${Party} uri=${call.from} /><i class="arrow" aria-hidden="true">→</i><${Party} uri=${call.to} /></span>
    <${Path} call=${call} />
    ${ended ? html`<span class="octets">${octets(call.octets)}</span>` : null}
    <span class="age ${!ended && call.answered === null ? "is-pending" : ""}" title=${new Date(call.began).toLocaleString("en-GB")}>${state}</span>
    ${ended ? html`<span class="cause ${wentWell(call.cause) ? "" : "is-bad"}" title=${cause(call.cause)}>${cause(call.cause)}</span>` : null}</a>`;
}

export function Sessions({ go }) {
  const [shown, show] = useState({ ...kept });
  const change = (more) => show((before) => Object.assign(kept, before, more) && { ...kept });
  useStore();
  useClock(1_000);
  const words = wordsOf(shown.filter);
  const all = shown.over ? state.over : state.calls;
  const found = words.length === 0 ? all : all.filter((call) => matches(call, words));
  const tally = {};
  for (const call of found) tally[call.seal] = (tally[call.seal] ?? 0) + 1;
  const items = shown.seal === null ? found : found.filter((call) => call.seal === shown.seal);
  useLayoutEffect(() => takeKeys((key) => {
    const at = items.findIndex((call) => call.id === kept.chosen);
    const to = (place) => { const call = items[Math.max(0, Math.min(items.length - 1, place))]; if (call) change({ chosen: call.id }); };
    if (key === "j" || key === "ArrowDown") to(at + 1);
    else if (key === "k" || key === "ArrowUp") to(at < 0 ? 0 : at - 1);
    else if (key === "PageDown") to(at + 15);
    else if (key === "PageUp") to(at - 15);
    else if (key === "Home" || key === "First") to(0);
    else if (key === "End") to(items.length - 1);
    else if ((key === "Enter" || key === "Open") && items.length > 0) go("sessions", String((items[at] ?? items[0]).number));
    else return false;
    return true;
  }));
  return html`<header class="head">
      <h1>Sessions</h1>
      <div class="tabs" role="group" aria-label="Which sessions">
        <button type="button" aria-pressed=${!shown.over} onClick=${() => change({ over: false })}>In progress <b>${count(state.calls.length)}</b></button>
        <button type="button" aria-pressed=${shown.over} onClick=${() => change({ over: true })}>Ended <b>${count(state.over.length)}</b></button>
      </div>
      ${state.others > 0 ? html`<a class="elsewhere" href="#/calls">of all processes ›</a>` : null}
      <label class="filter"><span class="away">Filter</span><svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true"><circle cx="11" cy="11" r="6" /><path d="M15.500 15.500L20 20" /></svg>
        <input type="search" data-filter placeholder="Who, Call-ID, border, gateway, cause" value=${shown.filter} autocomplete="off" spellcheck="false"
          onInput=${(event) => change({ filter: event.target.value })} /><kbd aria-hidden="true">/</kbd></label>
    </header>
    <div class="chips" role="group" aria-label="By seal">
      <button type="button" aria-pressed=${shown.seal === null} onClick=${() => change({ seal: null })}>All <b>${count(found.length)}</b></button>
      ${Object.keys(SEALS).filter((seal) => tally[seal] || seal === shown.seal).map((seal) => html`<button type="button" key=${seal} aria-pressed=${shown.seal === seal}
        onClick=${() => change({ seal: shown.seal === seal ? null : seal })}><${Seal} seal=${seal} long /> <b>${count(tally[seal] ?? 0)}</b></button>`)}
    </div>
    ${!shown.over && state.total > state.calls.reduce((sum, call) => sum + call.hops.length, 0) && !state.loading
      ? html`<p class="note">${count(state.total)} sessions are in progress; the oldest ${count(50_000)} are listed.</p>` : null}
    <section class="card list" aria-label=${shown.over ? "Ended sessions" : "Sessions in progress"}>
      <div class="call heading ${shown.over ? "is-over" : ""}" aria-hidden="true"><span>Seal</span><span>From and to</span><span>Path</span>${shown.over ? html`<span class="octets">Octets</span>` : null}<span class="age">${shown.over ? "Lasted" : "Age"}</span>${shown.over ? html`<span class="cause">Why it ended</span>` : null}</div>
      ${items.length > 0
        ? html`<${Rows} items=${items} keyOf=${(call) => call.id} height=${narrow.matches ? 76 : 42} row=${row} chosen=${shown.chosen} label="Sessions" onOpen=${(call) => go("sessions", String(call.number))} />`
        : state.loading ? html`<${Empty} title="Loading">The sessions of this process are being read.</${Empty}>`
        : all.length > 0 ? html`<${Empty} title="Nothing matches">None of ${count(all.length)} calls has all of these words. <button type="button" class="plain" onClick=${() => change({ filter: "", seal: null })}>Show all</button></${Empty}>`
        : shown.over ? html`<${Empty} title="No session has ended yet">The last thousand are kept here; <code>[records]</code> writes all of them to a file.</${Empty}>`
        : html`<${Empty} title="Nobody is talking">Calls through the borders and steered gateways of this process appear here as they begin.</${Empty}>`}
    </section>`;
}
