// How the process is asked: JSON over HTTP, and its events as a stream. Knows the token, tells who listens when one is wanted.
//
// EventSource cannot send a token, so the stream is read with fetch.

const PLACE = "carnet-token";

let described = null;
let token = null;
try { token = sessionStorage.getItem(PLACE); } catch { /* kept in memory only */ }

const refused = new Set();

/** Called when the process wants a token, or another one. */
export function onRefused(act) { refused.add(act); }

export function hasToken() { return token !== null; }

export function useToken(word) {
  described = null;
  token = word;
  try {
    if (word === null) sessionStorage.removeItem(PLACE);
    else sessionStorage.setItem(PLACE, word);
  } catch { /* kept in memory only */ }
}

function headers(more) {
  return token === null ? more : { ...more, authorization: `Bearer ${token}` };
}

/** Why there is no answer. `status` is 0 where nobody answered. */
export class Failure extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers ?? {}), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "the process does not answer");
  }
  if (response.status === 401) {
    refused.forEach((act) => act());
    throw new Failure(401, "a token is needed");
  }
  return response;
}

async function read(response) {
  const text = await response.text();
  let body = null;
  try { body = text === "" ? null : JSON.parse(text); } catch { /* said in words */ }
  if (!response.ok) throw new Failure(response.status, body?.error ?? (text.trim().slice(0, 300) || `HTTP ${response.status}`));
  return body;
}

export async function ask(path, signal) { return read(await send(path, { signal })); }

export async function tell(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  return read(await send(path, options));
}

/** Whether the process has that part of the API: an older one, or one without the role, has not. */
export async function has(path) {
  described ??= ask("/api/v1/openapi.json").then((document) => new Set(Object.keys(document.paths)));
  try { return (await described).has(path); } catch { described = null; return false; }
}

/** A path with parts that others have named. */
export const path = (...parts) => "/api/v1/" + parts.map((part) => encodeURIComponent(part)).join("/");

/** Longest silence of a stream: it says something every fifteen seconds. */
const SILENCE = 40_000;

/**
 * Follows the events until `signal` ends it, and comes back when the connection is lost.
 * `on.event(name, data)`, `on.open()`, `on.lost(why)`.
 */
export async function follow(on, signal) {
  let pause = 500;
  while (!signal.aborted) {
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    signal.addEventListener("abort", stop);
    let clock;
    const heard = () => { clearTimeout(clock); clock = setTimeout(stop, SILENCE); };
    try {
      heard();
      const response = await send("/api/v1/events", { signal: attempt.signal, headers: { accept: "text/event-stream" } });
      if (!response.ok) throw new Failure(response.status, `HTTP ${response.status}`);
      pause = 500;
      on.open();
      await parse(response.body.getReader(), on.event, heard);
      on.lost("the process has closed the connection");
    } catch (error) {
      if (signal.aborted) return;
      on.lost(error.name === "AbortError" ? "nothing has been heard for a while" : error.message);
      if (error.status === 401) return;
    } finally {
      clearTimeout(clock);
      signal.removeEventListener("abort", stop);
    }
    await new Promise((go) => setTimeout(go, pause));
    pause = Math.min(pause * 2, 5_000);
  }
}

/** Server-sent events, as far as they are sent here: `event`, `data` of one line, comments. */
async function parse(reader, tellOf, heard) {
  const words = new TextDecoder();
  let rest = "", name = "message", data = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const lines = (rest + words.decode(value, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data !== "") {
          let body = null;
          try { body = JSON.parse(data); } catch { /* not one of ours */ }
          if (body !== null) tellOf(name, body);
        }
        name = "message";
        data = "";
      } else if (line.startsWith("event:")) name = line.slice(6).trim();
      else if (line.startsWith("data:")) data += line.slice(5).trimStart();
    }
  }
}
