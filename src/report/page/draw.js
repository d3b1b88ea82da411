// Draws a window of a group: bars above and below, the flow between them.
"use strict";

const LEVELS = { topLabel: 12, topBracket: 18, top: 24, barHeight: 36, bottom: 140, bottomBracket: 180, bottomLabel: 195, height: 200 };
const LEAST = 3;  // pixels: what is narrower is drawn together with its neighbours
const MOST_RUNS = 600;   // that are drawn of one parameter
const MOST_RIBBONS = 80;  // of single runs: more would hide one another
const CHARACTER = 6.65;  // pixels of a monospaced one of 11 px

function svgNode(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** The longest end of a dotted name that fits, "" where nothing does. */
function fittingName(name, pixels) {
  const room = Math.floor(pixels / CHARACTER);
  if (name.length <= room) return name;
  const parts = name.split(".");
  for (let first = 1; first < parts.length; ++first) {
    const rest = parts.slice(first).join(".");
    if (rest.length + 1 <= room) return `…${rest}`;
  }
  return "";
}

class Drawing {
  /** What is drawn between two places (Side.drawn) over `width` pixels. */
  constructor(group, from, to, width) {
    Object.assign(this, { group, from, to, width, pixels: width / (to - from), joined: false });
    this.hatch = `hatch-${group.index}`;
    this.bundles = { before: group.before.bundleFor(this.pixels, LEAST), after: group.after.bundleFor(this.pixels, LEAST) };
    this.flows = group.flows(this.bundles.before, this.bundles.after);
  }

  /** In pixels; far outside is cut off. */
  x(position, isEnd = false) {
    return Math.max(-4, Math.min(this.width + 4, (this.side.drawn(position, isEnd) - this.from) * this.pixels));
  }

  svg(label, description) {
    const root = svgNode("svg", { viewBox: `0 0 ${this.width} ${LEVELS.height}`, role: "img", "aria-label": label }, svgNode("title", {}, label), svgNode("desc", {}, description));
    root.append(svgNode("defs", {}, svgNode("pattern", { id: this.hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svgNode("rect", { width: 6, height: 6, class: "ground" }), svgNode("path", { d: "M1,0V6", class: "hatch" }))));
    root.append(this.#ribbons(), this.#bar("before", LEVELS.top), this.#bar("after", LEVELS.bottom));
    return root;
  }

  #ribbons() {
    const layer = svgNode("g", { class: "ribbons" }), { before, after } = this.group, shapes = new Map();
    const usedAbove = new Map(), usedBelow = new Map(), single = this.bundles.before === 1 && this.bundles.after === 1 && this.group.hasFewRuns(MOST_RIBBONS);
    for (let p = 0; single && p < this.group.numels.length; ++p) {
      this.group.forEachRun(p, (run) => { shapes.set(run.before.rank, (shapes.get(run.before.rank) ?? "") + this.#runRibbon(run)); });
    }
    for (const flow of single ? [] : this.flows) {
      const above = flow.before * this.bundles.before * before.partition + (usedAbove.get(flow.before) ?? 0);
      const below = flow.after * this.bundles.after * after.partition + (usedBelow.get(flow.after) ?? 0);
      usedAbove.set(flow.before, (usedAbove.get(flow.before) ?? 0) + flow.numel);
      usedBelow.set(flow.after, (usedBelow.get(flow.after) ?? 0) + flow.numel);
      const shape = this.#ribbon(above, below, flow.numel);
      if (shape) shapes.set(flow.before, (shapes.get(flow.before) ?? "") + shape);
    }
    for (const [bundle, d] of shapes) layer.append(svgNode("path", { d, fill: this.#bundleColour(bundle) }));
    return layer;
  }

  #ribbon(above, below, numel) {
    const { before, after } = this.group;
    const [a, b, c, d] = [before.drawn(above), before.drawn(above + numel, this.bundles.before === 1), after.drawn(below), after.drawn(below + numel, this.bundles.after === 1)].map((place) => (place - this.from) * this.pixels);
    if (Math.max(b, d) < 0 || Math.min(a, c) > this.width) return "";
    const top = LEVELS.top + LEVELS.barHeight, bottom = LEVELS.bottom, middle = (top + bottom) / 2;
    const p = (value) => value.toFixed(1);
    return `M${p(a)},${top}H${p(b)}C${p(b)},${middle} ${p(d)},${middle} ${p(d)},${bottom}H${p(c)}C${p(c)},${middle} ${p(a)},${middle} ${p(a)},${top}Z`;
  }

  #bundleColour(bundle) {
    const { ranks } = this.group.before;
    return rankColour(Math.min(ranks - 1, Math.floor((bundle + .5) * this.bundles.before)), ranks);
  }

  #bar(which, y) {
    const side = this.group[which], layer = svgNode("g", { class: `bar ${which}` });
    Object.assign(this, { layer, side, which, y });
    if (this.bundles[which] > 1) this.#paintBundles(); else this.#paintRanks();
    this.#numbers();
    return layer;
  }

  #rect(x0, x1, fill) {
    // Neighbours share the very number of their common edge, or light would come through.
    if (x1 > x0 && x1 >= 0 && x0 <= this.width) this.layer.append(svgNode("path", { d: `M${x0.toFixed(2)},${this.y}H${x1.toFixed(2)}v${LEVELS.barHeight}H${x0.toFixed(2)}Z`, fill, class: "part" }));
  }

  #visible(size) {
    const [first, end] = this.side.ranksBetween(this.from, this.to);
    return [Math.floor(first / size), Math.ceil(end / size)];
  }

  #paintBundles() {
    this.joined = true;
    const size = this.bundles[this.which], { side } = this, parts = new Map();
    for (const flow of this.flows) {
      const at = flow[this.which];
      if (!parts.has(at)) parts.set(at, []);
      parts.get(at).push(this.which === "before" ? { ...flow, before: at } : flow);
    }
    const [first, end] = this.#visible(size);
    for (let bundle = first; bundle < end; ++bundle) {
      const begin = bundle * size * side.partition, until = Math.min(side.ranks, (bundle + 1) * size) * side.partition;
      this.#rect(this.x(begin), this.x(until, until === side.total), `url(#${this.hatch})`);
      this.#paintParts(begin, parts.get(bundle) ?? []);
    }
  }

  /** Elements from these bundles of the source, side by side from `position` on. */
  #paintParts(position, parts) {
    for (const { before, numel } of parts) {
      this.#rect(this.x(position), this.x(position + numel, this.bundles[this.which] === 1), this.#bundleColour(before));
      position += numel;
    }
  }

  #paintRanks() {
    const { side } = this, [first, end] = this.#visible(1);
    for (let rank = first; rank < end; ++rank) {
      const base = rank * side.partition;
      this.#rect(this.x(base), this.x(base + side.partition, true), `url(#${this.hatch})`);
      const start = side.drawn(base);
      this.#paintStripes(rank, Math.max(0, this.from - start), Math.min(side.partition, this.to - start));
    }
    if (side.subGroups.length > 1) this.#brackets(first, end);
  }

  #paintStripes(rank, from, to) {
    let narrow = [];
    const texts = [];
    this.side.forEachStripe(rank, from, to, (stripe) => {
      if ((stripe.until - stripe.begin) * this.pixels < LEAST) {
        narrow.push(stripe);
        return;
      }
      this.#paintNarrow(rank, narrow);
      narrow = [];
      texts.push(this.#paintStripe(rank, stripe));
    });
    this.#paintNarrow(rank, narrow);
    this.layer.append(...texts.filter(Boolean));
  }

  /** Stripes too narrow for the eye: as long as all of them, in the shares that come from each rank. */
  #paintNarrow(rank, stripes) {
    if (stripes.length === 0) return;
    this.joined = this.joined || stripes.length > 1;
    const sums = new Map(), { before } = this.group, size = this.bundles.before;
    const add = (bundle, numel) => sums.set(bundle, (sums.get(bundle) ?? 0) + numel);
    for (const stripe of stripes) {
      if (this.which === "before") {
        add(Math.floor(rank / size), stripe.end - stripe.begin);
        continue;
      }
      for (let element = stripe.element, left = stripe.end - stripe.begin; left > 0;) {
        const source = Math.floor(before.place(stripe.p, element).rank / size);
        const until = (source + 1) * size * before.share[stripe.p] - before.first[stripe.p];
        const count = Math.min(left, until - element);
        add(source, count);
        element += count;
        left -= count;
      }
    }
    const parts = [...sums].sort((a, b) => a[0] - b[0]).map(([bundle, numel]) => ({ before: bundle, numel }));
    this.#paintParts(rank * this.side.partition + stripes[0].begin, parts);
  }

  #paintStripe(rank, stripe) {
    const base = rank * this.side.partition, { before } = this.group;
    const x0 = this.x(base + stripe.begin), x1 = this.x(base + stripe.end, true);
    if (this.which === "before") {
      this.#rect(x0, x1, rankColour(rank, before.ranks));
    } else {
      let pending = x0;
      for (let element = stripe.element, at = stripe.begin; at < stripe.end;) {
        const count = Math.min(stripe.end - at, before.left(stripe.p, element));
        at += count;
        element += count;
        const x = this.x(base + at, true);
        if (x - pending >= .8 || at === stripe.end) {
          this.#rect(pending, x, rankColour(before.place(stripe.p, element - 1).rank, before.ranks));
          pending = x;
        }
      }
    }
    if (stripe.begin > 0) this.layer.append(svgNode("path", { d: `M${x0.toFixed(2)},${this.y}v${LEVELS.barHeight}`, class: "cut" }));
    const left = Math.max(0, x0), right = Math.min(this.width, x1);
    const text = fittingName(this.group.name(stripe.p), right - left - 10);
    return text && svgNode("text", { x: ((left + right) / 2).toFixed(1), y: this.y + LEVELS.barHeight / 2 + 4, "text-anchor": "middle", class: "inside" }, text);
  }

  #brackets(first, end) {
    const above = this.which === "before", y = above ? LEVELS.topBracket : LEVELS.bottomBracket, tip = above ? 4 : -4, starts = this.side.subGroupStarts;
    let d = "";
    for (let rank = first; rank < end; ++rank) {
      for (let index = 0; index < this.side.subGroups.length; ++index) {
        const x0 = this.x(rank * this.side.partition + starts[index]) + 1.5, x1 = this.x(rank * this.side.partition + starts[index + 1], true) - 1.5;
        if (x1 - x0 >= 2) d += `M${x0.toFixed(1)},${y + tip}v${-tip}H${x1.toFixed(1)}v${tip}`;
      }
    }
    this.layer.append(svgNode("path", { d, class: "bracket" }));
  }

  #numbers() {
    const { side } = this, y = this.which === "before" ? LEVELS.topLabel : LEVELS.bottomLabel, box = side.partition * this.pixels;
    const digits = String(side.ranks - 1).length * 7;
    let every = 1;
    while (every * box < digits + 12 && every < side.ranks) every *= 2;
    const words = box >= digits + 44, [first, end] = this.#visible(1);
    for (let rank = Math.ceil(first / every) * every; rank < end; rank += every) {
      const left = Math.max(0, this.x(rank * side.partition)), right = Math.min(this.width, this.x((rank + 1) * side.partition, true));
      const text = words ? `rank ${rank}` : String(rank), length = text.length * 7;
      if (every === 1 && right - left >= length) {
        this.layer.append(svgNode("text", { x: ((left + right) / 2).toFixed(1), y, "text-anchor": "middle" }, text));
      } else if (every > 1 && left + length <= this.width && this.x(rank * side.partition) >= 0) {
        this.layer.append(svgNode("text", { x: left.toFixed(1), y }, text));
      }
    }
  }

  /** What marks a parameter, and one run of it. */
  marks({ p, run }) {
    const layer = svgNode("g", { class: "chosen" }), flow = [];
    let runs = 0;
    this.group.forEachRun(p, (each) => {
      if (++runs > MOST_RUNS) return false;
      flow.push(this.#runRibbon(each));
      return true;
    });
    if (runs <= MOST_RUNS) layer.append(svgNode("path", { d: flow.join(""), class: "chosen-flow" }));
    if (run) layer.append(svgNode("path", { d: this.#runRibbon(run), class: "chosen-flow" }));
    layer.append(svgNode("path", { d: this.#outline("before", p, LEVELS.top) + this.#outline("after", p, LEVELS.bottom), class: "chosen-place" }));
    return layer;
  }

  #runRibbon({ before, after, count }) {
    const { before: above, after: below } = this.group;
    return this.#ribbon(before.rank * above.partition + before.at, after.rank * below.partition + after.at, count);
  }

  #outline(which, p, y) {
    if (this.bundles[which] > 1) return "";  // every one of them would be marked
    const side = this.side = this.group[which], first = side.place(p, 0).rank, last = side.place(p, this.group.numels[p] - 1).rank;
    const [begin, end] = side.ranksBetween(this.from, this.to);
    let d = "";
    for (let rank = Math.max(first, begin); rank < Math.min(last + 1, end); ++rank) {
      const stripe = side.stripe(p, rank), base = rank * side.partition;
      const x0 = this.x(base + stripe.begin), x1 = Math.max(this.x(base + stripe.end, true), x0 + 1.5);
      if (x1 >= 0 && x0 <= this.width) d += `M${x0.toFixed(1)},${y}H${x1.toFixed(1)}v${LEVELS.barHeight}H${x0.toFixed(1)}Z`;
    }
    return d;
  }
}
