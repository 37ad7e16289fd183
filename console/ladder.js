// The ladder of a session: who said what to whom, in order. Draws what `carnet trace --format json` gives, and, where a node has
// no such thing, the events of the session in the same form.

import { takeKeys } from "./keys.js";
import { html, useLayoutEffect, useRef, useState } from "./parts.js";
import { cause, clock, cut, octets } from "./words.js";

/** Between two hosts: as wide as there is room, within these. */
const NARROW = 114;
const WIDE = 210;
const HIGH = 34;
/** What the time takes. */
const TIME = 88;
/** A letter, about. */
const LETTER = 6.6;

function Arrow({ entry, hosts, width, column }) {
  const x = (host) => column * host + column / 2;
  const from = x(entry.from_host), to = x(entry.to_host);
  const tone = entry.bad ? "bad" : entry.protocol;
  const lines = hosts.map((_, n) => html`<line class="life" x1=${x(n)} x2=${x(n)} y1="0" y2=${HIGH} />`);
  const label = entry.times > 1 ? `${entry.label} ×${entry.times}` : entry.label;
  if (from === to) {
    // At the last host it stands before the line.
    const last = entry.from_host === hosts.length - 1, room = Math.floor(((last ? from : width - from) - 14) / LETTER);
    return html`<svg class="rung tone-${tone}" width=${width} height=${HIGH} aria-hidden="true">${lines}
      <rect x=${from - 4} y="13" width="8" height="8" rx="2" class="dot" />
      <text x=${from + (last ? -12 : 12)} y="21" text-anchor=${last ? "end" : "start"}>${cut(label, Math.max(8, room))}</text></svg>`;
  }
  const way = Math.sign(to - from), end = to - way * 5;
  // Over several columns there is room for more.
  const room = Math.max(12, Math.floor((Math.abs(to - from) + column * 0.5) / LETTER));
  return html`<svg class="rung tone-${tone}" width=${width} height=${HIGH} aria-hidden="true">${lines}
    <line class="wire" x1=${from} x2=${end} y1="24" y2="24" />
    <path class="tip" d=${`M${to} 24l${-7 * way} -4v8z`} />
    <text x=${(from + to) / 2} y="17" text-anchor="middle">${cut(label, room)}</text></svg>`;
}

/** A node that is known has a name; others are called by what they seem to be. */
const nameOf = (host) => host?.name || host?.role || "host";

const WEIGHTS = { failure: "bad", warning: "warn", note: "note" };

export function Findings({ findings, show }) {
  if (!findings || findings.length === 0) return null;
  return html`<ul class="findings">${findings.map((finding) => html`<li class="finding is-${WEIGHTS[finding.weight] ?? "note"}">
    <p><b>${finding.what}</b></p>${finding.advice ? html`<p>${finding.advice}</p>` : null}
    ${Number.isInteger(finding.entry) ? html`<button type="button" class="plain" onClick=${() => show(finding.entry)}>Show it in the ladder</button>` : null}</li>`)}</ul>`;
}

export function Ladder({ session }) {
  const { hosts, entries } = session;
  const [open, setOpen] = useState(() => new Set());
  const [chosen, choose] = useState(null);
  const list = useRef(null);
  const [room, setRoom] = useState(900);
  const box = useRef(null);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(([{ contentRect }]) => setRoom(contentRect.width));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const column = Math.max(NARROW, Math.min(WIDE, Math.floor((room - TIME - 16) / Math.max(1, hosts.length))));
  const width = Math.max(1, hosts.length) * column;
  const first = entries.length > 0 ? entries[0].at : 0;
  const toggle = (n) => setOpen((before) => { const next = new Set(before); if (!next.delete(n)) next.add(n); return next; });
  const reveal = (n) => {
    choose(n);
    setOpen((before) => new Set(before).add(n));
    list.current?.querySelector(`[data-entry="${n}"]`)?.scrollIntoView({ block: "center" });
  };
  useLayoutEffect(() => takeKeys((key) => {
    const to = (n) => {
      const place = Math.max(0, Math.min(entries.length - 1, n));
      choose(place);
      list.current?.querySelector(`[data-entry="${place}"] button`)?.focus();
    };
    if (key === "j" || key === "ArrowDown") to(chosen === null ? 0 : chosen + 1);
    else if (key === "k" || key === "ArrowUp") to(chosen === null ? 0 : chosen - 1);
    else return false;
    return true;
  }));
  return html`<${Findings} findings=${session.findings} show=${reveal} />
    <div class="ladder" ref=${box} tabindex="0" role="region" aria-label="In order">
      <div class="hosts" style=${{ width: `${width + TIME}px` }}>${hosts.map((host) => html`<div class="host" style=${{ width: `${column}px` }} title=${[nameOf(host), host.role, ...(host.addresses ?? [])].join("\n")}>
        <b>${cut(nameOf(host), 20)}</b><small>${cut((host.addresses ?? [])[0] ?? "", 24)}${(host.addresses ?? []).length > 1 ? html` <span class="more">+${host.addresses.length - 1}</span>` : null}</small></div>`)}</div>
      <ol ref=${list} style=${{ width: `${width + TIME}px` }}>${entries.map((entry, n) => html`<li key=${n} data-entry=${n} class=${n === chosen ? "is-chosen" : ""}>
        <button type="button" class="entry" aria-expanded=${open.has(n)} onFocus=${() => choose(n)} onClick=${() => toggle(n)}>
          <time>${n === 0 ? clock(entry.at * 1_000) : `+${(entry.at - first).toFixed(3)}`}</time>
          <span class="away">${entry.label}, from ${nameOf(hosts[entry.from_host])} to ${nameOf(hosts[entry.to_host])}${entry.bad ? ", wrong" : ""}</span>
          <${Arrow} entry=${entry} hosts=${hosts} width=${width} column=${column} /></button>
        ${open.has(n) ? html`<div class="message"><div><p class="between"><span>${clock(entry.at * 1_000, true)}</span> <span>${entry.from} → ${entry.to}</span> <span>${[entry.transport, String(entry.protocol).toUpperCase()].filter(Boolean).join(" · ")}</span></p>
          <pre tabindex="0">${entry.text || JSON.stringify(entry.message, null, 2)}</pre></div></div>` : null}</li>`)}</ol>
    </div>`;
}

/** The events of sessions with one Call-ID, those of all its hops, as a ladder. */
export function ofEvents(records) {
  const hosts = [{ role: "caller", addresses: [] }];
  const places = new Map();
  const place = (key, role, note) => {
    if (!places.has(key)) { places.set(key, hosts.length); hosts.push({ role, addresses: note ? [note] : [] }); }
    return places.get(key);
  };
  for (const record of records) {
    place(`n/${record.node}`, record.node, record.role === "steering" ? "steered gateway" : "border");
    for (const { fields } of record.events) if (fields.gateway) place(`g/${fields.gateway}`, fields.gateway, "gateway");
  }
  const callee = hosts.length;
  hosts.push({ role: "callee", addresses: [] });
  hosts[0].addresses = [records[0]?.from ?? ""].filter(Boolean);
  hosts[callee].addresses = [records[0]?.to ?? ""].filter(Boolean);
  const entries = [];
  records.forEach((record, hop) => {
    const own = place(`n/${record.node}`), began = Date.parse(record.began);
    const before = hop === 0 ? 0 : place(`n/${records[hop - 1].node}`);
    const after = hop === records.length - 1 ? callee : place(`n/${records[hop + 1].node}`);
    for (const { at_ms, event, level, fields } of record.events) {
      const gateway = fields.gateway ? place(`g/${fields.gateway}`) : own;
      const side = fields.side === "callee" ? after : before;
      const [from, to, label] = {
        "call-started": [before, own, "call"],
        "offer-planned": [before, own, "offer"],
        "dialog-started": [own, own, "dialog"],
        "plan-made": [own, own, "plan made"],
        "media-reserved": [own, gateway, "context reserved"],
        "call-up": [after, own, "answered"],
        "dialog-answered": [after, own, "answered"],
        "tls-up": [gateway, side, "TLS stands"],
        "tls-failed": [gateway, side, "TLS failed"],
        "media-notice": [gateway, own, fields.reason || (fields.what ?? "notice")],
        "media-released": [gateway, own, `back, ${octets((fields["octets.caller.received"] ?? 0) + (fields["octets.callee.received"] ?? 0))}`],
        "call-ended": [fields.cause === "callee-hung-up" ? after : fields.cause === "caller-hung-up" || fields.cause === "cancelled" ? before : own, own, cause(fields.cause)],
        "dialog-ended": [own, own, cause(fields.why ?? fields.cause)],
      }[event] ?? [own, own, event];
      entries.push({
        at: (began + at_ms) / 1_000, from: hosts[from].role, to: hosts[to].role, from_host: from, to_host: to, transport: "", protocol: "event",
        label, bad: level === "warn" || level === "error", times: 1, message: fields,
        text: [`${event} at ${record.node}`, ...Object.entries(fields).map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(", ") : value}`)].join("\n"),
      });
    }
  });
  // Of the same moment the order of the hops stays.
  return { hosts, entries: entries.map((entry, n) => [entry, n]).sort(([a, n], [b, m]) => a.at - b.at || n - m).map(([entry]) => entry), findings: [] };
}
