// How values are put for people. What comes from the network goes out as text and nothing else.

/** Octets: `1.4 MB`. */
export function octets(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) { count /= 1000; unit += 1; }
  return `${unit === 0 || count >= 99.5 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

/** Milliseconds as `3 ms`, `4.2 s`, `12:34`, `1:02:03`, `3 d 04:00`. */
export function lasting(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const seconds = Math.floor(ms / 1_000), two = (n) => String(n).padStart(2, "0");
  const [d, h, m, s] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3_600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  if (d > 0) return `${d} d ${two(h)}:${two(m)}`;
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export const count = (n) => (n === null || n === undefined ? "–" : Number(n).toLocaleString("en-US"));

/** `14:03:22.123` here. */
export function clock(at, fine = false) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "–";
  const text = date.toLocaleTimeString("en-GB");
  return fine ? `${text}.${String(date.getMilliseconds()).padStart(3, "0")}` : text;
}

/** `bob@b.example` of a SIP URI: without scheme and parameters. */
export function who(uri) {
  if (!uri) return "unknown";
  return String(uri).replace(/^sips?:/i, "").split(/[;?]/)[0] || String(uri);
}

/** At most so many characters. */
export const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** How a call is sealed, by the plans that were made for it. The worst line counts. */
export const SEALS = {
  sealed: { name: "sealed end to end", short: "end to end", rank: 1, why: "TLS passes every border unopened." },
  edge: { name: "sealed at the edge", short: "at the edge", rank: 2, why: "TLS ends at a gateway at the edge of the network; behind it the media is in the clear." },
  clear: { name: "in the clear", short: "in the clear", rank: 3, why: "No media line is sealed by the terminals." },
  foreign: { name: "not ours", short: "not ours", rank: 0, why: "Media that Carnet does not look after." },
  refused: { name: "refused", short: "refused", rank: 4, why: "A border refused the offer." },
  unknown: { name: "not planned yet", short: "not planned", rank: -1, why: "No offer was looked at yet." },
};

/**
 * The decisions of a plan as it is printed: `line 0 (message TCP/TLS/MSRP): e2e over TCP/TLS, …; line 1 …`. What is in parentheses is
 * written by whoever made the offer: two words without a space in them, so nobody can write a decision there.
 */
export function decisions(plan) {
  const found = [];
  for (const match of String(plan ?? "").matchAll(/(?:^|; )line \d+ \([^\s]+ [^\s]+\): ([a-z0-9]+)/g)) found.push(match[1]);
  return found;
}

export function sealOf(plans) {
  const all = plans.flatMap(decisions).filter((decision) => decision !== "unused");
  if (all.length === 0) return "unknown";
  if (all.includes("refuse")) return "refused";
  const ours = all.filter((decision) => decision !== "pass" && decision !== "rtpengine");
  if (ours.length === 0) return "foreign";
  if (ours.every((decision) => decision === "e2e")) return "sealed";
  return ours.includes("e2ae") ? "edge" : "clear";
}

const CAUSES = {
  "caller-hung-up": "the caller hung up", "callee-hung-up": "the callee hung up", "cancelled": "given up before an answer",
  "refused": "refused by the other side", "refused-here": "refused here", "caller-took-down": "the caller took it down", "callee-took-down": "the callee took it down", "unreachable": "the next hop could not be reached", "unanswered": "no answer from the next hop", "gateway-lost": "its gateway was lost",
  "context-lost": "its gateway lost the media", "interface": "an interface of the gateway went down", "session-timer": "the session timer ran out",
  "no-ack": "the answer was never acknowledged", "gateway": "the gateway could not do it", "inactive": "no media for too long",
  "stopping": "the border went out of service", "caller-tls": "TLS with the caller failed", "callee-tls": "TLS with the callee failed",
  "deleted": "the call ended", "administrator": "an administrator ended it", "unused": "never used", "closing": "the gateway closes",
};
const GOOD = new Set(["caller-hung-up", "callee-hung-up", "cancelled", "deleted", "unused", "closing", "stopping", "administrator"]);

export const cause = (name) => (name ? CAUSES[name] ?? String(name) : "");
export const wentWell = (name) => !name || GOOD.has(name);
