// The processes of the network and what is between them; of one of them its roles: who controls which gateway, how far away it is, and
// whether it is well. What is done about it goes through this process, whichever it is about.

import { path, tell } from "../api.js";
import { Lists, Picture, stateOf, toneOf } from "../map.js";
import { Confirm, Empty, Mark, html, useClock, useEffect, useState, usePolled } from "../parts.js";
import { onEvent, state } from "../store.js";
import { clock, count, lasting } from "../words.js";

/** Silence of a gateway that is worth a word: it is asked at the latest after this. */
const QUIET = 330_000;

/** How a gateway is, as its controller has it. */
function health(seen, own) {
  const state = seen?.state ?? own?.state;
  if (state === "draining" || state === "leaving") return ["warn", state];
  if (state === "missing" || state === "away" || state === "unsuited" || state === "estranged") return ["bad", state === "missing" ? "silent" : state];
  if (seen && seen.silent_ms !== null && seen.silent_ms > QUIET) return ["warn", "silent"];
  if (seen?.avoided) return ["warn", "avoided"];
  if (state === "in service" || state === "registered") return ["good", "in service"];
  return ["warn", state ?? "unknown"];
}

function Bar({ used, all, title }) {
  const part = all > 0 ? Math.min(1, used / all) : 0;
  return html`<span class="bar ${part > 0.9 ? "is-bad" : part > 0.7 ? "is-warn" : ""}" role="img" aria-label=${title} title=${title}><i style=${{ width: `${Math.max(part * 100, used > 0 ? 2 : 0)}%` }}></i></span>`;
}

/** Takes a gateway out of a border's service, or puts it back. */
function Avoid({ node, border, name, avoided, again }) {
  const [problem, say] = useState(null);
  const [busy, setBusy] = useState(false);
  const act = async () => {
    setBusy(true);
    say(null);
    try { await tell("PATCH", path("network", node.name, "borders", border, "gateways", name), { avoid: !avoided }); again(); } catch (error) { say(error.message); }
    setBusy(false);
  };
  return html`<div class="act"><button type="button" disabled=${busy} onClick=${act} aria-label=${`${avoided ? "Use it again" : "Avoid this gateway"}: ${name} of ${border}`}>${avoided ? "Use it again" : "Avoid this gateway"}</button>
    ${problem ? html`<p class="problem" role="alert">${problem}</p>` : null}</div>`;
}

function Gateway({ name, seen, own, kind, act }) {
  const [tone, words] = health(seen, own);
  const contexts = seen?.contexts ?? own?.contexts, most = own?.most_contexts ?? seen?.most_contexts;
  const engines = Object.entries(own?.engines ?? {}).map(([engine, reasons]) => [engine, Object.values(reasons).reduce((sum, n) => sum + n, 0)]).filter(([, n]) => n > 0);
  return html`<article class="card node node-gateway is-${tone}">
    <header><h2>${name}</h2><span class="quiet">${kind}</span><${Mark} of=${tone}>${words}</${Mark}></header>
    <dl>
      <div><dt>Contexts</dt><dd>${count(contexts)}${most ? html` <small>of ${count(most)}</small>` : null}${most ? html`<${Bar} used=${contexts ?? 0} all=${most} title=${`${contexts} of ${most} contexts`} />` : null}</dd></div>
      ${own ? Object.entries(own.ports ?? {}).map(([realm, pool]) => {
        const all = pool.free + pool.used + pool.resting;
        return html`<div key=${realm}><dt>Ports ${realm}</dt><dd>${count(pool.free)} <small>free</small><${Bar} used=${pool.used + pool.resting} all=${all} title=${`${pool.used} used, ${pool.resting} resting, ${pool.free} free`} /></dd></div>`;
      }) : null}
      ${engines.map(([engine, n]) => html`<div key=${engine}><dt>Carried by ${engine}</dt><dd>${count(n)} <small>streams</small></dd></div>`)}
      ${own?.ng ? html`<div><dt>Steered calls</dt><dd>${count(own.ng.calls)}</dd></div>` : null}
      ${seen?.refusal ? html`<div class="wide refusal"><dt>Last refusal, ${lasting(seen.refusal_ms)} ago</dt><dd title=${seen.refusal}>${seen.refusal}</dd></div>` : null}
    </dl>${act ?? null}</article>`;
}

/** What is between a controller and a gateway. */
function Wire({ seen }) {
  const [tone] = seen ? health(seen) : ["off"];
  const far = seen?.round_trip_ms;
  return html`<div class="wire is-${tone}"><span>H.248${Number.isFinite(far) ? html` <b title="how long it takes to answer">${far < 10 ? far.toFixed(1) : Math.round(far)} ms</b>` : null}${seen?.outstanding > 0 ? html` <b class="warn">${count(seen.outstanding)} unanswered</b>` : null}</span></div>`;
}

/** Address and port of a SIP URI, with what is meant when there is none. */
const socketOf = (uri) => {
  const host = String(uri ?? "").replace(/^sips?:/i, "").replace(/^[^@]*@/, "").split(/[;?]/)[0];
  return /:\d+$/.test(host) ? host : `${host}:5060`;
};
const listens = (role) => [...(role.networks ?? []).flatMap((network) => network.listen), ...(role.listen ?? [])].map((bind) => bind.replace(/^[a-z]+:/, ""));

/** Borders and conference servers in the order in which calls go through them. */
function inOrder(controllers) {
  const reaches = (a, b) => (a.routes ?? []).some((route) => route.next_hop && listens(b).includes(socketOf(route.next_hop)));
  const linked = (a, b) => a !== b && (reaches(a, b) || reaches(b, a));
  const left = [...controllers], chains = [];
  while (left.length > 0) {
    const at = left.findIndex((role) => (role.networks ?? []).some((network) => network.subscribers));
    const chain = left.splice(Math.max(0, at), 1);
    for (;;) {
      const last = chain[chain.length - 1];
      // Borders first: a conference server is beside the way.
      const next = left.filter((role) => linked(last, role)).sort((a, b) => (a.role === "conference") - (b.role === "conference"))[0];
      if (!next) break;
      chain.push(...left.splice(left.indexOf(next), 1));
    }
    chains.push(chain);
  }
  return { chains, linked };
}

function Controller({ role, calls, others }) {
  const networks = (role.networks ?? []).map((network) => network.network);
  return html`<article class="card node node-${role.role}">
    <header><h2>${role.name}</h2><span class="quiet">${role.kind}</span></header>
    <dl>
      <div class="wide"><dt>Domain</dt><dd>${role.domain}</dd></div>
      ${role.role === "border" ? html`<div><dt>Calls</dt><dd>${count(calls)}</dd></div>` : html`<div><dt>Rooms on</dt><dd>${role.gateways.join(", ")}</dd></div>`}
      ${networks.length > 0 ? html`<div><dt>Between</dt><dd>${networks.join(" · ")}</dd></div>` : null}
      ${others.length > 0 ? html`<div class="wide"><dt>SIP with</dt><dd>${others.map((other) => other.name).join(", ")}</dd></div>` : null}
      ${role.kms ? html`<div class="wide"><dt>Keys from</dt><dd>${role.kms}</dd></div>` : null}
    </dl></article>`;
}

/** What happened lately. */
export function Lately({ role, most = 12, title = "Lately", bad = false }) {
  const [stamp, again] = useState(0);
  useClock(10_000);
  useEffect(() => {
    let due = null;
    const stop = onEvent((name, data) => {
      if (role && data[role] === undefined && name !== "connected") return;
      due ??= setTimeout(() => { due = null; again((n) => n + 1); }, 700);
    });
    return () => { stop(); clearTimeout(due); };
  }, [role]);
  const [known, keep] = useState([]);
  const { value } = usePolled(`/api/v1/events/recent${role ? `?role=${role}` : ""}`, 0, stamp);
  useEffect(() => { if (value) keep(bad ? value.events.filter(({ level }) => level === "warn" || level === "error") : value.events); }, [value]);
  const skip = new Set(["timestamp", "level", "event", "role", "session"]);
  return html`<section class="card lately" aria-label=${title}><h2>${title}</h2>
    ${known.length === 0 ? html`<p class="quiet">${bad ? "Nothing has gone wrong since the start." : "Nothing of note has happened since the start."}</p>` : html`<ol>${known.slice(0, most).map((event, n) => html`<li key=${`${event.timestamp}${n}`} class="is-${event.level}">
      <time title=${event.timestamp}>${clock(event.timestamp)}</time>
      <b>${event.session ? html`<a href=${`#/sessions/${event.session}`}>${event.event}</a>` : event.event}</b>
      <span>${Object.entries(event).filter(([name]) => !skip.has(name)).map(([name, value]) => html`<span class="fact"><i>${name}</i> ${Array.isArray(value) ? value.join(", ") : String(value)}</span> `)}</span></li>`)}</ol>`}</section>`;
}

/** Has a process take nothing new and end, or not. */
function Drain({ node, again }) {
  const [asked, ask] = useState(false);
  const [grace, setGrace] = useState("600");
  const [problem, say] = useState(null);
  const good = /^\d{1,5}$/.test(grace) && Number(grace) <= 86_400;
  const back = async () => { try { await tell("DELETE", path("network", node.name, "drain")); say(null); again(); } catch (error) { say(error.message); } };
  return html`<span class="act">${node.draining ? html`<button type="button" onClick=${back}>Do not drain</button>` : html`<button type="button" class="danger" onClick=${() => ask(true)}>Drain</button>`}
    ${problem ? html`<span class="problem" role="alert">${problem}</span>` : null}
    ${asked ? html`<${Confirm} title=${`Drain ${node.name}?`} yes="Drain" close=${() => ask(false)} act=${async () => {
      if (!good) throw new Error("0 to 86400 seconds.");
      await tell("POST", path("network", node.name, "drain"), { grace: Number(grace) });
      again();
    }}><p>${count(node.calls)} calls and ${count(node.contexts)} contexts are in progress there. It takes nothing new, and ends when they have ended, at the latest after the time given.</p>
      <p class="field"><label for="drain-grace">Seconds that they get</label><input id="drain-grace" inputmode="numeric" value=${grace} aria-invalid=${!good} onInput=${(event) => setGrace(event.target.value.trim())} /></p></${Confirm}>` : null}</span>`;
}

/** One process: its roles, as it has them. */
function Roles({ node, again }) {
  const nodes = node.held ?? {}, roles = node.roles;
  const own = new Map((nodes.gateways ?? []).map((gateway) => [gateway.gateway, gateway]));
  const seenBy = new Map(), calls = new Map();
  for (const owner of [...(nodes.borders ?? []), ...(nodes.conferences ?? [])]) {
    seenBy.set(owner.border ?? owner.conference, new Map(owner.gateways.map((gateway) => [gateway.gateway, gateway])));
    if (owner.border) calls.set(owner.border, owner.calls);
  }
  const kinds = new Map(roles.filter((role) => role.role === "gateway").map((role) => [role.name, role.kind]));
  const controllers = roles.filter((role) => role.role === "border" || role.role === "conference");
  const { chains: all, linked } = inOrder(controllers);
  // What stands alone stands beside the other things that do.
  const chains = all.filter((chain, n) => n === 0 || chain.length > 1), alone = all.filter((chain) => !chains.includes(chain)).flat();
  const owned = new Set(controllers.flatMap((role) => role.gateways));
  const others = roles.filter((role) => role.role === "gateway" && !owned.has(role.name));
  const services = roles.filter((role) => role.role === "kms");
  const column = (role, isLinked) => html`<div class="column ${isLinked ? "is-linked" : ""}" key=${role.name}>
    <${Controller} role=${role} calls=${calls.get(role.name) ?? 0} others=${controllers.filter((other) => linked(role, other))} />
    ${role.gateways.map((name) => {
      const seen = seenBy.get(role.name)?.get(name);
      const act = role.role === "border" && node.may_change && seen ? html`<${Avoid} node=${node} border=${role.name} name=${name} avoided=${seen.avoided} again=${again} />` : null;
      return html`<${Wire} seen=${seen} /><${Gateway} name=${name} seen=${seen} own=${own.get(name)} kind=${kinds.get(name) ?? "in another process"} act=${act} />`;
    })}</div>`;
  return html`${roles.length === 0 && node.state === "reached" ? html`<${Empty} title="Nothing runs here">The file of this process starts no role.</${Empty}>` : null}
    ${chains.map((chain, n) => html`<section class="chain" key=${n} aria-label=${chain.map((role) => role.name).join(", ")}>${chain.map((role, m) => column(role, m > 0 && linked(chain[m - 1], role)))}</section>`)}
    ${alone.length + others.length + services.length > 0 ? html`<section class="chain">${alone.map((role) => column(role, false))}${others.map((role) => html`<div class="column" key=${role.name}>
        <p class="ghost">${role.steered ? "steered by SIP servers (ng)" : role.controllers.join(", ")}</p><${Wire} seen=${null} />
        <${Gateway} name=${role.name} own=${own.get(role.name)} kind=${role.kind} /></div>`)}
      ${services.map((role) => html`<div class="column" key=${role.name}><article class="card node node-kms"><header><h2>${role.name}</h2><span class="quiet">KMS</span></header>
        <dl><div class="wide"><dt>At</dt><dd>${role.url}</dd></div><div class="wide"><dt>Activity</dt><dd><a href=${`#/keys/${encodeURIComponent(node.name)}`}>tickets and refusals</a></dd></div></dl></article></div>`)}</section>` : null}`;
}

const narrow = matchMedia("(max-width: 760px)");
/** Kept while other pages are looked at. */
const kept = { list: narrow.matches };

export function Network({ chosen }) {
  const [stamp, again] = useState(0);
  const [list, setList] = useState(kept.list);
  const { value: network, error } = usePolled("/api/v1/network", 3_000, stamp);
  const show = (which) => { kept.list = which; setList(which); };
  if (!network) return html`<header class="head"><h1>Network</h1></header>${error ? html`<p class="banner is-bad" role="alert">${error.message}</p>` : null}`;
  const { nodes, links } = network;
  const node = nodes.find((one) => one.name === chosen) ?? nodes.find((one) => one.roles.length > 0) ?? nodes[0];
  const several = nodes.length > 1, renew = () => again((n) => n + 1);
  const roles = nodes.flatMap((one) => one.roles);
  const of = (role) => roles.filter((one) => one.role === role).length;
  const gateways = new Set([...roles.filter((role) => role.role === "gateway").map((role) => role.name), ...links.filter((link) => link.kind === "h248").map((link) => link.to.name)]).size;
  const bad = links.filter((link) => link.kind === "h248" && link.health !== "good").length, gone = nodes.filter((one) => one.state === "unreachable").length;
  return html`<header class="head"><h1>Network</h1>
      <p class="sum">${count(of("border"))} borders, ${count(gateways)} gateways${of("kms") === 1 ? ", a key management service" : of("kms") > 1 ? `, ${count(of("kms"))} key management services` : ""} ${several ? `in ${count(nodes.length)} processes` : "in this process"}.
        ${gone > 0 ? html` <${Mark} of="bad">${count(gone)} unreachable</${Mark}>` : null}${bad === 0 ? gone === 0 ? html` <${Mark} of="good">all in service</${Mark}>` : null : html` <${Mark} of="bad">${count(bad)} not in service</${Mark}>`}</p>
      ${several ? html`<div class="tabs as" role="group" aria-label="As what"><button type="button" aria-pressed=${!list} onClick=${() => show(false)}>Map</button><button type="button" aria-pressed=${list} onClick=${() => show(true)}>List</button></div>` : null}</header>
    ${error ? html`<p class="banner is-bad" role="alert">${error.message}</p>` : null}
    ${several ? html`<section class="card whole" aria-label="The whole network">${list ? html`<${Lists} network=${network} />` : html`<${Picture} network=${network} chosen=${node.name} />`}</section>
      <section class="one" aria-labelledby="one-title"><header class="head"><h2 id="one-title">${node.name}${node.here ? html` <span class="tag">this process</span>` : null}</h2>
        <${Mark} of=${toneOf(node.health)} title=${node.why}>${stateOf(node)}</${Mark}>
        <span class="quiet">${[node.url, node.version ? `version ${node.version}` : null, Number.isFinite(node.took_ms) && !node.here ? `answers after ${lasting(node.took_ms)}` : null].filter(Boolean).join(" · ")}</span>
        ${node.may_change && node.state === "reached" ? html`<${Drain} key=${node.name} node=${node} again=${renew} />` : null}</header>
        ${node.state === "unreachable" ? html`<p class="banner is-bad" role="status"><b>Unreachable since ${clock(node.since)}.</b> ${node.why}.${node.heard ? ` What is shown is as it was at ${clock(node.heard)}.` : ""}</p>` : null}
        <${Roles} key=${node.name} node=${node} again=${renew} /></section>` : html`<${Roles} node=${node} again=${renew} />`}
    <${Lately} />`;
}
