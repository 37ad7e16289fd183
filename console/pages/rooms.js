// Conferences: which rooms there are, who is in one, whether all is sealed, and who has its floors.

import { path, tell } from "../api.js";
import { takeKeys } from "../keys.js";
import { Confirm, Empty, Mark, Party, html, useEffect, useLayoutEffect, usePolled, useState } from "../parts.js";
import { onEvent, state } from "../store.js";
import { count, who } from "../words.js";

/** Grows when something happens in a conference. */
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

const sealMark = (sealed, members) => (members === 0 ? html`<${Mark} of="off">empty</${Mark}>`
  : sealed ? html`<${Mark} of="good">all sealed</${Mark}>` : html`<${Mark} of="bad">not all sealed</${Mark}>`);

/** What was known stays until there is something newer: a list that comes and goes cannot be read. */
function useKept(polled, key) {
  const [kept, keep] = useState({ key: null, value: null });
  useEffect(() => { if (polled.value) keep({ key, value: polled.value }); }, [polled.value]);
  return polled.value ?? (kept.key === key ? kept.value : null);
}

function Floor({ floor, names, decide }) {
  const name = (user) => names.get(user) ?? (typeof user === "number" ? `user ${user}` : who(user));
  const waiting = Array.isArray(floor.waiting) ? floor.waiting : [];
  const act = (user, decision, words) => (state.mayChange ? html`<button type="button" class="plain" aria-label=${`${words} ${name(user)}, floor ${floor.floor}`} onClick=${() => decide(floor.floor, user, decision)}>${words}</button>` : null);
  return html`<li class="floor"><b>Floor ${floor.floor}</b>
    ${floor.holders.length === 0 ? html`<span class="quiet">nobody has it</span>` : floor.holders.map((user) => html`<span class="claim"><${Mark} of="good">${name(user)}</${Mark}>${act(user, "revoke", "Revoke")}</span>`)}
    ${waiting.length === 0 ? html`<span class="quiet">nobody waits</span>` : html`<span class="quiet">waiting:</span><ol class="queue">${waiting.map((user) => html`<li class="claim" key=${user}><span>${name(user)}</span>${act(user, "grant", "Grant")}${act(user, "deny", "Deny")}</li>`)}</ol>`}</li>`;
}

function Room({ uri, stamp, again, go }) {
  const polled = usePolled(path("rooms", uri), 5_000, stamp);
  const room = useKept(polled, uri);
  const [asked, ask] = useState(null);
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
    try { await tell("POST", path("rooms", uri, "members"), { uri: word.includes(":") ? word : `sip:${word}` }); setInvited(""); again(); } catch (error) { say(error.message); }
  };
  const attempt = async (act) => {
    say(null);
    try { await act(); again(); } catch (error) { say(error.message); }
  };
  const decide = (floor, user, decision) => attempt(() => tell("POST", path("rooms", uri, "floors", String(floor)), { user, decision }));
  const mute = (member, muted) => attempt(() => tell("PATCH", path("rooms", uri, "members", member), { muted }));
  return html`<section class="card room" aria-label=${`Room ${who(uri)}`}>
    <header><div><h2>${room.subject || who(uri)}</h2><p class="quiet">${uri}${room.gateway ? ` · media at ${room.gateway}, context ${room.context}` : " · no media server"}</p></div>
      ${sealMark(room.sealed, room.members.length)}
      ${state.mayChange ? html`<button type="button" class="danger" onClick=${() => ask({ what: "close" })}>End room</button>` : null}</header>
    ${polled.error ? html`<p class="problem" role="alert">${polled.error.message}</p>` : null}
    <h3>Floors</h3>
    ${room.floors.length === 0 ? html`<p class="quiet">It has none: everybody may speak.</p>` : html`<ul class="floors">${room.floors.map((floor) => html`<${Floor} key=${floor.floor} floor=${floor} names=${names} decide=${decide} />`)}</ul>`}
    <h3>Members <span class="quiet">${count(room.members.length)}</span></h3>
    ${room.members.length === 0 ? html`<p class="quiet">Nobody is in it.</p>` : html`<div class="scroll" tabindex="0" role="region" aria-label="Members"><table class="roster"><thead><tr><th scope="col">Who</th><th scope="col">Seal</th><th scope="col">State</th><th scope="col">Media</th>${state.mayChange ? html`<th scope="col"><span class="away">What to do</span></th>` : null}</tr></thead>
      <tbody>${room.members.map((member) => html`<tr key=${`${member.member}/${member.user}`}>
        <th scope="row"><${Party} uri=${member.member} />${member.nickname ? html` <small>“${member.nickname}”</small>` : null}${member.owner ? html` <span class="tag">owner</span>` : null}</th>
        <td>${member.sealed ? html`<${Mark} of="good">sealed</${Mark}>` : html`<${Mark} of="bad">in the clear</${Mark}>`}</td>
        <td>${member.state}${member.stalled ? html` <${Mark} of="warn">stalled</${Mark}>` : null}${member.muted ? html` <${Mark} of="warn">muted</${Mark}>` : null}</td>
        <td class="quiet">${member.media.map((media) => `${media.media}${media.sealed_with ? `, ${media.sealed_with}` : ""}`).join(" · ")}</td>
        ${state.mayChange ? html`<td><button type="button" class="plain" aria-label=${`${member.muted ? "Let speak" : "Mute"}: ${who(member.member)}`} onClick=${() => mute(member.member, !member.muted)}>${member.muted ? "Let speak" : "Mute"}</button> <button type="button" class="plain" onClick=${() => ask({ what: "kick", member: member.member })}>Put out</button></td>` : null}</tr>`)}</tbody></table></div>`}
    ${state.mayChange ? html`<form class="invite" onSubmit=${invite}><label for="invited">Have somebody called</label><input id="invited" value=${invited} placeholder="bob@b.example" autocomplete="off" spellcheck="false" onInput=${(event) => setInvited(event.target.value)} /><button>Call</button></form>` : null}
    ${problem ? html`<p class="problem" role="alert">${problem}</p>` : null}
    ${asked?.what === "close" ? html`<${Confirm} title="End this room?" yes="End room" close=${() => ask(null)} act=${async () => { await tell("DELETE", path("rooms", uri)); again(); }}>
      <p>All ${count(room.members.length)} members of <b>${who(uri)}</b> are released. ${room.fixed ? "It is in the file, so it is there again at once, empty." : ""}</p></${Confirm}>` : null}
    ${asked?.what === "kick" ? html`<${Confirm} title="Put this member out?" yes="Put out" close=${() => ask(null)} act=${async () => { await tell("DELETE", path("rooms", uri, "members", asked.member)); again(); }}>
      <p><b>${who(asked.member)}</b> is put out of <b>${who(uri)}</b>. Whoever may enter may come again.</p></${Confirm}>` : null}
  </section>`;
}

export function Rooms({ room, go }) {
  const [stamp, again] = useHappenings();
  const polled = usePolled("/api/v1/rooms", 5_000, stamp);
  const known = useKept(polled, "rooms");
  const rooms = known?.conferences.flatMap((server) => server.rooms.map((one) => ({ ...one, conference: server.conference }))) ?? [];
  const chosen = room ?? rooms[0]?.room ?? null;
  useLayoutEffect(() => takeKeys((key) => {
    const at = rooms.findIndex((one) => one.room === chosen);
    const to = (place) => { const one = rooms[Math.max(0, Math.min(rooms.length - 1, place))]; if (one) go("rooms", one.room); };
    if (key === "j" || key === "ArrowDown") to(at + 1);
    else if (key === "k" || key === "ArrowUp") to(at - 1);
    else return false;
    return true;
  }));
  if (known === null && polled.error) {
    return html`<header class="head"><h1>Rooms</h1></header><${Empty} title=${polled.error.status === 404 ? "No conference server runs here" : "No answer"}>${polled.error.status === 404 ? "Rooms are shown by the process whose file has a [conference] section." : polled.error.message}</${Empty}>`;
  }
  return html`<header class="head"><h1>Rooms</h1>${known ? html`<p class="sum">${count(rooms.length)} rooms, ${count(rooms.reduce((sum, one) => sum + one.members, 0))} members</p>` : null}</header>
    ${known && rooms.length === 0 ? html`<${Empty} title="There is no room">Rooms of the file, and those that calls to a factory make, appear here.</${Empty}>` : null}
    <div class="two"><ul class="room-list">${rooms.map((one) => html`<li key=${one.room}><a class="card" href=${`#/rooms/${encodeURIComponent(one.room)}`} aria-current=${one.room === chosen ? "true" : null}>
        <b>${one.subject || who(one.room)}</b><span class="quiet">${who(one.room)}</span>
        <span class="line"><span>${count(one.members)} ${one.members === 1 ? "member" : "members"}${one.unsealed > 0 ? `, ${count(one.unsealed)} unsealed` : ""}</span>${sealMark(one.sealed, one.members)}</span></a></li>`)}</ul>
      ${chosen ? html`<${Room} key=${chosen} uri=${chosen} stamp=${stamp} again=${again} go=${go} />` : null}</div>`;
}
