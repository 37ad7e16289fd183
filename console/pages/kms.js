// The key management services of all processes: tickets that were issued, opened and revoked, and what was refused; users and tickets, and
// their revocation, which goes through this process. No key and no ticket is shown, only the beginning of a ticket's digest.

import { ask, path, tell } from "../api.js";
import { Confirm, Empty, Figure, Filter, Mark, Party, Quiet, html, useEffect, useState, usePolled, useWanted } from "../parts.js";
import { onEvent, state } from "../store.js";
import { clock, count, cut } from "../words.js";

const DEEDS = { "ticket-issued": ["good", "issued"], "ticket-resolved": ["good", "opened"], "ticket-revoked": ["warn", "revoked"], "request-refused": ["bad", "refused"], "key-rotated": ["off", "new ticket key"] };

/** Rows of one page. */
const PAGE = 50;
/** Letters of a digest that name a ticket. */
const NAMED = 16;

/** Grows when the service of this process does something. */
function useHappenings() {
  const [stamp, again] = useState(0);
  useEffect(() => {
    let due = null;
    const stop = onEvent((name, data) => {
      if (data.kms === undefined && name !== "connected" && name !== "missed") return;
      due ??= setTimeout(() => { due = null; again((n) => n + 1); }, 300);
    });
    return () => { stop(); clearTimeout(due); };
  }, []);
  return [stamp, () => again((n) => n + 1)];
}

/** The answer of a question that changes; what was known of the same list stays while the next page comes. */
function useKept(polled, key) {
  const [kept, keep] = useState({ key: null, value: null });
  useEffect(() => { if (polled.value) keep({ key, value: polled.value }); }, [polled.value]);
  return polled.value ?? (kept.key === key ? kept.value : null);
}

/** To the next page and back: where each page began. */
function Pager({ trail, move, next }) {
  if (trail.length === 0 && (next === null || next === undefined)) return null;
  return html`<p class="pager"><button type="button" disabled=${trail.length === 0} onClick=${() => move(trail.slice(0, -1))}>‹ Back</button>
    <span class="quiet">page ${count(trail.length + 1)}</span>
    <button type="button" disabled=${next === null || next === undefined} onClick=${() => move([...trail, next])}>Next ›</button></p>`;
}

const day = (text) => { const at = new Date(text); return Number.isNaN(at.getTime()) ? "–" : html`<time title=${text}>${at.toLocaleDateString("en-GB", { day: "2-digit", month: "short" })} ${clock(at).slice(0, 5)}</time>`; };

function Users({ node, mayChange, stamp, again }) {
  const [filter, setFilter, wanted] = useWanted();
  const [trail, move] = useState([]);
  const [asked, question] = useState(null);
  useEffect(() => move([]), [wanted]);
  const after = trail[trail.length - 1];
  const polled = usePolled(`${path("network", node, "kms", "users")}?limit=${PAGE}${wanted ? `&q=${encodeURIComponent(wanted)}` : ""}${after ? `&after=${encodeURIComponent(after)}` : ""}`, 15_000, stamp);
  const page = useKept(polled, node), users = page?.users ?? [];
  return html`<section class="card" aria-labelledby="users-title"><header class="bar-of"><h2 id="users-title">Users <span class="quiet">${count(page?.total)}</span></h2>
      <${Filter} value=${filter} set=${setFilter} says="Name or identity" own /></header>
    ${polled.error ? html`<p class="problem" role="alert">${polled.error.message}</p>` : null}
    ${page && users.length === 0 ? html`<p class="quiet">${wanted ? "None has these words on this page." : "None."}</p>` : null}
    ${users.length > 0 ? html`<div class="scroll" tabindex="0" role="region" aria-label="List of users"><table class="stacks"><thead><tr><th scope="col">Name of its key</th><th scope="col">Identities</th><th scope="col">State</th>${mayChange ? html`<th scope="col"><span class="away">What to do</span></th>` : null}</tr></thead>
      <tbody>${users.map((user) => html`<tr key=${user.name}><th scope="row">${user.name}</th><td>${(user.identities ?? []).join(", ")}</td>
        <td>${user.revoked ? html`<${Mark} of="bad">revoked</${Mark}>` : html`<${Mark} of="good">may ask</${Mark}>`}${user.tickets_not_before ? html` <small>none from before ${day(user.tickets_not_before)}</small>` : null}</td>
        ${mayChange ? html`<td class="does"><button type="button" class="plain" aria-label=${`${user.revoked ? "Take back" : "Revoke"}: ${user.name}`} onClick=${() => question(user)}>${user.revoked ? "Take back" : "Revoke"}</button></td>` : null}</tr>`)}</tbody></table></div>` : null}
    <${Pager} trail=${trail} move=${move} next=${page?.next} />
    ${asked ? html`<${Confirm} title=${asked.revoked ? "Take the revocation back?" : "Revoke this user?"} yes=${asked.revoked ? "Take back" : "Revoke"} close=${() => question(null)}
      act=${async () => { await tell("PATCH", path("network", node, "kms", "users", asked.name), { revoked: !asked.revoked }); again(); }}>
      <p><b>${asked.name}</b> ${asked.revoked ? "gets tickets again, and its own open again." : "gets no more tickets and opens none, and its own open no more. Calls that are up go on."}</p></${Confirm}>` : null}</section>`;
}

function Tickets({ node, mayChange, stamp, again }) {
  const [trail, move] = useState([]);
  const [asked, question] = useState(null);
  const before = trail[trail.length - 1];
  const polled = usePolled(`${path("network", node, "kms", "tickets")}?limit=${PAGE}${before === undefined ? "" : `&before=${before}`}`, 15_000, stamp);
  const page = useKept(polled, node), tickets = page?.tickets ?? [];
  const mark = (ticket) => (ticket.revoked ? html`<${Mark} of="bad">revoked</${Mark}>` : ticket.expired ? html`<${Mark} of="off">expired</${Mark}>` : html`<${Mark} of="good">opens</${Mark}>`);
  return html`<section class="card" aria-labelledby="tickets-title"><header class="bar-of"><h2 id="tickets-title">Tickets issued</h2>
      ${mayChange ? html`<button type="button" class="danger" onClick=${() => question({ all: true })}>Revoke all</button>` : null}</header>
    ${polled.error ? html`<p class="problem" role="alert">${polled.error.message}</p>` : null}
    ${page && tickets.length === 0 ? html`<p class="quiet">None.</p>` : null}
    ${tickets.length > 0 ? html`<div class="scroll" tabindex="0" role="region" aria-label="List of tickets"><table class="stacks issued"><thead><tr><th scope="col">Issued</th><th scope="col">Caller</th><th scope="col">Called</th><th scope="col">Ticket</th><th scope="col">Until</th><th scope="col">State</th>${mayChange ? html`<th scope="col"><span class="away">What to do</span></th>` : null}</tr></thead>
      <tbody>${tickets.map((ticket) => html`<tr key=${ticket.number}><td data-name="issued">${day(ticket.issued)}</td><th scope="row"><${Party} uri=${ticket.initiator} /></th><td data-name="for">${(ticket.responders ?? []).map((uri) => html`<${Party} uri=${uri} /> `)}</td>
        <td><code title=${ticket.ticket}>${cut(String(ticket.ticket), NAMED)}</code></td><td data-name="until">${ticket.expires ? day(ticket.expires) : "–"}</td><td>${mark(ticket)}</td>
        ${mayChange ? html`<td class="does">${ticket.revoked || ticket.expired ? null : html`<button type="button" class="plain" aria-label=${`Revoke ticket ${String(ticket.ticket).slice(0, NAMED)}`} onClick=${() => question(ticket)}>Revoke</button>`}</td>` : null}</tr>`)}</tbody></table></div>` : null}
    <${Pager} trail=${trail} move=${move} next=${page?.next} />
    ${asked?.all ? html`<${Confirm} title="Revoke all tickets?" yes="Revoke all" close=${() => question(null)} act=${async () => { await tell("POST", path("network", node, "kms", "tickets", "revoke"), {}); again(); }}>
      <p>Tickets that this service issued so far open no more, for nobody. Calls that are up go on; calls that are being set up fail.</p></${Confirm}>` : null}
    ${asked && !asked.all ? html`<${Confirm} title="Revoke this ticket?" yes="Revoke" close=${() => question(null)} act=${async () => { await tell("DELETE", path("network", node, "kms", "tickets", asked.ticket)); again(); }}>
      <p>The ticket <code>${String(asked.ticket).slice(0, NAMED)}</code> opens no more. A call that is up goes on.</p></${Confirm}>` : null}</section>`;
}

/** Sums of the last hour, of a process. */
function useHour(node) {
  const [hour, set] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    let clock;
    const look = async () => {
      if (node === null) return;
      try {
        const { rates, step } = await ask(`/api/v1/network/history?node=${encodeURIComponent(node)}`, stop.signal);
        const sum = (name) => Math.round((rates[name] ?? []).reduce((all, rate) => all + rate * step, 0));
        set({ node, tickets: sum("tickets"), refused: sum("tickets_refused") });
      } catch (error) { if (error.name === "AbortError") return; }
      if (!stop.signal.aborted) clock = setTimeout(look, 10_000);
    };
    look();
    return () => { stop.abort(); clearTimeout(clock); };
  }, [node]);
  return hour?.node === node ? hour : null;
}

export function Keys({ place, go }) {
  const [stamp, again] = useHappenings();
  const [at, stand] = useState(place[0] ?? null);
  const polled = usePolled(`/api/v1/network/kms${at === null ? "" : `?node=${encodeURIComponent(at)}`}`, 5_000, stamp);
  const known = useKept(polled, "kms");
  const hour = useHour(at);
  const chosen = known?.services.find((service) => service.node === place[0]) ?? known?.services[0] ?? null;
  // What is told is of one of them.
  useEffect(() => { if (chosen && chosen.node !== at) stand(chosen.node); }, [chosen?.node]);
  if (!known) return html`<header class="head"><h1>Keys</h1></header>${polled.error ? html`<p class="banner is-bad" role="alert">${polled.error.message}</p>` : null}`;
  const { services, quiet } = known;
  if (services.length === 0) {
    return html`<header class="head"><h1>Keys</h1></header><${Quiet} quiet=${quiet} />
      <${Empty} title="No key management service runs here">Its activity is that of processes whose file has a [kms] section: this one, or one that <code>[[admin.nodes]]</code> names.</${Empty}>`;
  }
  const events = known.events.filter((event) => event.node === chosen.node);
  const last = events.find((event) => event.ticket), several = state.others > 0;
  return html`<header class="head"><h1>Keys</h1>
      ${services.length > 1 ? html`<div class="tabs" role="group" aria-label="Which service">${services.map((service) => html`<button type="button" key=${service.node} aria-pressed=${service === chosen} onClick=${() => go("keys", service.node)}>${service.name}</button>`)}</div>` : null}
      <p class="sum"><span>${chosen.name}${chosen.url ? ` at ${chosen.url}` : ""}${several ? html` · in <a href=${`#/network/${encodeURIComponent(chosen.node)}`}>${chosen.node}</a>` : null}</span></p></header>
    <${Quiet} quiet=${quiet} />
    <dl class="figures">
      <${Figure} name="Users" value=${count(chosen.users)} />
      <${Figure} name="Tickets, last hour" value=${count(hour?.tickets)} note="issued and opened" />
      <${Figure} name="Refused, last hour" value=${count(hour?.refused)} of=${hour?.refused > 0 ? "warn" : null} />
      <${Figure} name="Last ticket" value=${last ? clock(last.timestamp) : "–"} />
    </dl>
    <section class="card" aria-labelledby="activity"><h2 id="activity">Activity</h2>
      ${events.length === 0 ? html`<p class="quiet">No ticket was asked for since the start.</p>` : html`<div class="scroll tickets" tabindex="0" role="region" aria-label="Tickets and refusals"><table class="stacks"><thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Caller</th><th scope="col">Called</th><th scope="col">Ticket</th><th scope="col">Asked by</th></tr></thead>
        <tbody>${events.map((event, n) => {
          const [tone, words] = DEEDS[event.event] ?? ["off", event.event];
          return html`<tr key=${`${event.node}/${event.timestamp}/${n}`}><td><time title=${event.timestamp}>${clock(event.timestamp)}</time></td><td><${Mark} of=${tone}>${words}</${Mark}></td>
            ${event.event === "request-refused" ? html`<td colspan="3">${event.reason} <span class="quiet">HTTP ${event.status}</span></td>`
              : event.event === "key-rotated" ? html`<td colspan="3">${event.key}</td>`
              : html`<td>${event.initiator ? html`<${Party} uri=${event.initiator} />` : "–"}</td><td data-name="for">${(event.responders ?? []).map((uri) => html`<${Party} uri=${uri} /> `)}</td><td><code>${event.ticket}</code></td>`}
            <td class="quiet">${[event.user, event.source].filter(Boolean).join(" from ")}</td></tr>`;
        })}</tbody></table></div>`}</section>
    <${Tickets} key=${`t/${chosen.node}`} node=${chosen.node} mayChange=${chosen.may_change} stamp=${stamp} again=${again} />
    <${Users} key=${`u/${chosen.node}`} node=${chosen.node} mayChange=${chosen.may_change} stamp=${stamp} again=${again} />`;
}
