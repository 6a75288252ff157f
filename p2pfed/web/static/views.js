// The five pages. Each takes what is known and returns nodes; none keeps state.
import { curves, topology } from "./charts.js";
import { el, number, short, table, time } from "./dom.js";

const EVENTS_SHOWN_MAX = 300, BLOCKS_SHOWN_MAX = 100;

export function overview({ status, blocks, figures }) {
  const names = figureNames(figures);
  const measured = [...figures].sort(([a], [b]) => a - b);
  const lines = names.map((name) => ({
    name, points: measured.filter(([, row]) => name in row).map(([height, row]) => [height, row[name]]),
  }));
  const waits = intervals(blocks);
  const middle = median(waits.slice(-20).map(([, seconds]) => seconds));
  const last = measured.length ? measured[measured.length - 1][1] : {};
  const share = status.stake_total ? Math.floor((100 * status.stake_connected) / status.stake_total) : 0;
  return [
    el("h1", {}, "Overview"),
    el("p", { class: "say" }, ...sentence(status)),
    el("dl", { class: "numbers" },
      box("Height", status.height, status.is_finished ? "finished" : `${status.step}, round ${status.round}`),
      box(names[0] || "Figure", names[0] in last ? number(last[names[0]]) : "–", "of the newest model"),
      box("Block time", middle === null ? "–" : `${number(middle)} s`, "median of 20"),
      box("Stake in reach", `${share} %`, `${status.stake_connected} of ${status.stake_total}`),
      box("Updates", status.updates_counted, `counted in the last block; ${status.updates_held} held now`)),
    el("div", { class: "charts" },
      lines.slice(0, 2).map((line) => picture(line.name, curves(line.name, [line]))),
      picture("Seconds between blocks", curves("Seconds between blocks", [{ name: "block time", points: waits }], " s"))),
  ];
}

function sentence(status) {
  if (status.is_halted) {
    return [el("span", { class: "bad" }, "▲ Halted: "),
      "two thirds of the stake or less is in reach. It goes on by itself when enough peers are back."];
  }
  if (status.is_finished) return ["The network has made its last block."];
  if (status.sync) return ["Fetching a state: this peer has not joined yet."];
  const waiting = status.waiting_for.map(short).join(", ");
  return waiting ? [`Waiting for ${waiting}.`] : ["Nothing is being waited for."];
}

export function peers({ status }) {
  const stakes = new Map(status.stakes.map((stake) => [stake.id, stake]));
  const earned = new Map(status.earnings.map((row) => [row.id, row.earned]));
  const isConvicted = (id) => Boolean(stakes.get(id)?.tombstoned || stakes.get(id)?.jailed_at);
  const rows = status.peers.map((peer) => ({ ...peer, isConnected: peer.is_connected, isConvicted: isConvicted(peer.id) }));
  return [
    el("h1", {}, "Peers"),
    el("p", { class: "quiet" }, "Lines are this peer's own pipes. ▲ was convicted of a lie or is jailed, a hollow ring is away."),
    el("div", { class: "charts" },
      picture("Pipes", topology(status.id, rows.filter((peer) => peer.is_member || peer.isConnected))),
      el("div", {}, el("p", {}, `This peer: `, el("code", {}, status.id)),
        el("p", {}, status.learner ? `Its learner: ${status.learner}` : ""))),
    table("Peers", [["Peer"], ["State"], ["Role"], ["Power", true], ["Bond", true], ["Earned", true], ["Score", true], ["Address"]],
      rows.map((peer) => {
        const stake = stakes.get(peer.id);
        return [
          el("code", { title: peer.id }, short(peer.id)),
          peer.isConvicted ? el("span", { class: "bad" }, "▲ convicted") : state(peer),
          stake?.role ?? "observer", stake?.power ?? "–", stake?.bond ?? "–", earned.get(peer.id) ?? "–",
          peer.score, peer.addresses[0] ?? "",
        ];
      })),
  ];
}

function state(peer) {
  if (peer.banned_until_ms > Date.now()) return el("span", { class: "bad" }, "▲ banned");
  return peer.is_connected ? el("span", { class: "good" }, "● connected") : el("span", { class: "quiet" }, "○ away");
}

/** `chosen`: the block shown whole, or null; `choose(height)` asks for another. */
export function blocks({ blocks: rows, chosen, choose }) {
  const shown = [...rows.values()].sort((a, b) => b.height - a.height).slice(0, BLOCKS_SHOWN_MAX);
  return [
    el("h1", {}, "Blocks"),
    chosen ? block(chosen) : el("p", { class: "quiet" }, "Choose a block to see who voted and whose update it has."),
    el("h2", {}, `The newest ${shown.length}`),
    table("Blocks", [["Height", true], ["Time"], ["Round", true], ["Updates", true], ["Signatures", true], ["Evidence", true], ["Model"]],
      shown.map((row) => el("tr", { "aria-selected": String(chosen?.height === row.height) },
        el("td", { class: "number" }, el("button", { type: "button", "data-height": row.height, onclick: () => choose(row.height) }, row.height)),
        el("td", {}, time(row.time_ms)), el("td", { class: "number" }, row.round),
        el("td", { class: "number" }, row.updates), el("td", { class: "number" }, row.signatures),
        el("td", { class: "number" }, row.evidence ? el("span", { class: "bad" }, `▲ ${row.evidence}`) : 0),
        el("td", {}, row.is_empty ? "as before" : "new")))),
  ];
}

function block(it) {
  const mark = (yes, known = true) => (known ? (yes ? el("span", { class: "good" }, "✓") : el("span", { class: "bad" }, "✗")) : "?");
  const fates = [
    ...it.updates.map((update) => [el("code", { title: update.trainer }, short(update.trainer)),
      el("span", { class: "good" }, "✓ merged"), update.examples, ""]),
    ...it.without.map((id) => [el("code", { title: id }, short(id)), el("span", { class: "bad" }, "✗ not in the block"), "–",
      it.refused[id] ?? "no update that more than a third of the stake held"]),
  ];
  return el("section", { id: "block", "aria-label": `Block ${it.height}` },
    el("h2", {}, `Block ${it.height}`),
    el("p", {}, it.is_empty ? "It carries no new model. " : `Merged by ${it.rule}. `,
      `Proposed by ${short(it.proposer)}, final in round ${it.round}. `, el("code", {}, it.hash)),
    it.evidence.length ? el("p", { class: "bad" }, `▲ It convicts: ${it.evidence.join(", ")}`) : null,
    el("h2", {}, "Votes"),
    table("Votes", [["Validator"], ["Power", true], ["Updates held", true], ["Prevote"], ["Precommit"]],
      it.votes.map((vote) => [el("code", { title: vote.id }, vote.id ? short(vote.id) : `number ${vote.index}`), vote.power,
        vote.held ?? "–", mark(vote.prevote, it.has_prevotes), mark(vote.precommit)])),
    el("p", { class: "quiet" }, "✓ is in the certificate; ✗ came too late for it or never."),
    el("h2", {}, "Updates"),
    table("Updates", [["Trainer"], ["Fate"], ["Examples", true], ["Why"]], fates));
}

export function model({ updates }) {
  const head = [el("h1", {}, "Model")];
  if (!updates) return [...head, el("p", { class: "quiet" }, "The newest block has no update.")];
  const { trainers, norms, cosines } = updates;
  const middle = median(norms);
  const towards = trainers.map((_, row) => median(cosines[row].filter((_, column) => column !== row)));
  const against = trainers.filter((_, row) => towards[row] < -0.3 && median(towards) > -0.1);
  const large = trainers.filter((_, row) => norms[row] > 3 * middle);
  const notes = [
    against.length ? `▲ Against the others: ${against.map(short).join(", ")}.` : null,
    large.length ? `▲ More than three times as large as the median: ${large.map(short).join(", ")}.` : null,
  ].filter(Boolean);
  return [...head,
    el("p", {}, `The updates of block ${updates.height}: how large each is, and the cosine of its angle to each other one. `,
      "1: the same direction, 0: nothing in common, -1: the opposite."),
    el("p", { id: "notes", class: notes.length ? "bad" : "quiet" }, notes.join(" ") || "None stands out."),
    table("Updates", [["Trainer"], ["Size", true], ...trainers.map((id) => [short(id), true])],
      trainers.map((id, row) => el("tr", {},
        el("td", {}, el("code", { title: id }, short(id))),
        el("td", { class: "number" }, number(norms[row])),
        cosines[row].map((value) => cell(value))))),
    updates.is_sampled ? el("p", { class: "quiet" }, "Measured on 65,536 evenly spaced values of each.") : null,
  ];
}

// Blue is alike, orange is against; the number says it too, and the sign is the shape.
function cell(value) {
  const strength = Math.round(Math.abs(value) * 70);
  const colour = value < 0 ? "var(--orange)" : "var(--blue)";
  const td = el("td", { class: "cell" }, value.toFixed(2));
  td.style.background = `color-mix(in srgb, ${colour} ${strength}%, var(--paper))`;
  return td;
}

export function events({ events: list, filter, search }) {
  const wanted = filter.toLowerCase();
  const text = (event) => Object.entries(event.data).map(([name, value]) => `${name} ${plain(value)}`).join("  ");
  const shown = [];
  for (let place = list.length - 1; place >= 0 && shown.length < EVENTS_SHOWN_MAX; place -= 1) {
    const words = text(list[place]);
    if (`${list[place].event} ${words}`.toLowerCase().includes(wanted)) shown.push([list[place], words]);
  }
  return [
    el("h1", {}, "Events"),
    el("p", {}, el("label", {}, "Show those with ", el("input", { type: "search", id: "filter", value: filter, oninput: (e) => search(e.target.value) }))),
    table("Events", [["Time"], ["Event"], ["What"]], shown.map(([event, words]) => el("tr", {},
      el("td", {}, time(event.time_ms)),
      el("td", {}, isBad(event.event) ? el("span", { class: "bad" }, `▲ ${event.event}`) : event.event),
      el("td", { class: "text" }, words)))),
  ];
}

const isBad = (name) => /refused|blamed|equivocated|slashed|jailed|rejected|cut_off/.test(name);
const plain = (value) => (Array.isArray(value) ? value.map(plain).join(", ")
  : typeof value === "string" && /^\w{45,}$/.test(value) ? short(value) : typeof value === "number" ? number(value, 4) : String(value));

const box = (title, value, small) => el("div", {}, el("dt", {}, title), el("dd", {}, value), el("small", {}, small));
const picture = (title, drawing) => el("figure", {}, el("figcaption", {}, title), drawing);

/** The names of what the learner measures, accuracy first. */
function figureNames(figures) {
  const names = new Set();
  for (const row of figures.values()) Object.keys(row).forEach((name) => names.add(name));
  const rank = (name) => (name === "acc(public)" ? 0 : name.startsWith("acc") ? 1 : name.includes("loss") ? 2 : 3);
  return [...names].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

function intervals(blocks) {
  const rows = [...blocks.values()].sort((a, b) => a.height - b.height);
  return rows.slice(1).map((row, index) => [row.height, (row.time_ms - rows[index].time_ms) / 1000]);
}

function median(values) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
