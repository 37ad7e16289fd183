// What is known of the process at the moment: the sessions, loaded in pages and kept by the events. One for the whole page.
//
// Sessions with the same Call-ID are one call with a hop each: borders keep it.

import { ask, follow } from "./api.js";
import { sealOf, who } from "./words.js";

/** Live sessions that are loaded at most. */
const MOST = 50_000;
const PAGE = 1_000;
/** Ended sessions that are kept here. */
const ENDED = 1_000;
/** Between two redrawings while events pour in. */
const PACE = 200;

const listeners = new Set();
const eventListeners = new Set();

export const state = {
  /** `connecting`, `live`, `lost`, `refused` */
  link: "connecting",
  why: "",
  loading: true,
  /** Sessions in progress there, though not all may be loaded. */
  total: 0,
  /** Other processes that this one asks. */
  others: 0,
  /** Whether who looks may change something. */
  mayChange: false,
  calls: [],
  over: [],
  version: 0,
};

const live = new Map();
let ended = [];
let endedNumbers = new Set();
/** What the calls were made of, to keep those that have not changed. */
let made = new Map();

export function listen(act) { listeners.add(act); return () => listeners.delete(act); }
export function onEvent(act) { eventListeners.add(act); return () => eventListeners.delete(act); }

let due = null;
function changed() { due ??= setTimeout(() => { due = null; build(); }, PACE); }
function now() { clearTimeout(due); due = null; build(); }

function build() {
  state.calls = group(live.values(), made);
  state.over = group(ended, null);
  made = new Map(state.calls.map((call) => [call.id, call]));
  if (live.size > state.total || live.size < MOST) state.total = live.size;
  state.version += 1;
  listeners.forEach((act) => act());
}

function group(sessions, before) {
  const calls = new Map();
  for (const session of sessions) {
    const known = calls.get(session.call_id);
    if (known) known.push(session);
    else calls.set(session.call_id, [session]);
  }
  const out = [];
  for (const [id, hops] of calls) {
    const old = before?.get(id);
    const same = old && old.hops.length === hops.length && hops.every((hop, n) => hop === old.source[n]);
    out.push(same ? old : call(id, hops));
  }
  return out.sort((a, b) => b.number - a.number);
}

function call(id, source) {
  const hops = [...source].sort((a, b) => a.number - b.number);
  const [first] = hops, last = hops[hops.length - 1];
  const answered = hops.find((hop) => hop.answered_ms !== null && hop.answered_ms !== undefined);
  const seal = sealOf(hops.map((hop) => hop.plan));
  const over = hops.find((hop) => hop.cause && hop.ended_ms !== null) ?? first;
  return {
    id, hops, source, seal,
    number: first.number,
    from: first.from, to: first.to,
    began: Date.parse(first.began),
    answered: answered ? Date.parse(answered.began) + answered.answered_ms : null,
    ended: hops.every((hop) => hop.ended_ms !== null && hop.ended_ms !== undefined) ? Date.parse(last.began) + last.ended_ms : null,
    octets: Math.max(...hops.map((hop) => hop.octets_received ?? 0)),
    cause: over.cause,
    hay: [id, first.from, first.to, seal, over.cause, ...hops.flatMap((hop) => [hop.node, hop.gateway])].join(" ").toLowerCase(),
  };
}

/** Everything anew. */
export async function load(signal) {
  const seen = new Set();
  const overBefore = endedNumbers;
  endedNumbers = new Set();
  try {
    let after = 0, total = 0;
    for (;;) {
      const page = await ask(`/api/v1/sessions?limit=${PAGE}&after=${after}`, signal);
      total = page.total;
      for (const session of page.sessions) {
        seen.add(session.number);
        // What the events have told meanwhile is newer.
        if (!endedNumbers.has(session.number)) live.set(session.number, session);
      }
      state.total = total;
      if (page.next === undefined || page.next === null || seen.size >= MOST) break;
      after = page.next;
      changed();
    }
    const highest = Math.max(0, ...seen);
    for (const number of live.keys()) if (!seen.has(number) && number <= highest) live.delete(number);
    if (seen.size === 0) live.clear();
    const over = await ask(`/api/v1/sessions?state=ended&limit=${ENDED}`, signal);
    ended = over.sessions;
    for (const session of ended) live.delete(session.number);
    state.loading = false;
    now();
  } catch (error) {
    endedNumbers = overBefore;
    throw error;
  }
}

const BEGIN = new Set(["call-started", "offer-planned", "dialog-started"]);
const ELSEWHERE = new Set(["elsewhere", "not-answered"]);

function take(name, data) {
  const number = data.session;
  if (number === undefined || number === null) return;
  let session = live.get(number);
  if (!session) {
    if (!BEGIN.has(name) || endedNumbers.has(number) || live.size >= MOST) return;
    const role = data.border !== undefined ? "border" : "steering";
    session = {
      number, role, node: data[role], call_id: data.call_id, began: data.timestamp, answered_ms: null, ended_ms: null,
      from: data.from ?? null, to: data.to ?? null, plan: null, cause: null, networks: [null, null], gateway: null, octets_received: 0,
    };
  }
  const next = { ...session };
  const at = Math.max(0, Date.parse(data.timestamp) - Date.parse(session.began));
  for (const fact of ["from", "to", "plan", "gateway"]) if (data[fact] !== undefined) next[fact] = data[fact];
  if (data["networks.caller"] !== undefined) next.networks = [data["networks.caller"], data["networks.callee"]];
  if (name === "call-up" || name === "dialog-answered") next.answered_ms ??= at;
  if (name === "media-released") next.octets_received += (data["octets.caller.received"] ?? 0) + (data["octets.callee.received"] ?? 0);
  if ((name === "call-ended" || name === "dialog-ended") && !ELSEWHERE.has(data.cause)) {
    next.cause = data.cause ?? data.why ?? null;
    next.ended_ms = at;
    endedNumbers.add(number);
    live.delete(number);
    ended = [next, ...ended].slice(0, ENDED);
  } else live.set(number, next);
  changed();
}

/** Octets are told after the end. */
function takeLate(name, data) {
  if (name !== "media-released" || !endedNumbers.has(data.session)) return false;
  ended = ended.map((session) => session.number !== data.session ? session : {
    ...session, octets_received: session.octets_received + (data["octets.caller.received"] ?? 0) + (data["octets.callee.received"] ?? 0),
  });
  changed();
  return true;
}

let ending = null;
let reloading = null;
/** Something was missed while it was read: it is read once more. */
let stale = false;

/** Not more often than that, whatever is missed. */
const REST = 3_000;

function reload(signal) {
  if (reloading) { stale = true; return; }
  stale = false;
  const mine = reloading = {};
  (async () => {
    try { await load(signal); } catch { stale = true; }
    await new Promise((go) => setTimeout(go, REST));
    if (reloading !== mine) return;
    reloading = null;
    // Without a connection it is read when there is one again.
    if (stale && !signal.aborted && state.link !== "lost") reload(signal);
  })();
}

/** A page that nobody sees lets go of its stream after this: a browser has six connections to a process, for all its pages. */
const UNSEEN = 60_000;
/** The list is not waited for longer than this, if the stream does not come. */
const UNOPENED = 2_000;

/** Follows the process while the page is seen. */
export function start() {
  let clock = null;
  const rest = () => { ending?.abort(); ending = null; };
  // A page that is kept for the way back keeps its connections, if it is let.
  window.addEventListener("pagehide", rest);
  window.addEventListener("pageshow", () => { if (ending === null) begin(); });
  document.addEventListener("visibilitychange", () => {
    clearTimeout(clock);
    if (document.hidden) clock = setTimeout(rest, UNSEEN);
    else if (ending === null) begin();
  });
  begin();
}

function begin() {
  ending?.abort();
  const { signal } = ending = new AbortController();
  state.link = "connecting";
  setTimeout(() => { if (state.link === "connecting" && !signal.aborted) reload(signal); }, UNOPENED);
  follow({
    open() { state.link = "live"; state.why = ""; reloading = null; reload(signal); listeners.forEach((act) => act()); tellAll("connected", {}); },
    lost(why) { state.link = "lost"; state.why = why; now(); },
    event(name, data) {
      if (name === "missed") reload(signal);
      else if (!takeLate(name, data)) take(name, data);
      tellAll(name, data);
    },
  }, signal);
}

function tellAll(name, data) { eventListeners.forEach((act) => act(name, data)); }

/** The call with that session, if it is known here. */
export function callOf(number) {
  const has = (call) => call.hops.some((hop) => hop.number === number);
  return state.calls.find(has) ?? state.over.find(has) ?? null;
}

export const matches = (call, words) => words.every((word) => call.hay.includes(word));
export const wordsOf = (filter) => filter.toLowerCase().split(/\s+/).filter((word) => word !== "");
export const title = (call) => `${who(call.from)} → ${who(call.to)}`;
