// The key management service: tickets that were issued, opened and revoked, and what was refused. No key and no ticket is shown, only the
// beginning of a ticket's digest.

import { has } from "../api.js";
import { Empty, Figure, Mark, Party, html, useEffect, useState, usePolled } from "../parts.js";
import { onEvent } from "../store.js";
import { clock, count } from "../words.js";

const MOST = 400;
const DEEDS = { "ticket-issued": ["good", "issued"], "ticket-resolved": ["good", "opened"], "ticket-revoked": ["warn", "revoked"], "request-refused": ["bad", "refused"], "key-rotated": ["off", "new ticket key"] };

/** Events of the service, those from before and those that come. */
function useActivity() {
  const [{ events, stamp }, set] = useState({ events: [], stamp: 0 });
  const { value } = usePolled("/api/v1/events/recent?role=kms", 0, stamp);
  useEffect(() => { if (value) set((before) => ({ ...before, events: value.events })); }, [value]);
  useEffect(() => {
    const fresh = [];
    let due = null;
    const stop = onEvent((name, data) => {
      if (name === "connected" || name === "missed") set((before) => ({ ...before, stamp: before.stamp + 1 }));
      if (data.kms === undefined || data.level === "debug") return;
      fresh.unshift({ ...data, event: name });
      due ??= setTimeout(() => {
        due = null;
        const come = fresh.splice(0);
        set((before) => ({ ...before, events: [...come, ...before.events].slice(0, MOST) }));
      }, 200);
    });
    return () => { stop(); clearTimeout(due); };
  }, []);
  return events;
}

function cell(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map(cell).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** What else the service lets be asked, where it does: rows of objects. */
function Listed({ title, what }) {
  const { value } = usePolled(`/api/v1/kms/${what}?limit=100`, 15_000);
  const rows = Array.isArray(value) ? value : Object.values(value ?? {}).find(Array.isArray);
  if (!rows) return null;
  const columns = [...new Set(rows.flatMap((row) => (row && typeof row === "object" ? Object.keys(row) : [])))].slice(0, 8);
  return html`<section class="card"><h2>${title} <span class="quiet">${count(value.total ?? rows.length)}</span></h2>
    ${rows.length === 0 ? html`<p class="quiet">None.</p>` : html`<div class="scroll" tabindex="0" role="region" aria-label=${`List of ${what}`}><table><thead><tr>${columns.map((name) => html`<th scope="col">${name.replace(/_/g, " ")}</th>`)}</tr></thead>
      <tbody>${rows.slice(0, 200).map((row) => html`<tr>${columns.map((name) => html`<td>${cell(row?.[name])}</td>`)}</tr>`)}</tbody></table></div>`}</section>`;
}

export function Keys({ process }) {
  const events = useActivity();
  const [parts, know] = useState([]);
  useEffect(() => {
    for (const [title, what] of [["Users", "users"], ["Tickets", "tickets"]]) {
      has(`/api/v1/kms/${what}`).then((there) => { if (there) know((before) => [...before, [title, what]]); });
    }
  }, []);
  const { value: history } = usePolled("/api/v1/history", 5_000);
  const services = process?.roles.filter((role) => role.role === "kms") ?? [];
  const hour = (name) => (history ? Math.round(history.rates[name].reduce((sum, rate) => sum + rate * history.step, 0)) : null);
  if (process && services.length === 0) {
    return html`<header class="head"><h1>Keys</h1></header><${Empty} title="No key management service runs here">Its activity is shown by the process whose file has a [kms] section.</${Empty}>`;
  }
  return html`<header class="head"><h1>Keys</h1><p class="sum">${services.map((role) => `${role.name} at ${role.url}`).join(", ")}</p></header>
    <dl class="figures">
      <${Figure} name="Tickets, last hour" value=${count(hour("tickets"))} note="issued and opened" />
      <${Figure} name="Refused, last hour" value=${count(hour("tickets_refused"))} of=${hour("tickets_refused") > 0 ? "warn" : null} />
      <${Figure} name="Last ticket" value=${events.find((event) => event.ticket) ? clock(events.find((event) => event.ticket).timestamp) : "–"} />
    </dl>
    <section class="card" aria-labelledby="activity"><h2 id="activity">Activity</h2>
      ${events.length === 0 ? html`<p class="quiet">No ticket was asked for since the start.</p>` : html`<div class="scroll tickets" tabindex="0" role="region" aria-label="Tickets and refusals"><table><thead><tr><th scope="col">When</th><th scope="col">What</th><th scope="col">Caller</th><th scope="col">Called</th><th scope="col">Ticket</th><th scope="col">Asked by</th></tr></thead>
        <tbody>${events.map((event, n) => {
          const [tone, words] = DEEDS[event.event] ?? ["off", event.event];
          return html`<tr key=${`${event.timestamp}/${n}`}><td><time title=${event.timestamp}>${clock(event.timestamp)}</time></td><td><${Mark} of=${tone}>${words}</${Mark}></td>
            ${event.event === "request-refused" ? html`<td colspan="3">${event.reason} <span class="quiet">HTTP ${event.status}</span></td>`
              : event.event === "key-rotated" ? html`<td colspan="3">${event.key}</td>`
              : html`<td><${Party} uri=${event.initiator} /></td><td>${(event.responders ?? []).map((uri) => html`<${Party} uri=${uri} /> `)}</td><td><code>${event.ticket}</code></td>`}
            <td class="quiet">${[event.user, event.source].filter(Boolean).join(" from ")}</td></tr>`;
        })}</tbody></table></div>`}</section>
    ${parts.map(([title, what]) => html`<${Listed} key=${what} title=${title} what=${what} />`)}`;
}
