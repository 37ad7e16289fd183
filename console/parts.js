// What pages are made of.

import { html, useEffect, useLayoutEffect, useReducer, useRef, useState } from "./vendor/htm-preact.js";
import { listen } from "./store.js";
import { ask } from "./api.js";
import { SEALS, clock, who } from "./words.js";

export { html, useEffect, useLayoutEffect, useRef, useState };

/** Draws anew when the store has changed. */
export function useStore() {
  const [, again] = useReducer((n) => n + 1, 0);
  useEffect(() => listen(again), []);
}

/** Draws anew every so many milliseconds. */
export function useClock(every) {
  const [, again] = useReducer((n) => n + 1, 0);
  useEffect(() => { const clock = setInterval(again, every); return () => clearInterval(clock); }, [every]);
}

/** What the process answers to a question, asked every so many milliseconds; what was known stays while it does not answer. */
export function usePolled(path, every, again = 0) {
  const [known, set] = useState({ value: null, error: null, path: null });
  useEffect(() => {
    const stop = new AbortController();
    let clock;
    const look = async () => {
      try {
        const value = await ask(path, stop.signal);
        set({ value, error: null, path });
      } catch (error) {
        if (error.name === "AbortError") return;
        set((before) => ({ value: before.path === path ? before.value : null, error, path }));
      }
      if (!stop.signal.aborted && every) clock = setTimeout(look, every);
    };
    look();
    return () => { stop.abort(); clearTimeout(clock); };
  }, [path, every, again]);
  return known.path === path ? known : { value: null, error: null, path };
}

const PATHS = {
  sealed: "M5.5 8.2l1.8 1.8 3.4-3.8",
  edge: "M8 3.2v9.6",
  clear: "M5.2 8h5.6",
  refused: "M5.6 5.6l4.8 4.8m0-4.8l-4.8 4.8",
  foreign: "M8 7.9v.2",
  unknown: "M8 7.9v.2",
};

/** The seal mark: shape, colour and word say the same. */
export function Seal({ seal, long }) {
  const known = SEALS[seal];
  return html`<span class="seal seal-${seal}" title=${`${known.name}. ${known.why}`}>
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><circle cx="8" cy="8" r="6.2" /><path d=${PATHS[seal]} /></svg>
    <span>${long ? known.name : known.short}</span></span>`;
}

export function Mark({ of, children, title }) {
  return html`<span class="mark mark-${of}" title=${title}><i aria-hidden="true"></i>${children}</span>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><svg viewBox="0 0 48 48" width="48" height="48" aria-hidden="true"><circle cx="24" cy="24" r="17" /><path d="M16 24h16" /></svg>
    <h2>${title}</h2><p>${children}</p></div>`;
}

/** Parts of a URI: the user in strong, the domain in quiet letters. */
export function Party({ uri }) {
  const text = who(uri), at = text.lastIndexOf("@");
  return html`<span class="party" title=${uri ?? ""}>${at < 0 ? html`<b>${text}</b>` : html`<b>${text.slice(0, at)}</b><span>${text.slice(at)}</span>`}</span>`;
}

export function Figure({ name, value, note, of }) {
  return html`<div class="figure ${of ? `is-${of}` : ""}"><dt>${name}</dt><dd>${value}${note ? html`<small>${note}</small>` : null}</dd></div>`;
}

const small = matchMedia("(max-width: 760px)");

/** Whether there is little room; drawn anew when that changes. */
export function narrow() {
  const [, again] = useReducer((n) => n + 1, 0);
  useEffect(() => { small.addEventListener("change", again); return () => small.removeEventListener("change", again); }, []);
  return small.matches;
}

/** A word that is looked for by others: each word asks them, not each letter. What is written, how to write it, and what is wanted. */
export function useWanted() {
  const [written, write] = useState(""), [wanted, want] = useState("");
  useEffect(() => { const clock = setTimeout(() => want(written.trim().slice(0, 200)), 350); return () => clearTimeout(clock); }, [written]);
  return [written, write, wanted];
}

/** Where a word is written that is looked for. `own`: of a part of the page, which `/` does not lead to. */
export function Filter({ value, set, says, own }) {
  return html`<label class="filter"><span class="away">Filter: ${says}</span><svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true"><circle cx="11" cy="11" r="6" /><path d="M15.500 15.500L20 20" /></svg>
    <input type="search" data-filter=${own ? undefined : ""} placeholder=${says} value=${value} autocomplete="off" spellcheck="false" onInput=${(event) => set(event.target.value)} />${own ? null : html`<kbd aria-hidden="true">/</kbd>`}</label>`;
}

/** Processes that did not say, or not now. */
export function Quiet({ quiet }) {
  if (!quiet || quiet.length === 0) return null;
  return html`<div class="banner is-warn" role="status"><b>${quiet.length === 1 ? "One process does not answer." : `${quiet.length} processes do not answer.`}</b>
    <ul class="quiet-ones">${quiet.map((one) => html`<li key=${one.node}><a href=${`#/network/${encodeURIComponent(one.node)}`}>${one.node}</a>: ${one.why}${one.heard ? `; shown as it was at ${clock(one.heard)}` : ""}</li>`)}</ul></div>`;
}

/** A question that has to be answered before something ends. */
export function Confirm({ title, children, act, yes, close }) {
  const dialog = useRef(null);
  const [problem, say] = useState(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => { dialog.current.showModal(); }, []);
  const go = async () => {
    setBusy(true);
    try { await act(); close(); } catch (error) { say(error.message); setBusy(false); }
  };
  return html`<dialog ref=${dialog} class="ask" aria-labelledby="asked" onClose=${close}>
    <h2 id="asked">${title}</h2><div>${children}</div>
    ${problem ? html`<p class="problem" role="alert">${problem}</p>` : null}
    <div class="buttons"><button type="button" onClick=${close} autofocus>Cancel</button>
      <button type="button" class="danger" disabled=${busy} onClick=${go}>${yes}</button></div>
  </dialog>`;
}

/**
 * A list of which only what is seen is in the page. `row(item, isChosen)` draws one; all are `height` high. `chosen` is a key.
 */
export function Rows({ items, keyOf, height, row, chosen, label, onOpen }) {
  const box = useRef(null);
  const [seen, look] = useState({ top: 0, high: 600 });
  useLayoutEffect(() => {
    const element = box.current;
    const measure = () => look((before) => {
      const next = { top: element.scrollTop, high: element.clientHeight };
      return next.top === before.top && next.high === before.high ? before : next;
    });
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    return () => { watch.disconnect(); element.removeEventListener("scroll", measure); };
  }, []);
  const place = chosen === null ? -1 : items.findIndex((item) => keyOf(item) === chosen);
  // The chosen one stays in sight when it is moved, not when others come.
  useLayoutEffect(() => {
    const element = box.current, at = items.findIndex((item) => keyOf(item) === chosen);
    if (at < 0) return;
    if (at * height < element.scrollTop) element.scrollTop = at * height;
    else if ((at + 1) * height > element.scrollTop + element.clientHeight) element.scrollTop = (at + 1) * height - element.clientHeight;
  }, [chosen]);
  const first = Math.max(0, Math.floor(seen.top / height) - 6);
  const last = Math.min(items.length, Math.ceil((seen.top + seen.high) / height) + 6);
  return html`<div class="rows" ref=${box} tabindex="0" role="list" aria-label=${label}>
    <div class="tall" role="presentation" style=${{ height: `${items.length * height}px` }}>
      ${items.slice(first, last).map((item, n) => html`<div class="row ${first + n === place ? "is-chosen" : ""}" role="listitem" key=${keyOf(item)}
        aria-current=${first + n === place ? "true" : null} style=${{ top: `${(first + n) * height}px`, height: `${height}px` }}
        onClick=${(event) => { if (!event.target.closest("a")) onOpen(item); }}>${row(item)}</div>`)}
    </div></div>`;
}
