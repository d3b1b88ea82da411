// What the picture's numbers mean: where an element is, what is at a place, and what flows from where to where.
"use strict";

const picture = JSON.parse(document.getElementById("picture").textContent);

const SPREAD = .05;  // what the gaps between partitions take of a bar, at most
const WIDEST_GAP = .12;  // of a partition

const expanded = (runs) => runs.flatMap(([value, count]) => Array(count).fill(value));

/** The files of one side, of which many differ in a number alone. */
function expandedFiles(blocks) {
  return blocks.flatMap((block) => {
    const sizes = expanded(block.nbytes);
    return sizes.map((nbytes, index) => ({
      name: block.number === null ? block.prefix : block.prefix + (block.number + index) + block.suffix,
      nbytes, modelRank: block.model_rank, rank: block.rank === null ? null : block.rank + index,
      parts: block.parts?.[index] ?? null,
    }));
  });
}

/** One side of a group: partitions of equal length, one behind another. */
class Side {
  constructor(data, numels, files) {
    this.ranks = data.ranks;
    this.partition = data.partition;
    this.flat = data.flat;
    this.count = numels.length;
    this.numels = numels;
    this.first = data.first ?? Array(this.count).fill(0);
    this.share = data.share ?? Array(this.count).fill(Math.max(1, data.partition));
    this.start = data.start ?? Array(this.count).fill(0);
    this.subGroups = data.sub_groups;
    this.subGroupStarts = [0];
    for (const numel of data.sub_groups) this.subGroupStarts.push(this.subGroupStarts.at(-1) + numel);
    this.states = data.states.map((state) => ({ ...state, offsets: state.offsets.map(expanded) }));
    this.files = files;
    this.total = this.ranks * this.partition;
    this.gap = 0;
    this.margin = 0;
    const position = this.flat ? this.first : this.start;
    this.order = numels.map((_, p) => p).filter((p) => numels[p] > 0).sort((a, b) => position[a] - position[b]);
  }

  /** Spreads the partitions over `length`, in elements, with gaps between them. */
  spread(length) {
    this.gap = this.ranks > 1 ? Math.min((length - this.total) / (this.ranks - 1), WIDEST_GAP * this.partition) : 0;
    this.margin = (length - this.total - (this.ranks - 1) * this.gap) / 2;
  }

  /** Where a position in all partitions, one behind another, is drawn; the end of one partition is not the begin of the next. */
  drawn(position, isEnd = false) {
    const rank = isEnd ? Math.ceil(position / this.partition) - 1 : Math.floor(position / this.partition);
    return this.margin + position + Math.max(0, Math.min(this.ranks - 1, rank)) * this.gap;
  }

  /** The rank and the place in its partition that are drawn there; null in a gap, unless the partition ends no more than `slack` before. */
  located(drawn, slack) {
    const from = drawn - this.margin, rank = Math.floor(from / (this.partition + this.gap)), at = from - rank * (this.partition + this.gap);
    return rank >= 0 && rank < this.ranks && at < this.partition + slack ? { rank, at: Math.min(Math.floor(at), this.partition - 1) } : null;
  }

  /** The ranks that are drawn between two places: [first, end). */
  ranksBetween(from, to) {
    const length = this.partition + this.gap;
    return [Math.max(0, Math.floor((from - this.margin) / length)), Math.min(this.ranks, Math.max(0, Math.ceil((to - this.margin) / length)))];
  }

  place(p, element) {
    const place = this.first[p] + element;
    return { rank: Math.floor(place / this.share[p]), at: this.start[p] + place % this.share[p] };
  }

  /** Elements from `element` on that stay on its rank, padding behind the last of them included. */
  left(p, element) {
    return this.share[p] - (this.first[p] + element) % this.share[p];
  }

  /** What of parameter `p` is on a rank: from `begin` to `end` in its partition, and where its share ends. */
  stripe(p, rank) {
    if (this.flat) {
      const left = rank * this.partition;
      const begin = Math.max(left, this.first[p]);
      const end = Math.min(left + this.partition, this.first[p] + this.numels[p]);
      return { p, begin: begin - left, end: end - left, until: end - left, element: begin - this.first[p] };
    }
    const own = Math.min(this.share[p], Math.max(0, this.numels[p] - rank * this.share[p]));
    return { p, begin: this.start[p], end: this.start[p] + own, until: this.start[p] + this.share[p], element: rank * this.share[p] };
  }

  /** The index in `order` of the first parameter that reaches past a place of the rank's partition. */
  firstAfter(rank, at) {
    const position = rank * this.partition + at;
    let low = 0, high = this.order.length;
    while (low < high) {
      const middle = (low + high) >> 1, p = this.order[middle];
      const past = this.flat ? this.first[p] + this.numels[p] > position : this.start[p] + this.share[p] > at;
      if (past) high = middle; else low = middle + 1;
    }
    return low;
  }

  /** Calls take(stripe) for what lies between two places of a rank's partition, in order. */
  forEachStripe(rank, from, to, take) {
    for (let index = this.firstAfter(rank, from); index < this.order.length; ++index) {
      const stripe = this.stripe(this.order[index], rank);
      if (stripe.begin >= to) break;
      take(stripe);
    }
  }

  /** { p, element } at a place, or null where it is padding. */
  find(rank, at) {
    const index = this.firstAfter(rank, at);
    if (index === this.order.length) return null;
    const { p, begin, end, element } = this.stripe(this.order[index], rank);
    return at >= begin && at < end ? { p, element: element + at - begin } : null;
  }

  subGroupOf(at) {
    let index = 0;
    while (index + 1 < this.subGroups.length && at >= this.subGroupStarts[index + 1]) ++index;
    return index;
  }

  /** Where each state has the element at a place: [{ key, byte }]; byte is null where that is not known. */
  bytes(place) {
    const index = this.subGroupOf(place.at);
    return this.states.map(({ key, itemsize, offsets }) => {
      const offset = offsets[index]?.[place.rank] ?? null;
      return { key, byte: offset === null ? null : offset + (place.at - this.subGroupStarts[index]) * itemsize };
    });
  }

  fileOf(rank) {
    return this.files.get(rank)?.name ?? null;
  }

  /** Of this many pixels for the whole of it: how many ranks are drawn as one, so that none is narrower than `least`. */
  bundleFor(pixelsPerElement, least) {
    const pixels = this.partition * pixelsPerElement;
    return pixels >= least ? 1 : Math.min(this.ranks, Math.ceil(least / Math.max(pixels, 1e-9)));
  }
}

class Group {
  constructor(data, index, files) {
    this.index = index;
    this.title = data.title;
    this.about = data.about;
    this.numel = data.numel;
    this.names = data.names;
    this.shapes = data.shapes;
    this.numels = expanded(data.numels);
    const filesOf = (side) => new Map(files[side].filter((f) => f.rank !== null && f.modelRank === data.model_rank).map((f) => [f.rank, f]));
    this.before = new Side(data.before, this.numels, filesOf("before"));
    this.after = new Side(data.after, this.numels, filesOf("after"));
    this.length = Math.max(this.before.total, this.after.total) * (this.before.ranks + this.after.ranks > 2 ? 1 + SPREAD : 1);
    this.before.spread(this.length);
    this.after.spread(this.length);
    this.known = new Map();
  }

  name(p) {
    return this.names[p] ?? `parameter ${p + 1} (its name is not in this page)`;
  }

  shape(p) {
    return this.shapes[p] ? `[${this.shapes[p].join(", ")}]` : "";
  }

  /** Elements of `p` that stay together on both sides, in order; `take` answers false to end. */
  forEachRun(p, take) {
    const numel = this.numels[p];
    for (let element = 0; element < numel;) {
      const count = Math.min(numel - element, this.before.left(p, element), this.after.left(p, element));
      if (take({ p, element, count, before: this.before.place(p, element), after: this.after.place(p, element) }) === false) return;
      element += count;
    }
  }

  hasFewRuns(most) {
    const { before, after, numels } = this, ranks = (p) => Math.max(Math.ceil(numels[p] / before.share[p]), Math.ceil(numels[p] / after.share[p]));
    let count = 0;
    for (let p = 0; p < numels.length && count <= most; ++p) count += ranks(p);  // at least so many
    return count <= most;
  }

  /** The run that an element is in. */
  runAt(p, element) {
    const into = Math.min(this.before.share[p] - this.before.left(p, element), this.after.share[p] - this.after.left(p, element), element);
    const first = element - into;
    const count = Math.min(this.numels[p] - first, this.before.left(p, first), this.after.left(p, first));
    return { p, element: first, count, before: this.before.place(p, first), after: this.after.place(p, first) };
  }

  /** [{ before, after, numel }] between bundles of ranks, sorted by `after`, then by `before`. */
  flows(bundleBefore, bundleAfter) {
    const key = `${bundleBefore}/${bundleAfter}`;
    if (!this.known.has(key)) {
      if (this.known.size > 16) this.known.clear();
      this.known.set(key, this.#sum(bundleBefore, bundleAfter));
    }
    return this.known.get(key);
  }

  #sum(bundleBefore, bundleAfter) {
    const { before, after } = this, sums = new Map();
    // Parameters of one length that are dealt by themselves flow alike.
    const alike = new Map();
    for (let p = 0; p < this.numels.length; ++p) {
      const key = before.flat || after.flat ? p : `${this.numels[p]}/${before.share[p]}/${after.share[p]}`;
      alike.set(key, { p, times: (alike.get(key)?.times ?? 0) + 1 });
    }
    const width = Math.ceil(before.ranks / bundleBefore);
    for (const { p, times } of alike.values()) {
      const spanBefore = bundleBefore * before.share[p], spanAfter = bundleAfter * after.share[p];
      for (let element = 0; element < this.numels[p];) {
        const from = Math.floor((before.first[p] + element) / spanBefore), to = Math.floor((after.first[p] + element) / spanAfter);
        const end = Math.min(this.numels[p], (from + 1) * spanBefore - before.first[p], (to + 1) * spanAfter - after.first[p]);
        sums.set(to * width + from, (sums.get(to * width + from) ?? 0) + (end - element) * times);
        element = end;
      }
    }
    return [...sums].map(([key, numel]) => ({ before: key % width, after: Math.floor(key / width), numel }))
      .sort((a, b) => a.after - b.after || a.before - b.before);
  }
}

const number = (value) => value.toLocaleString("en-US");
const counted = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

function size(nbytes) {
  if (nbytes < 1000) return `${nbytes} B`;
  const units = ["kB", "MB", "GB", "TB", "PB", "EB"];
  let value = nbytes / 1000, unit = 0;
  while (value >= 999.95 && unit + 1 < units.length) { value /= 1000; ++unit; }
  return `${value.toFixed(1)} ${units[unit]}`;
}

/** One colour for each rank of the source: few ranks get colours far apart, many a way through all of them. */
function rankColour(rank, ranks) {
  const colours = picture.colours;
  if (ranks <= colours.length) return colours[Math.floor(rank * colours.length / ranks)];
  const place = rank / (ranks - 1) * (colours.length - 1), low = Math.min(colours.length - 2, Math.floor(place));
  const mixed = [1, 3, 5].map((at) => {
    const a = parseInt(colours[low].slice(at, at + 2), 16), b = parseInt(colours[low + 1].slice(at, at + 2), 16);
    return Math.round(a + (b - a) * (place - low)).toString(16).padStart(2, "0");
  });
  return `#${mixed.join("")}`;
}
