// The frame: which page, the keyboard, light or dark, the token, and whether the process is heard.

import { render } from "./vendor/htm-preact.js";
import { hasToken, onRefused, useToken, ask } from "./api.js";
import { HELP, startKeys, takeKeys } from "./keys.js";
import { html, useEffect, useLayoutEffect, usePolled, useRef, useState, useStore } from "./parts.js";
import { start, state } from "./store.js";
import { count } from "./words.js";
import { Network } from "./pages/network.js";
import { Sessions } from "./pages/sessions.js";
import { SessionPage } from "./pages/session.js";
import { Rooms } from "./pages/rooms.js";
import { Keys } from "./pages/kms.js";
import { Charts } from "./pages/charts.js";
import { Process } from "./pages/process.js";
import { CallPage, Calls } from "./path.js";

const PAGES = [
  ["network", "Network", "M5 6h5v4H5zM14 6h5v4h-5zM9.5 15h5v4h-5zM10 8h4M7.5 10v2.5h9V10M12 12.5V15"],
  ["sessions", "Sessions", "M4 7h16M4 12h16M4 17h10"],
  ["rooms", "Rooms", "M8.5 11a3 3 0 100-6 3 3 0 000 6zM3 19c0-3 2.5-5 5.5-5s5.5 2 5.5 5M16 11a2.5 2.5 0 100-5M17 14c2.300.3 4 2 4 5"],
  ["keys", "Keys", "M8 15a4 4 0 113.8-5.200L20 10v4h-2.500v-2H15v2h-3.200A4 4 0 018 15zM8 11h.01"],
  ["charts", "Charts", "M4 19h16M5 15l4-5 4 3 6-8"],
  ["process", "Process", "M12 15a3 3 0 100-6 3 3 0 000 6zM12 3v3M12 18v3M3 12h3M18 12h3M5.600 5.600l2.100 2.100M16.300 16.300l2.100 2.100M18.400 5.600l-2.100 2.100M7.700 16.300l-2.100 2.100"],
];

const THEMES = ["auto", "light", "dark"];

function themeNow() {
  try { const kept = localStorage.getItem("carnet-theme"); return THEMES.includes(kept) ? kept : "auto"; } catch { return "auto"; }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("carnet-theme", theme); } catch { /* until the page is closed */ }
}

function placeNow() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map((part) => { try { return decodeURIComponent(part); } catch { return ""; } });
  return parts[0] === "calls" || PAGES.some(([name]) => name === parts[0]) ? parts : ["network"];
}

export const go = (...parts) => { location.hash = "/" + parts.map(encodeURIComponent).join("/"); };

function Help({ close }) {
  const dialog = useRef(null);
  useEffect(() => { dialog.current.showModal(); }, []);
  return html`<dialog ref=${dialog} class="ask" aria-labelledby="keys-title" onClose=${close}>
    <h2 id="keys-title">Keys</h2>
    <dl class="keys">${HELP.map(([key, what]) => html`<div><dt>${key.split(/(, | )/).map((part) => (part.trim() === "" || part === ", " ? part : html`<kbd>${part}</kbd>`))}</dt><dd>${what}</dd></div>`)}</dl>
    <div class="buttons"><button type="button" onClick=${close} autofocus>Close</button></div>
  </dialog>`;
}

function SignIn({ done, again }) {
  const [problem, say] = useState(again ? "The process did not take this token." : null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const word = event.target.elements.token.value.trim();
    if (word === "") return;
    setBusy(true);
    useToken(word);
    try {
      await ask("/api/v1/process");
      done();
    } catch (error) {
      useToken(null);
      say(error.status === 401 ? "The process did not take this token." : error.message);
      setBusy(false);
    }
  };
  return html`<main class="alone"><form class="card sign-in" onSubmit=${submit} autocomplete="off">
    <img src="/console/icon.svg" alt="" width="44" height="44" />
    <h1>Carnet</h1>
    <p>This process wants to know who asks. The token is the line in the file that <code>token-file</code> of <code>[admin]</code> names. It is kept until this tab is closed.</p>
    <label for="token">Token</label>
    <input id="token" name="token" type="password" autocomplete="off" spellcheck="false" autofocus required />
    ${problem ? html`<p class="problem" role="alert">${problem}</p>` : null}
    <button class="primary" disabled=${busy}>Sign in</button>
  </form></main>`;
}

function Link() {
  useStore();
  const words = { connecting: "connecting", live: "live", lost: "connection lost" };
  return html`<span class="link link-${state.link}" role="status" title=${state.why}><i aria-hidden="true"></i>${words[state.link] ?? state.link}</span>`;
}

function Frame({ signOut }) {
  const [place, setPlace] = useState(placeNow());
  const [theme, chooseTheme] = useState(themeNow());
  const [help, showHelp] = useState(false);
  const main = useRef(null);
  useStore();
  const { value: process, error } = usePolled("/api/v1/process", 5_000);
  useEffect(() => { setTheme(theme); }, [theme]);
  useEffect(() => {
    const moved = () => { setPlace(placeNow()); window.scrollTo(0, 0); };
    window.addEventListener("hashchange", moved);
    return () => window.removeEventListener("hashchange", moved);
  }, []);
  useLayoutEffect(() => takeKeys((key) => {
    if (key === "?") showHelp(true);
    else if (key === "t") chooseTheme((before) => (isDark(before) ? "light" : "dark"));
    else return false;
    return true;
  }), []);
  const [page, ...rest] = place;
  // Which pages show what leads to other processes, and what changes something.
  state.others = process?.others ?? state.others;
  state.mayChange = process ? process.may_change === true : state.mayChange;
  const name = page === "calls" ? "Calls" : PAGES.find(([known]) => known === page)[1];
  useEffect(() => { document.title = `${name} · Carnet`; }, [name]);
  const at = page === "sessions" && rest[0] ? html`<${SessionPage} number=${Number(rest[0])} key=${rest[0]} go=${go} />`
    : page === "sessions" ? html`<${Sessions} go=${go} />`
    : page === "calls" && rest[0] ? html`<${CallPage} id=${rest[0]} key=${rest[0]} go=${go} />`
    : page === "calls" ? html`<${Calls} />`
    : page === "rooms" ? html`<${Rooms} place=${rest} go=${go} />`
    : page === "keys" ? html`<${Keys} place=${rest} go=${go} />`
    : page === "charts" ? html`<${Charts} theme=${theme} place=${rest} go=${go} />`
    : page === "process" ? html`<${Process} process=${process} />`
    : html`<${Network} chosen=${rest[0] || null} />`;
  return html`<div class="frame">
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>to the page</a>
    <nav class="side" aria-label="Pages">
      <a class="brand" href="#/network" aria-label="Carnet"><img src="/console/icon.svg" alt="" width="26" height="26" /><span>Carnet</span></a>
      <ul>${PAGES.map(([key, title, path]) => html`<li><a href=${`#/${key}`} aria-current=${key === page || (key === "sessions" && page === "calls") ? "page" : null} title=${`${title} (g ${key[0]})`}>
        <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><path d=${path} /></svg><span>${title}</span>
        ${key === "sessions" && state.total > 0 ? html`<b class="badge" aria-label=${`${state.total} in progress`}>${count(state.total)}</b>` : null}</a></li>`)}</ul>
      <div class="foot">
        <${Link} />
        <button type="button" class="quiet" title="Light or dark (t)" onClick=${() => chooseTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length])}>
          <svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true"><circle cx="12" cy="12" r="8" /><path class="half" d="M12 4a8 8 0 010 16z" /></svg><span>${{ auto: "Light or dark", light: "Light", dark: "Dark" }[theme]}</span></button>
        <button type="button" class="quiet" title="Keys (?)" onClick=${() => showHelp(true)}><kbd aria-hidden="true">?</kbd><span>Keys</span></button>
        ${hasToken() ? html`<button type="button" class="quiet" title="Sign out" aria-label="Sign out" onClick=${signOut}>
          <svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true"><path d="M10 5H5v14h5M14 8l4 4-4 4M18 12H9" /></svg><span>Sign out</span></button>` : null}
      </div>
    </nav>
    <main id="main" tabindex="-1" ref=${main} class="page page-${page}">
      ${state.link === "lost" ? html`<p class="banner is-bad" role="alert"><b>Connection lost.</b> ${state.why}. What is shown is as it was; it goes on when the process answers.</p>` : null}
      ${process?.draining ? html`<p class="banner is-warn" role="status"><b>This process is draining.</b> It takes nothing new and ends when what runs has ended, or the time is over.</p>` : null}
      ${error && state.link !== "lost" && error.status !== 0 ? html`<p class="banner is-bad" role="alert">${error.message}</p>` : null}
      ${at}
    </main>
    ${help ? html`<${Help} close=${() => showHelp(false)} />` : null}
  </div>`;
}

function isDark(theme) { return theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches); }

function Whole() {
  const [asks, setAsks] = useState(null);
  useEffect(() => {
    onRefused(() => setAsks((before) => (before === "form" ? before : hasToken() ? "again" : "form")));
    // Whether a token is wanted is known when something was asked.
    ask("/api/v1/process").then(() => { setAsks("no"); start(); }, (error) => { if (error.status !== 401) { setAsks("no"); start(); } });
  }, []);
  if (asks === null) return null;
  if (asks !== "no") return html`<${SignIn} again=${asks === "again"} done=${() => { setAsks("no"); start(); }} />`;
  return html`<${Frame} signOut=${() => { useToken(null); location.reload(); }} />`;
}

setTheme(themeNow());
startKeys((page) => go(page));
render(html`<${Whole} />`, document.getElementById("console"));
