// The network as a picture: a box a process, its roles in it, and what is between them. Everything in it leads somewhere by keyboard too,
// and the list beside it says the same in words.

import { html, useLayoutEffect, useRef, useState } from "./parts.js";
import { clock, count, cut } from "./words.js";

const WIDE = 158;
const HIGH = 46;
/** Between chips, around them, and for the name of the process. */
const GAP = 14;
const HEAD = 40;
/** Between what decides and what carries. */
const DROP = 44;
const APART = 26;

export const STATES = { reached: "reached", unreachable: "unreachable", unknown: "not asked yet" };
const TONES = { good: "good", warn: "warn", bad: "bad" };
export const toneOf = (health) => TONES[health] ?? "off";

/** How a process is, in words. */
export function stateOf(node) {
  if (node.state === "unreachable") return `unreachable since ${clock(node.since)}`;
  if (node.state !== "reached") return STATES[node.state] ?? String(node.state);
  return node.draining ? "draining" : node.health === "warn" ? "not all in service" : "reached";
}

/** The same where there is little room. */
const shortly = (node) => (node.state === "unreachable" ? `unreachable since ${clock(node.since).slice(0, 5)}` : stateOf(node));

const isTop = (role) => role.role !== "gateway";
/** Borders stand over their gateways, what only gives keys beside them. */
const RANKS = { border: 0, conference: 1, kms: 2 };
const rank = (role) => RANKS[role.role] ?? 3;
const key = (end) => `${end.node ?? ""}/${end.role}/${end.name}`;

/** Places of processes and roles in so much room. What nobody here has is at the end. */
function layout(network, room) {
  const ghosts = new Map();
  const has = new Set(network.nodes.flatMap((node) => node.roles.map((role) => key({ node: node.name, role: role.role, name: role.name }))));
  for (const { to } of network.links) if (!has.has(key(to))) ghosts.set(key(to), to);
  const boxes = network.nodes.map((node) => ({
    node, name: node.name,
    tops: node.roles.filter(isTop).sort((a, b) => rank(a) - rank(b)).map((role) => ({ end: { node: node.name, role: role.role, name: role.name }, role })),
    bottoms: node.roles.filter((role) => !isTop(role)).map((role) => ({ end: { node: node.name, role: role.role, name: role.name }, role })),
  }));
  const elsewhere = (end) => ({ node: null, name: "elsewhere", tops: end.role === "gateway" ? [] : [{ end, role: null }], bottoms: end.role === "gateway" ? [{ end, role: null }] : [] });
  for (const ghost of ghosts.values()) boxes.push(elsewhere(ghost));
  const most = Math.max(1, Math.floor((room - 2 * GAP) / (WIDE + GAP)));
  for (const box of boxes) {
    const columns = Math.min(most, Math.max(1, box.tops.length, box.bottoms.length));
    const rows = (chips) => Math.ceil(chips.length / columns);
    box.columns = columns;
    box.wide = columns * WIDE + (columns + 1) * GAP;
    box.high = HEAD + (rows(box.tops) + rows(box.bottoms)) * (HIGH + GAP) + (box.tops.length > 0 && box.bottoms.length > 0 ? DROP - GAP : 0);
  }
  // Those that decide first, then what only carries.
  const upper = boxes.filter((box) => box.tops.length > 0 || box.bottoms.length === 0), lower = boxes.filter((box) => !upper.includes(box));
  const chips = new Map();
  let y = 0, widest = 0;
  for (const band of [upper, lower]) {
    let x = 0, high = 0;
    for (const box of band) {
      if (x > 0 && x + box.wide > room) { x = 0; y += high + DROP; high = 0; }
      Object.assign(box, { x, y });
      const put = (list, from) => {
        list.forEach((chip, n) => {
          const at = { ...chip, x: x + GAP + (n % box.columns) * (WIDE + GAP), y: from + Math.floor(n / box.columns) * (HIGH + GAP), box };
          chips.set(key(chip.end), at);
        });
        return from + Math.ceil(list.length / box.columns) * (HIGH + GAP);
      };
      const below = put(box.tops, y + HEAD);
      put(box.bottoms, box.tops.length > 0 ? below + DROP - GAP : y + HEAD);
      x += box.wide + APART;
      widest = Math.max(widest, x - APART);
      high = Math.max(high, box.high);
    }
    if (band.length > 0) y += high + DROP;
  }
  return { boxes, chips, wide: Math.max(widest, 1), high: Math.max(y - DROP, 1) };
}

/** A place on a curve (Bézier, of third degree). */
function between(xs, ys, t) {
  const weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3];
  const at = (points) => points.reduce((sum, point, n) => sum + point * weights[n], 0);
  return { x: at(xs), y: at(ys) };
}

/** From one chip to another: beside each other straight, otherwise round what is between; and where it is told what it is. */
function way(a, b) {
  const middle = (chip) => chip.x + WIDE / 2;
  if (b.y > a.y + HIGH) {
    // Beside the name of a process, not through it.
    const [x1, y1, x2, y2] = [middle(a), a.y + HIGH, a.box === b.box ? middle(b) : b.x + WIDE - 16, b.y], bend = Math.min(60, (y2 - y1) / 2);
    return { d: `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}`, ...between([x1, x1, x2, x2], [y1, y1 + bend, y2 - bend, y2], a.box === b.box ? 0.5 : y2 - y1 > 130 ? 0.72 : 0.42) };
  }
  if (a.y > b.y + HIGH) return way(b, a);
  const [left, right] = a.x < b.x ? [a, b] : [b, a];
  const from = left.x + WIDE, to = right.x;
  if (to - from <= GAP * 2 + APART + 2) return { d: `M${from} ${left.y + HIGH / 2}L${to} ${right.y + HIGH / 2}`, x: (from + to) / 2, y: left.y + HIGH / 2, tight: to - from < 36 };
  const [x1, x2, top] = [middle(left), middle(right), Math.min(left.y, right.y) - 12];
  return { d: `M${x1} ${left.y}C${x1} ${top - 8} ${x2} ${top - 8} ${x2} ${right.y}`, x: (x1 + x2) / 2, y: top - 3 };
}

const KINDS = { h248: "H.248", sip: "SIP", kms: "keys" };
export const kindOf = (link) => KINDS[link.kind] ?? String(link.kind);
export const far = (ms) => (Number.isFinite(ms) ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : "");

/** What a chip says under its name. */
function note(chip, links) {
  const { role, end } = chip, node = chip.box.node;
  if (!role) return end.role === "kms" ? "not among these" : "not found";
  const held = node.held ?? {};
  if (end.role === "gateway") {
    const own = (held.gateways ?? []).find((gateway) => gateway.gateway === end.name);
    return `${role.kind} · ${own ? `${count(own.contexts)} contexts` : "?"}`;
  }
  const owner = (held.borders ?? []).find((border) => border.border === end.name);
  if (owner && Number.isFinite(owner.calls)) return `${role.kind} · ${count(owner.calls)} calls`;
  return `${role.kind}${end.role === "conference" && links.length > 0 ? " · conferences" : ""}`;
}

/** The worst that is said of what ends at a chip. */
function toneAt(chip, links) {
  if (!chip.box.node || chip.box.node.state !== "reached") return "off";
  const at = links.filter((link) => key(link.to) === key(chip.end) || key(link.from) === key(chip.end)).filter((link) => link.kind === "h248");
  const bad = at.filter((link) => link.health === "bad").length;
  // A controller is well enough while one of its gateways is.
  if (bad > 0 && (bad === at.length || chip.end.role === "gateway")) return "bad";
  return at.some((link) => link.health !== "good") ? "warn" : "good";
}

export function Picture({ network, chosen }) {
  const box = useRef(null);
  const [room, setRoom] = useState(1_000);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(([{ contentRect }]) => setRoom(Math.max(360, Math.floor(contentRect.width) - 4)));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const { boxes, chips, wide, high } = layout(network, room);
  const lines = network.links.map((link) => ({ link, from: chips.get(key(link.from)), to: chips.get(key(link.to)) })).filter(({ from, to }) => from && to);
  return html`<div class="map" ref=${box} tabindex="0" role="region" aria-label="Map of the network">
    <svg viewBox=${`-2 -16 ${wide + 4} ${high + 20}`} width=${wide + 4} height=${high + 20} role="group" aria-label="Processes, their roles, and what is between them">
      ${boxes.map((at) => html`<g key=${`${at.name}/${at.x}/${at.y}`} class="process is-${at.node ? toneOf(at.node.health) : "off"} ${at.node && at.name === chosen ? "is-chosen" : ""}">
        <rect class="frame-of" x=${at.x} y=${at.y} width=${at.wide} height=${at.high} rx="12" />
        ${at.node ? html`<a href=${`#/network/${encodeURIComponent(at.name)}`} aria-current=${at.name === chosen ? "true" : null}>
          <circle class="lamp" cx=${at.x + 18} cy=${at.y + 20} r="5" />
          <text class="title" x=${at.x + 30} y=${at.y + 18}>${cut(at.name, at.columns > 1 ? 34 : 16)}</text>
          <text class="under" x=${at.x + 30} y=${at.y + 32}>${cut(shortly(at.node), at.columns > 1 ? 44 : 25)}</text></a>`
          : html`<text class="under" x=${at.x + GAP} y=${at.y + 24}>in none of these processes</text>`}</g>`)}
      <g aria-hidden="true">${lines.map(({ link, from, to }, n) => {
        const { d, x, y, tight } = way(from, to);
        const said = link.kind === "h248" ? [link.state === "in service" ? "" : link.state, far(link.round_trip_ms)].filter(Boolean).join(" · ") : kindOf(link);
        return html`<g key=${n} class="line-of line-${link.kind} is-${toneOf(link.health)}"><title>${`${link.from.name} – ${link.to.name}: ${kindOf(link)}, ${link.state}`}</title><path d=${d} />
          ${link.health === "bad" ? html`<path class="broken" d=${`M${x - 6} ${y - 6}l12 12m0 -12l-12 12`} />` : null}
          ${said && !tight ? html`<text x=${x + (link.health === "bad" ? 12 : 5)} y=${y + 4} text-anchor=${link.kind === "h248" ? "start" : "middle"}>${cut(said, 18)}</text>` : null}</g>`;
      })}</g>
      ${[...chips.values()].map((chip) => {
        const tone = toneAt(chip, network.links), words = note(chip, network.links);
        const body = html`<rect x=${chip.x} y=${chip.y} width=${WIDE} height=${HIGH} rx="9" />
          <text class="title" x=${chip.x + 12} y=${chip.y + 20}>${cut(chip.end.name, 17)}</text><text class="under" x=${chip.x + 12} y=${chip.y + 36}>${cut(words, 22)}</text>`;
        return chip.box.node
          ? html`<a key=${key(chip.end)} class="chip chip-${chip.end.role} is-${tone}" href=${`#/network/${encodeURIComponent(chip.box.name)}`}>${body}</a>`
          : html`<g key=${key(chip.end)} class="chip is-off is-ghost"><title>${chip.end.name}</title>${body}</g>`;
      })}
    </svg></div>`;
}

/** The same in words. */
export function Lists({ network }) {
  const where = (end) => html`${end.name}${end.node ? html` <span class="quiet">in ${end.node}</span>` : html` <span class="quiet">in none of these</span>`}`;
  return html`<div class="scroll network-lists" tabindex="0" role="region" aria-label="The network as lists">
    <table class="nodes-of stacks"><caption>Processes</caption><thead><tr><th scope="col">Process</th><th scope="col">State</th><th scope="col">Roles</th><th scope="col">Calls</th><th scope="col">Contexts</th><th scope="col">Version</th></tr></thead>
      <tbody>${network.nodes.map((node) => html`<tr key=${node.name}><th scope="row"><a href=${`#/network/${encodeURIComponent(node.name)}`}>${node.name}</a>${node.here ? html` <span class="tag">this one</span>` : null}</th>
        <td><span class="mark mark-${toneOf(node.health)}" title=${node.why ?? ""}><i aria-hidden="true"></i>${stateOf(node)}</span></td>
        <td>${node.roles.map((role) => `${role.name} (${role.kind})`).join(", ") || "–"}</td><td data-name="Calls">${count(node.calls)}</td><td data-name="Contexts">${count(node.contexts)}</td><td data-name="Version">${node.version ?? "–"}</td></tr>`)}</tbody></table>
    <table class="links-of stacks"><caption>Who is connected to whom</caption><thead><tr><th scope="col">From</th><th scope="col">By</th><th scope="col">To</th><th scope="col">State</th><th scope="col">Answers after</th></tr></thead>
      <tbody>${network.links.map((link, n) => html`<tr key=${n}><th scope="row">${where(link.from)}</th><td data-name="by">${kindOf(link)}</td><td data-name="to">${where(link.to)}</td>
        <td><span class="mark mark-${toneOf(link.health)}"><i aria-hidden="true"></i>${link.state}</span></td><td>${far(link.round_trip_ms) || "–"}</td></tr>`)}</tbody></table></div>`;
}
