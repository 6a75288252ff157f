// What is known, where it comes from, and which page shows it. History comes first, then what happens.
import { el } from "./dom.js";
import * as views from "./views.js";

const EVENTS_KEPT_MAX = 2000, BLOCKS_KEPT_MAX = 1000, REFRESH_MS = 400;
const AGAIN_MS = 1000, AGAIN_MS_MAX = 30000;  // A refused stream: wait, then twice as long each time.
const PAGES = ["overview", "peers", "blocks", "model", "events"];

const known = { status: null, blocks: new Map(), figures: new Map(), events: [], updates: null, chosen: null, filter: "" };
let refreshing = 0;

const page = () => (PAGES.includes(location.hash.slice(1)) ? location.hash.slice(1) : "overview");

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  return answer.ok ? answer.json() : null;
}

async function refresh() {
  const wantsUpdates = page() === "model";
  const [status, updates] = await Promise.all([ask("/v1/status"), wantsUpdates ? ask("/v1/updates") : known.updates]);
  known.status = status ?? known.status;
  known.updates = updates;
  draw();
}

/** Ask again soon, once for everything that happens meanwhile. */
function refreshSoon() {
  if (refreshing) return;
  refreshing = setTimeout(() => {
    refreshing = 0;
    refresh().catch(() => say("○ the peer does not answer"));
  }, REFRESH_MS);
}

function draw() {
  if (!known.status) return;
  const main = document.getElementById("main"), focus = focused(main);
  document.getElementById("network").textContent = known.status.network;
  document.title = `${known.status.height} · p2pfed`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${page()}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const scrolled = [...main.querySelectorAll(".wide")].map((box) => box.scrollLeft);
  main.replaceChildren(...views[page()]({ ...known, choose, search }).filter(Boolean));
  main.querySelectorAll(".wide").forEach((box, index) => { box.scrollLeft = scrolled[index] ?? 0; });
  focus();
}

/** Remember which control has the focus; drawing anew gives it back. */
function focused(main) {
  const active = document.activeElement;
  if (!active || !main.contains(active) || active === main) return () => {};
  const selector = active.id ? `#${active.id}` : active.dataset.height ? `[data-height="${active.dataset.height}"]` : null;
  const label = active.getAttribute("aria-label"), caret = active.selectionStart;
  return () => {
    const again = selector ? main.querySelector(selector) : [...main.querySelectorAll("[aria-label]")].find((node) => node.getAttribute("aria-label") === label);
    again?.focus({ preventScroll: true });
    if (caret !== undefined && caret !== null && again?.setSelectionRange) again.setSelectionRange(caret, caret);
  };
}

async function choose(height) {
  known.chosen = await ask(`/v1/blocks/${height}`);
  draw();
  document.getElementById("block")?.scrollIntoView({ block: "start" });
}

function search(text) {
  known.filter = text;
  draw();
}

function take(entry) {
  const { schema, time_ms, event, ...data } = entry;
  known.events.push({ time_ms, event, data });
  if (known.events.length > EVENTS_KEPT_MAX) known.events.splice(0, known.events.length - EVENTS_KEPT_MAX);
  if (event === "block.evaluated") {
    const { height, ...figures } = data;
    known.figures.set(height, figures);
  }
  if (event === "block.committed" || event === "sync.finished") historySoon();
  refreshSoon();
}

let asking = false;
/** Fetch the rows of new blocks: one request at a time. */
async function historySoon() {
  if (asking) return;
  asking = true;
  try {
    await history();
  } catch {
    // The peer is gone; the stream says so and asks again.
  } finally {
    asking = false;
  }
}

async function history() {
  const newest = known.blocks.size ? Math.max(...known.blocks.keys()) : 0;
  const answer = await ask(`/v1/history?after=${newest}`);
  if (!answer) return;
  for (const row of answer.blocks) {
    const block = Object.fromEntries(answer.columns.map((name, index) => [name, row[index]]));
    known.blocks.set(block.height, block);
  }
  for (const [height, figures] of Object.entries(answer.figures)) known.figures.set(Number(height), figures);
  for (const rows of [known.blocks, known.figures]) {
    while (rows.size > BLOCKS_KEPT_MAX) rows.delete(rows.keys().next().value);
  }
}

function say(text) {
  document.getElementById("link").textContent = text;
}

function listen(wait_ms = AGAIN_MS) {
  const known_ms = known.events.at(-1)?.time_ms ?? -1;  // A new stream tells the history once more.
  const stream = new EventSource("/v1/events");
  stream.onopen = () => { wait_ms = AGAIN_MS; say("● live"); historySoon(); refreshSoon(); };
  stream.onmessage = (message) => {
    const entry = JSON.parse(message.data);
    if (entry.time_ms > known_ms) take(entry);
  };
  stream.onerror = () => {
    // A broken line is tried again by the browser; after an answer that is no stream it gives up for good.
    if (stream.readyState === EventSource.CLOSED) listenLater(wait_ms);
    else say("○ the peer does not answer; trying again");
  };
}

/** Say why there is no stream, show what is new all the same, and ask for it again. */
async function listenLater(wait_ms) {
  const why = await refusal();
  say(`○ ${why || "the peer sends no events"}; trying again in ${wait_ms / 1000} s`);
  historySoon();
  refreshSoon();
  setTimeout(() => listen(Math.min(2 * wait_ms, AGAIN_MS_MAX)), wait_ms);
}

/** The peer's own words for not sending events, which an EventSource hides; "" where it would send them. */
async function refusal() {
  const stop = new AbortController();
  try {
    const answer = await fetch("/v1/events", { cache: "no-store", signal: stop.signal });
    return answer.ok ? "" : (await answer.text()).trim();
  } catch {
    return "the peer does not answer";
  } finally {
    stop.abort();
  }
}

addEventListener("hashchange", () => {
  document.getElementById("main").focus({ preventScroll: true });
  scrollTo(0, 0);
  draw();
  refreshSoon();
});

try {
  await Promise.all([history(), refresh()]);
} catch {
  document.getElementById("main").replaceChildren(el("p", { class: "bad" }, "The peer does not answer."));
}
listen();
