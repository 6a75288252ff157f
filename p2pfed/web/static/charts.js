// Pictures drawn as SVG: curves over heights, the ring of peers.
import { number, short, svg } from "./dom.js";

const WIDTH = 480, HEIGHT = 200, LEFT = 48, BOTTOM = 24, TOP = 10, RIGHT = 12;

/** Curves over heights. `curves`: [{name, points: [[height, value], …]}], the first one or two are drawn. */
export function curves(title, list, unit = "") {
  const drawn = list.filter((curve) => curve.points.length > 0).slice(0, 2);
  const all = drawn.flatMap((curve) => curve.points);
  const figure = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": summary(title, drawn, unit) });
  if (all.length === 0) {
    figure.append(svg("text", { x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "nothing yet"));
    return figure;
  }
  const [left, right] = ends(all.map(([height]) => height), 1);
  const [low, high] = ends(all.map(([, value]) => value), 1e-9);
  const x = (height) => LEFT + ((height - left) / (right - left)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - BOTTOM - TOP);
  for (const part of [0, 0.5, 1]) {
    const value = low + part * (high - low);
    figure.append(
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)));
  }
  for (const [height, anchor] of [[left, "start"], [right, "end"]]) {
    figure.append(svg("text", { x: x(height), y: HEIGHT - 6, "text-anchor": anchor }, `height ${Math.round(height)}`));
  }
  drawn.forEach((curve, index) => {
    const path = curve.points.map(([height, value]) => `${x(height).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const [last] = curve.points.slice(-1);
    figure.append(
      svg("polyline", { class: index ? "curve second" : "curve", points: path }),
      svg("circle", { class: "peer", cx: x(last[0]), cy: y(last[1]), r: 4 }));
  });
  return figure;
}

function ends(values, least) {
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  return high - low < least ? [low - least / 2, high + least / 2] : [low, high];
}

function summary(title, drawn, unit) {
  const parts = drawn.map((curve) => {
    const [, first] = curve.points[0], [, last] = curve.points[curve.points.length - 1];
    return `${curve.name} from ${number(first)} to ${number(last)}${unit}`;
  });
  return `${title}: ${parts.join(", ") || "nothing yet"}`;
}

/** This peer in the middle, the others around it; a line where there is a pipe. */
export function topology(self, peers) {
  const size = 420, middle = size / 2, ring = 150;
  const picture = svg("svg", {
    viewBox: `0 0 ${size} ${size}`, role: "img", class: "topology",
    "aria-label": `${peers.filter((peer) => peer.isConnected).length} of ${peers.length} peers are connected`,
  });
  const placed = peers.map((peer, index) => {
    const angle = (2 * Math.PI * index) / peers.length - Math.PI / 2;
    return { ...peer, x: middle + ring * Math.cos(angle), y: middle + ring * Math.sin(angle) };
  });
  for (const peer of placed) {
    if (peer.isConnected) {
      picture.append(svg("line", { class: "pipe open", x1: middle, y1: middle, x2: peer.x, y2: peer.y }));
    }
  }
  picture.append(svg("circle", { class: "peer self", cx: middle, cy: middle, r: 13 }),
    svg("text", { class: "name", x: middle, y: middle + 30, "text-anchor": "middle" }, `${short(self)} (this one)`));
  for (const peer of placed) {
    const kind = peer.isConvicted ? "peer convict" : peer.isConnected ? "peer" : "peer away";
    picture.append(
      peer.isConvicted
        ? svg("path", { class: kind, d: `M${peer.x} ${peer.y - 13}l12 21h-24z` })
        : svg("circle", { class: kind, cx: peer.x, cy: peer.y, r: 10 }),
      svg("text", { x: peer.x, y: peer.y + 26, "text-anchor": "middle" }, short(peer.id)));
  }
  return picture;
}
