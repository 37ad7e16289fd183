// One session: what became of it, why it was planned so, where its media is, and who said what to whom.

import { ask, has, path, tell } from "../api.js";
import { takeKeys } from "../keys.js";
import { Ladder, ofEvents } from "../ladder.js";
import { Path, Remarks, useNetworkCall, useNetworkLadder } from "../path.js";
import { Confirm, Empty, Figure, Mark, Party, Seal, html, useClock, useEffect, useLayoutEffect, useState, useStore } from "../parts.js";
import { callOf, state } from "../store.js";
import { cause, clock, count, decisions, lasting, octets, sealOf, wentWell } from "../words.js";

/** Hops of a call that are looked at, at most. */
const HOPS = 12;

/** Looks at the session and those of the same call, again when something happens, and for the ladder. */
function useRecords(number) {
  const [known, set] = useState({ records: null, error: null, ladder: undefined, media: {} });
  const call = callOf(number);
  const stamp = call ? call.hops.map((hop) => `${hop.number}/${hop.plan}/${hop.gateway}/${hop.answered_ms}/${hop.ended_ms}/${hop.octets}`).join() : String(number);
  const over = call ? call.ended !== null : true;
  useEffect(() => {
    const stop = new AbortController();
    let clock, turn = 0;
    const look = async () => {
      try {
        const numbers = call ? call.hops.slice(0, HOPS).map((hop) => hop.number) : [number];
        const one = (n) => ask(path("sessions", String(n)), stop.signal);
        // A hop that is forgotten is no reason to show nothing.
        const found = await Promise.all(numbers.map((n) => (n === number ? one(n) : one(n).catch(() => null))));
        const records = found.filter(Boolean);
        const kept = await has("/api/v1/sessions/{number}/ladder");
        // It takes the process some work: not each time.
        const ladder = !kept ? null : turn++ % 4 > 0 ? undefined : await ask(`${path("sessions", String(number))}/ladder`, stop.signal).catch((error) => {
          if (error.name === "AbortError") throw error;
          return null;
        });
        set((before) => ({ ...before, records, error: null, ladder: ladder === undefined ? before.ladder : ladder }));
        const media = over ? {} : await mediaOf(records, stop.signal);
        set((before) => ({ ...before, media }));
      } catch (error) {
        if (error.name === "AbortError") return;
        set((before) => ({ ...before, error }));
      }
      if (!over && !stop.signal.aborted) clock = setTimeout(look, 4_000);
    };
    look();
    return () => { stop.abort(); clearTimeout(clock); };
  }, [stamp, state.link === "live"]);
  return known;
}

/**
 * What gateways hold for it now, by hop. Only those of this process are asked: one elsewhere would be asked over H.248 for all that it has,
 * again and again, which is no way to look at one call.
 */
async function mediaOf(records, signal) {
  const held = {};
  const { gateways } = await ask("/api/v1/nodes", signal);
  const here = new Set(gateways.map((gateway) => gateway.gateway));
  for (const record of records) {
    const own = record.events.filter(({ event }) => event === "media-reserved").map(({ fields }) => fields);
    const given = new Set(record.events.filter(({ event }) => event === "media-released").map(({ fields }) => `${fields.gateway}/${fields.context}`));
    for (const { gateway = record.node, context } of own) {
      if (given.has(`${gateway === record.node ? undefined : gateway}/${context}`) || !Number.isInteger(context)) continue;
      if (!here.has(gateway)) continue;
      try {
        const page = await ask(`${path("gateways", gateway, "contexts")}?from=${context}`, signal);
        const found = page.contexts?.find((one) => one.context === context);
        if (found) (held[record.number] ??= []).push({ gateway, ...found });
      } catch (error) {
        if (error.name === "AbortError") throw error;
      }
    }
  }
  return held;
}

const MEANINGS = {
  e2e: "passes sealed", e2ae: "sealed to the edge", plain: "in the clear", aware: "in the clear, paths rewritten",
  pass: "left alone", refuse: "refused", unused: "not used", rtpengine: "given to rtpengine",
};

/** A plan is a sentence a line. */
function Plan({ plan }) {
  const lines = String(plan).split(/; (?=line \d+ \()/);
  return html`<ul class="plan">${lines.map((line) => {
    const [decision] = decisions(line);
    return html`<li>${decision ? html`<b class="decision decision-${decision}">${MEANINGS[decision] ?? decision}</b>` : null}<span>${line}</span></li>`;
  })}</ul>`;
}

function Side({ name, received, sent }) {
  return html`<tr><th scope="row">${name}</th><td>${octets(received)}</td><td>${octets(sent)}</td></tr>`;
}

function Hop({ record, media }) {
  const counts = record.octets ?? {};
  const has = Object.keys(counts).length > 0;
  const networks = [record.facts["networks.caller"], record.facts["networks.callee"]].filter(Boolean);
  const plans = record.events.filter(({ event }) => event === "plan-made" || event === "offer-planned");
  const live = media?.flatMap((context) => context.terminations.map((termination) => ({ ...termination, gateway: context.gateway, context: context.context }))) ?? [];
  return html`<article class="card hop">
    <header><h3>${record.node}</h3><span class="quiet">${record.role}</span>${networks.length === 2 ? html`<span class="quiet">${networks[0]} → ${networks[1]}</span>` : null}
      <${Seal} seal=${sealOf([record.plan])} /></header>
    ${plans.length > 0 ? plans.map(({ at_ms, fields }) => html`<div class="why"><span class="quiet">${fields.offerer ? `offer of the ${fields.offerer}` : "offer"} at +${lasting(at_ms)}</span><${Plan} plan=${fields.plan} /></div>`)
      : html`<p class="quiet">No offer was looked at.</p>`}
    ${live.length > 0 ? html`<table class="octets-of"><caption>At ${live[0].gateway}, context ${live[0].context}</caption><thead><tr><th scope="col">Termination</th><th scope="col">Here</th><th scope="col">There</th><th scope="col">In</th><th scope="col">Out</th></tr></thead>
      <tbody>${live.map((termination) => html`<tr><th scope="row">${termination.streams?.[0]?.realm ?? termination.id}</th><td>${termination.streams?.[0]?.local ?? "–"}</td><td>${termination.streams?.[0]?.remote ?? "–"}</td><td>${octets(termination.octets_received)}</td><td>${octets(termination.octets_sent)}</td></tr>`)}</tbody></table>` : null}
    ${has ? html`<table class="octets-of"><caption>Octets of media that was given back${record.gateway ?? record.facts.gateway ? `, ${record.facts.gateway}` : ""}</caption><thead><tr><th scope="col">Side</th><th scope="col">Came</th><th scope="col">Went</th></tr></thead>
      <tbody><${Side} name="caller" received=${counts["caller.received"]} sent=${counts["caller.sent"]} /><${Side} name="callee" received=${counts["callee.received"]} sent=${counts["callee.sent"]} /></tbody></table>` : null}
  </article>`;
}

/** What other processes know of the same call. */
function Elsewhere({ id, runs }) {
  const { value } = useNetworkCall(id, runs);
  return html`<section aria-labelledby="path-title"><h2 id="path-title">Path through the network</h2><${Path} value=${value} /></section>`;
}

export function SessionPage({ number, go }) {
  useStore();
  useClock(1_000);
  const { records, error, ladder, media } = useRecords(number);
  const [toEnd, askToEnd] = useState(false);
  const callId = records?.[0]?.call_id ?? null, runs = records !== null && !records.every((record) => record.ended_ms !== null);
  const whole = useNetworkLadder(state.others > 0 ? callId : null, runs);
  useLayoutEffect(() => takeKeys((key) => { if (key !== "Escape" && key !== "u") return false; go("sessions"); return true; }), []);
  const back = html`<a class="back" href="#/sessions">‹ Sessions</a>`;
  if (error && records === null) {
    return html`<header class="head">${back}<h1>Session ${String(number)}</h1></header>
      <${Empty} title=${error.status === 404 ? "It is not known any more" : "No answer"}>${error.status === 404 ? "The last thousand sessions that ended are kept. Older ones are in the records, if the file asks for them." : error.message}</${Empty}>`;
  }
  if (records === null) return html`<header class="head">${back}<h1>Session ${String(number)}</h1></header>`;
  const asked = records.find((record) => record.number === number) ?? records[0];
  const first = records[0];
  const began = Date.parse(first.began);
  const ended = records.every((record) => record.ended_ms !== null) ? Math.max(...records.map((record) => Date.parse(record.began) + record.ended_ms)) : null;
  const up = records.find((record) => record.answered_ms !== null);
  const answered = up ? Date.parse(up.began) + up.answered_ms : null;
  const why = records.find((record) => record.cause)?.cause ?? asked.cause;
  const seal = sealOf(records.map((record) => record.plan));
  const given = Math.max(0, ...records.map((record) => (record.octets?.["caller.received"] ?? 0) + (record.octets?.["callee.received"] ?? 0)));
  const now = Math.max(0, ...Object.values(media).flat().map((context) => context.terminations.reduce((sum, one) => sum + (one.octets_received ?? 0), 0)));
  const joined = whole?.sessions?.[0] ?? null;
  const drawn = joined ?? (ladder?.entries ? ladder : ladder?.sessions?.[0] ?? null);
  return html`<header class="head session">${back}
      <h1><${Party} uri=${first.from} /><i class="arrow" aria-hidden="true">→</i><span class="away"> to </span><${Party} uri=${first.to} /></h1>
      <div class="marks"><${Seal} seal=${seal} long />
        ${ended === null ? answered === null ? html`<${Mark} of="warn">setting up</${Mark}>` : html`<${Mark} of="good">in progress</${Mark}>`
          : html`<${Mark} of=${wentWell(why) ? "off" : "bad"}>${cause(why) || "ended"}</${Mark}>`}
        ${ended === null && asked.role === "border" && state.mayChange ? html`<button class="danger" onClick=${() => askToEnd(true)}>End call</button>` : null}</div></header>
    ${toEnd ? html`<${Confirm} title="End this call?" yes="End call" close=${() => askToEnd(false)} act=${() => tell("DELETE", path("sessions", asked.number))}>
      <p>Both ends are told that it is over, and what gateways hold for it is given back.</p></${Confirm}>` : null}
    <dl class="figures">
      <${Figure} name="Began" value=${clock(began)} note=${new Date(began).toLocaleDateString("en-GB")} />
      <${Figure} name="Answered after" value=${answered === null ? "–" : lasting(answered - began)} />
      <${Figure} name=${ended === null ? "In progress for" : "Lasted"} value=${lasting((ended ?? Date.now()) - (answered ?? began))} />
      <${Figure} name="Octets" value=${octets(given + now)} note=${ended === null && now > 0 ? "so far" : null} />
      <${Figure} name="Hops here" value=${count(records.length)} note=${records.map((record) => record.node).join(" › ")} />
    </dl>
    <p class="call-id"><span class="quiet">Call-ID</span> <code>${first.call_id}</code>${first.left_out > 0 ? html` <span class="quiet">${count(first.left_out)} events left out</span>` : null}</p>
    <div class="split">
      ${state.others > 0 ? html`<${Elsewhere} id=${callId} runs=${runs} />` : null}
      <section aria-labelledby="ladder-title" class="card"><h2 id="ladder-title">${joined ? "Ladder of all processes" : drawn ? "Ladder" : "What happened"}</h2>${joined ? html`<${Remarks} ladder=${whole} />` : null}
        ${drawn ? null : html`<p class="quiet">${ladder === undefined ? "" : "As the borders here tell it. This process keeps no messages of this call."}</p>`}
        <${Ladder} key=${joined ? "all" : "own"} session=${drawn ?? ofEvents(records)} /></section>
      <section aria-labelledby="why-title" class="whys"><h2 id="why-title">Why it was planned so</h2>
        <div class="hops">${records.map((record) => html`<${Hop} key=${record.number} record=${record} media=${media[record.number]} />`)}</div></section>
    </div>`;
}
