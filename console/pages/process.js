// The process itself: what it is, how much it logs, and how it is ended.

import { hasToken, tell } from "../api.js";
import { Confirm, Figure, html, useClock, useEffect, useState, usePolled } from "../parts.js";
import { state } from "../store.js";
import { clock, count, lasting } from "../words.js";
import { Lately } from "./network.js";

const LEVELS = ["error", "warn", "info", "debug", "trace"];

function Log() {
  const [stamp, again] = useState(0);
  const { value, error } = usePolled("/api/v1/log", 0, stamp);
  const [wanted, want] = useState(null);
  const [said, say] = useState(null);
  const level = wanted ?? value?.level ?? "";
  const set = async (event) => {
    event.preventDefault();
    try {
      const now = await tell("PUT", "/api/v1/log", { level });
      want(null);
      say({ good: true, text: `It logs ${now.level} now, until the next start.` });
      again((n) => n + 1);
    } catch (failure) { say({ good: false, text: failure.message }); }
  };
  return html`<section class="card" aria-labelledby="log-title"><h2 id="log-title">Log</h2>
    <p class="quiet">How much is logged from now on. The file is not changed.</p>
    ${error ? html`<p class="problem">${error.message}</p>` : html`<form class="log" onSubmit=${set}>
      <div class="tabs" role="group" aria-label="Level">${LEVELS.map((one) => html`<button type="button" aria-pressed=${level === one} onClick=${() => want(one)}>${one}</button>`)}</div>
      <label for="filter">Filter</label><input id="filter" value=${level} spellcheck="false" autocomplete="off" onInput=${(event) => want(event.target.value)} placeholder="info, or carnet=debug,warn" />
      ${state.mayChange ? html`<button class="primary" disabled=${wanted === null || wanted === value?.level}>Set</button>` : null}</form>`}
    ${said ? html`<p class=${said.good ? "done" : "problem"} role="status">${said.text}</p>` : null}</section>`;
}

function Drain({ draining }) {
  const [grace, setGrace] = useState("600");
  const [asked, ask] = useState(false);
  const [problem, say] = useState(null);
  const takeBack = async () => {
    try { await tell("DELETE", "/api/v1/drain"); say(null); } catch (error) { say(error.message); }
  };
  const seconds = Number(grace);
  const good = /^\d{1,5}$/.test(grace) && seconds <= 86_400;
  return html`<section class="card" aria-labelledby="drain-title"><h2 id="drain-title">Drain</h2>
    <p class="quiet">Takes nothing new, lets what runs end, at the latest after the time given, and ends the process.</p>
    <form class="drain" onSubmit=${(event) => { event.preventDefault(); if (good) ask(true); }}>
      <label for="grace">Seconds that calls get</label><input id="grace" inputmode="numeric" value=${grace} aria-invalid=${!good} onInput=${(event) => setGrace(event.target.value.trim())} />
      <button class="danger" disabled=${!good || draining}>${draining ? "Draining" : "Drain"}</button>
      ${draining ? html`<button type="button" onClick=${takeBack}>Take it back</button>` : null}</form>
    ${problem ? html`<p class="problem" role="alert">${problem}</p>` : null}
    ${good ? null : html`<p class="problem">0 to 86400 seconds.</p>`}
    ${asked ? html`<${Confirm} title="Drain this process?" yes="Drain" close=${() => ask(false)} act=${() => tell("POST", "/api/v1/drain", { grace: seconds })}>
      <p>${count(state.total)} sessions are in progress. They get ${lasting(seconds * 1_000)}; then the process ends, and this page with it.</p></${Confirm}>` : null}</section>`;
}

export function Process({ process }) {
  useClock(1_000);
  if (!process) return html`<header class="head"><h1>Process</h1></header>`;
  return html`<header class="head"><h1>Process</h1></header>
    <dl class="figures">
      <${Figure} name="Version" value=${process.version} />
      <${Figure} name="Up for" value=${lasting(Date.now() - Date.parse(process.began))} note=${`since ${clock(process.began)}`} />
      <${Figure} name="Roles" value=${count(process.roles.length)} />
      <${Figure} name="State" value=${process.draining ? "draining" : "in service"} of=${process.draining ? "warn" : "good"} />
      ${process.events_turned_away > 0 ? html`<${Figure} name="Events left out" value=${count(process.events_turned_away)} note="more sessions than are put together" of="warn" />` : null}
    </dl>
    <div class="pair"><${Log} />${state.mayChange ? html`<${Drain} draining=${process.draining} />` : null}</div>
    <section class="card"><h2>Roles</h2><div class="scroll" tabindex="0" role="region" aria-label="Roles"><table class="stacks"><thead><tr><th scope="col">Kind</th><th scope="col">Name</th><th scope="col">Where</th></tr></thead>
      <tbody>${process.roles.map((role) => html`<tr><td>${role.kind}</td><th scope="row">${role.name}</th><td class="quiet">${role.url ?? (role.listen ?? (role.networks ?? []).flatMap((network) => network.listen)).join(", ") ?? ""}${role.controllers ? role.steered ? "steered (ng)" : `controlled by ${role.controllers.join(", ")}` : ""}</td></tr>`)}</tbody></table></div></section>
    <${Lately} most=${100} title="What went wrong lately" bad />
    <p class="note">The same for programs: ${[["/api/v1/openapi.json", "the API"], ["/metrics", "metrics"]].map(([at, name], n) => html`${n > 0 ? ", " : ""}${hasToken() ? html`${name} at <code>${at}</code>` : html`<a href=${at}>${name}</a>`}`)}.</p>`;
}
