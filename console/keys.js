// The keyboard. Pages say what they want to hear; nothing is heard while somebody writes.

const KEYS = [
  ["g n", "network"], ["g s", "sessions"], ["g r", "rooms"], ["g k", "keys"], ["g c", "charts"], ["g p", "process"],
  ["/", "filter"], ["j, ↓", "next"], ["k, ↑", "previous"], ["Enter", "open"], ["Esc, u", "back"], ["t", "light or dark"], ["?", "these keys"],
];

export const HELP = KEYS;

const takers = [];
let leader = 0;

/** `take(key)` says whether it did something with it. The newest is asked first. */
export function takeKeys(take) {
  takers.push(take);
  return () => takers.splice(takers.indexOf(take), 1);
}

const writes = (target) => target instanceof HTMLElement
  && (target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName)
    || (target.tagName === "INPUT" && !["checkbox", "radio", "button", "submit"].includes(target.type)));

export function startKeys(go) {
  const pages = { n: "network", s: "sessions", r: "rooms", k: "keys", c: "charts", p: "process" };
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key, target } = event;
    if (document.querySelector("dialog[open]")) return;
    if (writes(target)) {
      if (key === "Escape") target.blur();
      // From the filter into the list.
      else if (target.dataset.filter !== undefined && (key === "Enter" || key === "ArrowDown")) {
        target.blur();
        if (key === "ArrowDown") event.preventDefault();
        for (const take of [...takers].reverse()) if (take(key === "Enter" ? "Open" : "First")) return;
      }
      return;
    }
    if (performance.now() - leader < 1_500 && pages[key]) {
      leader = 0;
      event.preventDefault();
      go(pages[key]);
      return;
    }
    leader = 0;
    if (key === "g") { leader = performance.now(); return; }
    if (key === "/") {
      const filter = document.querySelector("[data-filter]");
      if (filter) { event.preventDefault(); filter.focus(); filter.select(); }
      return;
    }
    // Enter and arrows belong to what has the focus.
    const own = target instanceof HTMLElement && target.closest("a, button, summary, input, [role=tab]");
    if (own && key === "Enter") return;
    for (const take of [...takers].reverse()) if (take(key)) { event.preventDefault(); return; }
  });
}
