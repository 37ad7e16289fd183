// Rooms of all conference servers, in whatever process: which there are, who is in one, whether all is sealed, and who has its floors.
// What is done about it goes through this process.

import { ask, path, tell } from "../api.js";
import { takeKeys } from "../keys.js";
import { Confirm, Empty, Filter, Mark, Party, Quiet, html, narrow, useEffect, useLayoutEffect, usePolled, useState, useWanted } from "../parts.js";
import { onEvent, state } from "../store.js";
import { count, who } from "../words.js";

/** Rooms of one page. */
const PAGE = 200;
/** What is looked at again every few seconds, at most. */
const PAGES = 10;

/** Grows when something happens in a conference of this process. */
function useHappenings() {
  const [stamp, again] = useState(0);
  useEffect(() => {
    let due = null;
    const stop = onEvent((name, data) => {
      if (data.conference === undefined && name !== "connected") return;
      due ??= setTimeout(() => { due = null; again((n) => n + 1); }, 300);
    });
    return () => { stop(); clearTimeout(due); };
  }, []);
  return [stamp, () => again((n) => n + 1)];
}

/** So many pages of the list, again every few seconds. */
function useRooms(q, pages, stamp) {
  const [known, set] = useState({ value: null, error: null, q: null });
  useEffect(() => {
    const stop = new AbortController();
    let clock;
    const look = async () => {
      try {
        let value = null, after = null;
        for (let page = 0; page < pages; page += 1) {
          const more = await ask(`/api/v1/network/rooms?limit=${PAGE}${q ? `&q=${encodeURIComponent(q)}` : ""}${after ? `&after=${encodeURIComponent(after)}` : ""}`, stop.signal);
          value = { ...more, rooms: [...(value?.rooms ?? []), ...more.rooms] };
          after = more.next;
          if (!after) break;
        }
        set({ value, error: null, q });
      } catch (error) {
        if (error.name === "AbortError") return;
        set((before) => ({ ...before, error }));
      }
      if (!stop.signal.aborted) clock = setTimeout(look, 5_000);
    };
    look();
    return () => { stop.abort(); clearTimeout(clock); };
  }, [q, pages, stamp]);
  return known;
}

const sealMark = (sealed, members) => (members === 0 ? html`<${Mark} of="off">empty</${Mark}>`
  : sealed ? html`<${Mark} of="good">all sealed</${Mark}>` : html`<${Mark} of="bad">not all sealed</${Mark}>`);

/** What was known stays until there is something newer: a list that comes and goes cannot be read. */
function useKept(polled, key) {
  const [kept, keep] = useState({ key: null, value: null });
  useEffect(() => { if (polled.value) keep({ key, value: polled.value }); }, [polled.value]);
  return polled.value ?? (kept.key === key ? kept.value : null);
}

function Floor({ floor, names, decide, mayChange }) {
  const name = (user) => names.get(user) ?? (typeof user === "number" ? `user ${user}` : who(user));
  const waiting = Array.isArray(floor.waiting) ? floor.waiting : [];
  const act = (user, decision, words) => (mayChange ? html`<button type="button" class="plain" aria-label=${`${words} ${name(user)}, floor ${floor.floor}`} onClick=${() => decide(floor.floor, user, decision)}>${words}</button>` : null);
  return html`<li class="floor"><b>Floor ${floor.floor}</b>
    ${floor.holders.length === 0 ? html`<span class="quiet">nobody has it</span>` : floor.holders.map((user) => html`<span class="claim"><${Mark} of="good">${name(user)}</${Mark}>${act(user, "revoke", "Revoke")}</span>`)}
    ${waiting.length === 0 ? html`<span class="quiet">nobody waits</span>` : html`<span class="quiet">waiting:</span><ol class="queue">${waiting.map((user) => html`<li class="claim" key=${user}><span>${name(user)}</span>${act(user, "grant", "Grant")}${act(user, "deny", "Deny")}</li>`)}</ol>`}</li>`;
}

function Room({ node, uri, stamp, again, mayChange }) {
  const at = (...parts) => path("network", node, "rooms", uri, ...parts);
  const polled = usePolled(at(), 5_000, stamp);
  const room = useKept(polled, uri);
  const [asked, question] = useState(null);
  const [invited, setInvited] = useState("");
  const [problem, say] = useState(null);
  if (room === null) {
    return html`<section class="card room">${polled.error ? html`<${Empty} title=${polled.error.status === 404 ? "There is no such room" : "No answer"}>${polled.error.message}</${Empty}>` : null}</section>`;
  }
  const names = new Map(room.members.map((member) => [member.user, member.nickname || who(member.member)]));
  const invite = async (event) => {
    event.preventDefault();
    say(null);
    const word = invited.trim();
    if (word === "") return;
    try { await tell("POST", at("members"), { uri: word.includes(":") ? word : `sip:${word}` }); setInvited(""); again(); } catch (error) { say(error.message); }
  };
  const attempt = async (act) => {
    say(null);
    try { await act(); again(); } catch (error) { say(error.message); }
  };
  const decide = (floor, user, decision) => attempt(() => tell("POST", at("floors", String(floor)), { user, decision }));
  const mute = (member, muted) => attempt(() => tell("PATCH", at("members", member), { muted }));
  return html`<section class="card room" aria-label=${`Room ${who(uri)}`}>
    <header><div><h2>${room.subject || who(uri)}</h2><p class="quiet">${who(uri)}${state.others > 0 ? html` · in <a href=${`#/network/${encodeURIComponent(node)}`}>${node}</a>` : null}${room.gateway ? ` · media at ${room.gateway}, context ${room.context}` : " · no media server"}</p></div>
      ${sealMark(room.sealed, room.members.length)}
      ${mayChange ? html`<button type="button" class="danger" onClick=${() => question({ what: "close" })}>End room</button>` : null}</header>
    ${polled.error ? html`<p class="problem" role="alert">${polled.error.message}</p>` : null}
    <h3>Floors</h3>
    ${room.floors.length === 0 ? html`<p class="quiet">It has none: everybody may speak.</p>` : html`<ul class="floors">${room.floors.map((floor) => html`<${Floor} key=${floor.floor} floor=${floor} names=${names} decide=${decide} mayChange=${mayChange} />`)}</ul>`}
    <h3>Members <span class="quiet">${count(room.members.length)}</span></h3>
    ${room.members.length === 0 ? html`<p class="quiet">Nobody is in it.</p>` : html`<div class="scroll" tabindex="0" role="region" aria-label="Members"><table class="roster stacks"><thead><tr><th scope="col">Who</th><th scope="col">Seal</th><th scope="col">State</th><th scope="col">Media</th>${mayChange ? html`<th scope="col"><span class="away">What to do</span></th>` : null}</tr></thead>
      <tbody>${room.members.map((member) => html`<tr key=${`${member.member}/${member.user}`}>
        <th scope="row"><${Party} uri=${member.member} />${member.nickname ? html` <small>“${member.nickname}”</small>` : null}${member.owner ? html` <span class="tag">owner</span>` : null}</th>
        <td>${member.sealed ? html`<${Mark} of="good">sealed</${Mark}>` : html`<${Mark} of="bad">in the clear</${Mark}>`}</td>
        <td>${member.state}${member.stalled ? html` <${Mark} of="warn">stalled</${Mark}>` : null}${member.muted ? html` <${Mark} of="warn">muted</${Mark}>` : null}</td>
        <td class="quiet">${member.media.map((media) => `${media.media}${media.sealed_with ? `, ${media.sealed_with}` : ""}`).join(" · ")}</td>
        ${mayChange ? html`<td class="does"><button type="button" class="plain" aria-label=${`${member.muted ? "Let speak" : "Mute"}: ${who(member.member)}`} onClick=${() => mute(member.member, !member.muted)}>${member.muted ? "Let speak" : "Mute"}</button> <button type="button" class="plain" aria-label=${`Put out: ${who(member.member)}`} onClick=${() => question({ what: "kick", member: member.member })}>Put out</button></td>` : null}</tr>`)}</tbody></table></div>`}
    ${mayChange ? html`<form class="invite" onSubmit=${invite}><label for="invited">Have somebody called</label><input id="invited" value=${invited} placeholder="bob@b.example" autocomplete="off" spellcheck="false" onInput=${(event) => setInvited(event.target.value)} /><button>Call</button></form>` : null}
    ${problem ? html`<p class="problem" role="alert">${problem}</p>` : null}
    ${asked?.what === "close" ? html`<${Confirm} title="End this room?" yes="End room" close=${() => question(null)} act=${async () => { await tell("DELETE", at()); again(); }}>
      <p>All ${count(room.members.length)} members of <b>${who(uri)}</b> are released. ${room.fixed ? "It is in the file, so it is there again at once, empty." : ""}</p></${Confirm}>` : null}
    ${asked?.what === "kick" ? html`<${Confirm} title="Put this member out?" yes="Put out" close=${() => question(null)} act=${async () => { await tell("DELETE", at("members", asked.member)); again(); }}>
      <p><b>${who(asked.member)}</b> is put out of <b>${who(uri)}</b>. Whoever may enter may come again.</p></${Confirm}>` : null}
  </section>`;
}

export function Rooms({ place, go }) {
  const [stamp, again] = useHappenings();
  const [filter, setFilter, wanted] = useWanted();
  const [pages, show] = useState(1);
  useEffect(() => show(1), [wanted]);
  const { value: known, error } = useRooms(wanted, pages, stamp);
  const rooms = known?.rooms ?? [];
  const same = (one, [node, room]) => one.node === node && one.room === room;
  const small = narrow();
  const first = small || rooms.length === 0 ? null : [rooms[0].node, rooms[0].room];
  const chosen = place.length === 2 ? place : first;
  useLayoutEffect(() => takeKeys((key) => {
    const at = chosen ? rooms.findIndex((one) => same(one, chosen)) : -1;
    const to = (n) => { const one = rooms[Math.max(0, Math.min(rooms.length - 1, n))]; if (one) go("rooms", one.node, one.room); };
    if (key === "j" || key === "ArrowDown" || key === "First") to(at + 1);
    else if (key === "k" || key === "ArrowUp") to(at - 1);
    else if ((key === "Escape" || key === "u") && place.length === 2) go("rooms");
    else return false;
    return true;
  }));
  const servers = known?.servers ?? [];
  if (known !== null && rooms.length === 0 && servers.length === 0 && !wanted) {
    return html`<header class="head"><h1>Rooms</h1></header><${Quiet} quiet=${known.quiet} />
      <${Empty} title="No conference server runs here">Rooms are those of processes whose file has a [conference] section: this one, or one that <code>[[admin.nodes]]</code> names.</${Empty}>`;
  }
  const mayChange = chosen !== null && servers.some((server) => server.node === chosen[0] && server.may_change);
  const one = chosen ? html`<${Room} key=${chosen.join("/")} node=${chosen[0]} uri=${chosen[1]} stamp=${stamp} again=${again} mayChange=${mayChange} />` : null;
  const head = html`<header class="head">${small && place.length === 2 ? html`<a class="back" href="#/rooms">‹ Rooms</a>` : null}<h1>Rooms</h1>
    ${known ? html`<p class="sum">${count(known.total)} ${known.total === 1 ? "room" : "rooms"}, ${count(known.members)} ${known.members === 1 ? "member" : "members"}${servers.length > 1 ? ` at ${count(servers.length)} processes` : ""}</p>` : null}
    ${small && place.length === 2 ? null : html`<${Filter} value=${filter} set=${setFilter} says="Room, subject, process" />`}</header>`;
  if (small && place.length === 2) return html`${head}${one}`;
  return html`${head}
    ${error ? html`<p class="banner is-bad" role="alert">${error.message}</p>` : null}
    <${Quiet} quiet=${known?.quiet} />
    ${known && rooms.length === 0 ? html`<${Empty} title=${wanted ? "Nothing matches" : "There is no room"}>${wanted ? "No room has these words in its address, its subject or the name of its process." : "Rooms of the file, and those that calls to a factory make, appear here."}</${Empty}>` : null}
    ${rooms.length > 0 ? html`<div class="two"><div class="rooms-of"><ul class="room-list">${rooms.map((one) => html`<li key=${`${one.node}/${one.room}`}><a class="card" href=${`#/rooms/${encodeURIComponent(one.node)}/${encodeURIComponent(one.room)}`} aria-current=${chosen && same(one, chosen) ? "true" : null}>
        <b>${one.subject || who(one.room)}</b><span class="quiet">${one.subject ? who(one.room) : ""}${state.others > 0 ? html`${one.subject ? " · " : ""}${one.node}` : null}</span>
        <span class="line"><span>${count(one.members)} ${one.members === 1 ? "member" : "members"}${one.unsealed > 0 ? `, ${count(one.unsealed)} unsealed` : ""}</span>${sealMark(one.sealed, one.members)}</span></a></li>`)}</ul>
        ${known.next ? pages < PAGES ? html`<button type="button" class="more" onClick=${() => show((n) => n + 1)}>Show more</button>` : html`<p class="note">The first ${count(rooms.length)} are shown: filter for others.</p>` : null}</div>
      ${one}</div>` : null}`;
}
