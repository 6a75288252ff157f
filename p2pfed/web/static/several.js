// Several peers side by side. The page asks anew a second after each answer.
import { el, number, short, table } from "./dom.js";

const AGAIN_MS = 1000;

function draw(peers) {
  const named = peers.find((peer) => peer.network);
  document.getElementById("network").textContent = named?.network ?? "";
  const tip = Math.max(0, ...peers.map((peer) => peer.height ?? 0));
  document.title = `${tip} · ${peers.length} peers · p2pfed`;
  const main = document.getElementById("main"), scrolled = main.querySelector(".wide")?.scrollLeft ?? 0;
  const focused = document.activeElement?.id;
  main.replaceChildren(
    el("h1", {}, "Peers side by side"),
    el("p", { class: "say", id: "agreement" }, ...agreement(peers)),
    table("Peers", [["Peer"], ["State"], ["Height", true], ["Behind", true], ["Model"], ["Step"], ["Stake in reach", true], ["Figures"]],
      peers.map((peer, place) => row(peer, place, tip))),
    el("p", { class: "quiet" }, "Model: the first digits of its root at the newest height that all have. The name of a peer that runs leads to its own pages."));
  main.querySelector(".wide").scrollLeft = scrolled;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function row(peer, place, tip) {
  if (peer.error) return el("tr", {}, el("td", {}, peer.name), el("td", { colspan: 7 }, el("span", { class: "bad" }, `▲ ${peer.error}`)));
  const name = peer.page ? el("a", { href: peer.page, id: `peer${place}` }, peer.name) : peer.name;
  const figures = Object.entries(peer.figures).map(([title, value]) => `${title} ${number(value)}`).join("  ");
  const model = (peer.model_root ?? "").slice(0, 12);
  return el("tr", {},
    el("td", {}, name, " ", el("code", { title: peer.id }, short(peer.id))),
    el("td", {}, state(peer)),
    el("td", { class: "number" }, peer.height), el("td", { class: "number" }, tip - peer.height),
    el("td", {}, peer.agrees === false ? el("span", { class: "bad" }, `▲ ${model}`) : el("code", {}, model || "–")),
    el("td", {}, step(peer)),
    el("td", { class: "number" }, peer.stake_connected === null ? "–" : `${peer.stake_connected} of ${peer.stake_total}`),
    el("td", {}, figures || "–"));
}

function state(peer) {
  if (peer.is_deaf) return el("span", { class: "bad" }, "▲ no answer");
  if (!peer.is_running) return el("span", { class: "quiet" }, "○ stopped");
  if (peer.is_halted) return el("span", { class: "bad" }, "▲ halted");
  return el("span", { class: "good" }, peer.is_finished ? "● finished" : "● runs");
}

function step(peer) {
  if (!peer.is_running) return "";
  const waiting = peer.waiting_for.map(short).join(", ");
  return `${peer.step}${peer.round > 0 ? `, round ${peer.round}` : ""}${waiting ? `, waits for ${waiting}` : ""}`;
}

function agreement(peers) {
  const compared = peers.filter((peer) => peer.agrees !== null && !peer.error);
  if (compared.length < 2) return ["There are no two peers with a block to compare."];
  const others = compared.filter((peer) => !peer.agrees), height = compared[0].common_height;
  if (others.length) {
    return [el("span", { class: "bad" }, `▲ Another block at height ${height}: `), `${others.map((peer) => peer.name).join(", ")}.`];
  }
  return [el("span", { class: "good" }, "✓ "), `All ${compared.length} have the same block and model at height ${height}.`];
}

async function follow() {
  const link = document.getElementById("link");
  try {
    const answer = await fetch("/v1/peers", { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    draw((await answer.json()).peers);
    link.textContent = "● live";
  } catch {
    link.textContent = "○ p2pfed view does not answer; trying again";
  }
  setTimeout(follow, AGAIN_MS);
}

follow();
