// The page around the drawings: what is pointed at, keys, zoom, tables.
"use strict";

const PAPER_WIDTH = 700;
const FIRST_ROWS = 12;
const FIRST_PARAMETERS = 100;

function node(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name === "className" ? "class" : name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const named = (text, className = "name") => node("span", { className, dir: "auto" }, text);
const bytesText = (side, place) => side.bytes(place).filter(({ byte }) => byte !== null)
  .map(({ key, byte }) => `${key} at byte ${number(byte)}`).join(", ");
const range = (first, count, noun) => count === 1 ? `${noun} ${number(first)}` : `${noun}s ${number(first)}–${number(first + count - 1)}`;

/** One group: its drawing, and what is chosen in it. */
class Stage {
  constructor(group) {
    this.group = group;
    this.from = 0;
    this.to = group.length;
    this.chosen = null;   // { p, run } or { padding: { which, rank } }: what keys, a click or a tap chose
    this.hovered = null;  // the same, under the mouse
    this.box = node("div", {
      className: "stage", tabindex: "0", role: "group", "aria-roledescription": "diagram",
      "aria-label": `${group.title}: ${counted(group.before.ranks, "partition")} above, ${group.after.ranks} below. Left and right arrow: parameters; up and down: their pieces; plus, minus, zero: zoom.`,
      onpointermove: (event) => this.#hover(event), onpointerleave: () => this.#leave(), onpointerdown: (event) => this.#press(event),
      onpointerup: (event) => this.#release(event), onpointercancel: () => { this.press = null; }, onkeydown: (event) => this.#key(event),
      onfocus: () => { if (!this.chosen && this.box.matches(":focus-visible")) this.choose(this.order()[0], 0, true); },
    });
    this.box.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.tip = node("div", { className: "tip", hidden: true });
    this.notes = node("p", { className: "notes" });
    this.detail = node("div", { className: "detail", "aria-live": "off" });
    this.buttons = {
      out: node("button", { type: "button", "aria-label": "zoom out", onclick: () => this.zoom(.5) }, "−"),
      in: node("button", { type: "button", "aria-label": "zoom in", onclick: () => this.zoom(2) }, "+"),
      all: node("button", { type: "button", onclick: () => this.show(0, group.length) }, "whole"),
    };
    this.#describe();
    new ResizeObserver(() => this.draw()).observe(this.box);
    // As wide as paper is: what is drawn for a wide window has small letters there.
    for (const when of ["beforeprint", "afterprint"]) {
      addEventListener(when, () => {
        this.isPrinted = when === "beforeprint";
        this.draw();
      });
    }
  }

  order() {
    return this.group.before.order;
  }

  show(from, to) {
    const all = this.group.length, length = Math.min(all, Math.max(to - from, Math.min(all, 8)));
    this.from = Math.max(0, Math.min(from, all - length));
    this.to = this.from + length;
    this.draw();
  }

  zoom(factor, centre = (this.from + this.to) / 2) {
    this.show(centre - (centre - this.from) / factor, centre + (this.to - centre) / factor);
  }

  draw() {
    const width = this.isPrinted ? PAPER_WIDTH : Math.round(this.box.clientWidth);
    if (width === 0) return;
    this.drawing = new Drawing(this.group, this.from, this.to, width);
    const svg = this.drawing.svg(`${this.group.title}: ${this.group.before.ranks} ranks above, ${this.group.after.ranks} below`, this.#flowText());
    this.svg?.remove();
    this.svg = svg;
    this.box.prepend(svg);
    this.box.append(this.tip);
    const isWhole = this.from === 0 && this.to === this.group.length;
    this.box.classList.toggle("zoomed", !isWhole);
    this.buttons.out.disabled = this.buttons.all.disabled = isWhole;
    this.buttons.in.disabled = this.to - this.from <= 8;
    this.notes.textContent = this.drawing.joined ? "Ranks and parameters narrower than 3 pixels are drawn together, in the shares that come from each rank: zoom in to see each." : "";
    this.#mark();
  }

  #flowText() {
    const { before, after } = this.group, lines = [];
    for (const flow of this.group.flows(1, 1).slice(0, 64)) lines.push(`rank ${flow.after} takes ${number(flow.numel)} elements of rank ${flow.before}`);
    return `${counted(before.ranks, "rank")} of ${number(before.partition)} elements each become ${counted(after.ranks, "rank")} of ${number(after.partition)}. ${lines.join("; ")}.`;
  }

  #mark() {
    this.marks?.remove();
    this.marks = null;
    const shown = this.hovered ?? this.chosen;
    this.svg?.classList.toggle("dimmed", shown?.p !== undefined);
    if (shown?.p === undefined || !this.svg) return;
    this.marks = this.drawing.marks(shown);
    this.svg.append(this.marks);
  }

  /** Chooses the piece of a parameter that has `element`; `into`: brings it into the window. */
  choose(p, element, into) {
    if (p === undefined) return;
    this.chosen = { p, run: this.group.runAt(p, element) };
    this.hovered = null;
    if (into) this.#bringIntoWindow();
    this.#mark();
    this.#describe();
  }

  #bringIntoWindow() {
    const { before } = this.group.runAt(this.chosen.p, this.chosen.run.element), length = this.to - this.from;
    const at = this.group.before.drawn(before.rank * this.group.before.partition + before.at);
    if (at < this.from || at >= this.to) this.show(at - length / 2, at + length / 2);
  }

  #clear() {
    this.chosen = this.hovered = null;
    this.#mark();
    this.#describe();
  }

  /** What is at a point of the drawing. */
  #at(event) {
    const bounds = this.svg.getBoundingClientRect(), scale = LEVELS.height / bounds.height;
    const y = (event.clientY - bounds.top) * scale, which = y < (LEVELS.top + LEVELS.barHeight + LEVELS.bottom) / 2 ? "before" : "after";
    const side = this.group[which], pixel = (this.to - this.from) / bounds.width;
    const place = side.located(this.from + (event.clientX - bounds.left) * pixel, 2 * pixel);
    if (!place) return null;
    const found = side.find(place.rank, place.at);
    return found ? { p: found.p, run: this.group.runAt(found.p, found.element) } : { padding: { which, rank: place.rank } };
  }

  #hover(event) {
    if (this.press) {
      const moved = (event.clientX - this.press.x) / this.box.clientWidth * (this.to - this.from);
      if (Math.abs(event.clientX - this.press.x) > 4) this.press.isDrag = true;
      if (this.press.isDrag && this.box.classList.contains("zoomed")) {
        this.box.classList.add("dragged");
        this.show(this.press.from - moved, this.press.to - moved);
      }
      return;
    }
    if (event.pointerType === "mouse") this.#pointAt(event);
  }

  #pointAt(event) {
    this.hovered = this.#at(event);
    this.#mark();
    this.tip.hidden = !this.hovered;
    if (!this.hovered) return;
    this.tip.replaceChildren(...this.#tipLines());
    const bounds = this.box.getBoundingClientRect(), x = event.clientX - bounds.left;
    this.tip.style.left = "0";
    this.tip.style.left = `${Math.max(0, Math.min(x + 14, bounds.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${event.clientY - bounds.top + 18}px`;
  }

  #tipLines() {
    const { hovered, group } = this;
    if (hovered.padding) return [node("div", {}, this.#paddingText(hovered.padding))];
    const { p, run } = hovered;
    return [node("div", {}, named(group.name(p), "name title"), " ", group.shape(p)), ...["before", "after"].map((which) => {
      const place = run[which], first = group[which].bytes(place)[0], file = group[which].fileOf(place.rank);
      return node("div", { className: "hint" }, `${which === "before" ? "from" : "to"} rank ${place.rank}`, first?.byte != null ? `, ${first.key} at byte ${number(first.byte)} of` : "", file ? node("div", {}, named(file)) : "");
    })];
  }

  #paddingText({ which, rank }) {
    const side = this.group[which];
    let used = 0;
    side.forEachStripe(rank, 0, side.partition, (stripe) => { used += stripe.end - stripe.begin; });
    return `Padding: ${number(side.partition - used)} of the ${number(side.partition)} elements of rank ${rank} ${which === "before" ? "above" : "below"}`;
  }

  #leave() {
    this.tip.hidden = true;
    this.hovered = null;
    this.#mark();
  }

  #press(event) {
    this.press = { x: event.clientX, from: this.from, to: this.to, isDrag: false };
    if (this.box.classList.contains("zoomed") && event.pointerType === "mouse") this.box.setPointerCapture(event.pointerId);
  }

  #release(event) {
    const wasDrag = this.press?.isDrag;
    this.press = null;
    this.box.classList.remove("dragged");
    if (wasDrag) return;
    this.detail.setAttribute("aria-live", "polite");
    this.chosen = this.#at(event);
    this.#mark();
    this.#describe();
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const bounds = this.box.getBoundingClientRect();
    this.zoom(event.deltaY < 0 ? 1.25 : .8, this.from + (event.clientX - bounds.left) / bounds.width * (this.to - this.from));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const order = this.order(), index = order.indexOf(this.chosen?.p), step = (this.to - this.from) / 4;
    const go = (to) => this.choose(order[Math.max(0, Math.min(order.length - 1, to))], 0, true);
    const keys = {
      ArrowRight: () => event.shiftKey ? this.show(this.from + step, this.to + step) : go(index + 1),
      ArrowLeft: () => event.shiftKey ? this.show(this.from - step, this.to - step) : go(index - 1),
      ArrowDown: () => this.#nextPiece(1), ArrowUp: () => this.#nextPiece(-1),
      Home: () => go(0), End: () => go(order.length - 1), PageDown: () => go(index + 10), PageUp: () => go(index - 10),
      "+": () => this.zoom(2), "=": () => this.zoom(2), "-": () => this.zoom(.5), 0: () => this.show(0, this.group.length),
      Escape: () => this.#clear(),
    };
    if (!(event.key in keys)) return;
    event.preventDefault();
    this.detail.setAttribute("aria-live", "polite");
    this.tip.hidden = true;
    keys[event.key]();
  }

  #nextPiece(way) {
    if (this.chosen?.p === undefined) return;
    const { p, run } = this.chosen, element = way > 0 ? run.element + run.count : run.element - 1;
    if (element >= 0 && element < this.group.numels[p]) this.choose(p, element, true);
  }

  #describe() {
    const { chosen, group } = this;
    this.detail.hidden = !chosen;
    if (!chosen) return;
    if (chosen.padding) {
      const { which, rank } = chosen.padding;
      this.detail.replaceChildren(node("p", {}, this.#paddingText(chosen.padding)), node("p", { className: "hint" }, named(group[which].fileOf(rank) ?? "")));
      return;
    }
    const { p, run } = chosen, facts = [];
    const pieces = pieceCount(group, p, run.element);
    facts.push(["Here", `${range(run.element, run.count, "element")} of ${number(group.numels[p])}: ${pieces}`]);
    for (const [label, which] of [["From", "before"], ["To", "after"]]) {
      const side = group[which], place = run[which], file = side.fileOf(place.rank), bytes = bytesText(side, place);
      const subGroup = side.subGroups.length > 1 ? `, sub-group ${side.subGroupOf(place.at)}` : "";
      facts.push([label, [`rank ${place.rank}${subGroup}, ${range(place.at, run.count, "element")} of its partition`,
        file ? node("div", {}, named(file)) : null, bytes ? node("div", { className: "hint" }, bytes) : null]]);
    }
    this.detail.replaceChildren(
      node("p", {}, named(group.name(p), "name title"), ` ${group.shape(p)}`),
      node("dl", {}, facts.flatMap(([label, value]) => [node("dt", {}, label), node("dd", {}, value)])));
  }
}

function pieceCount(group, p, element) {
  let count = 0, here = 0;
  group.forEachRun(p, (run) => {
    ++count;
    if (run.element <= element) here = count;
    return count < 100000;
  });
  return count === 1 ? "all of it" : `piece ${number(here)} of ${number(count)}`;
}

function parameterTable(stage) {
  const { group } = stage, rows = node("tbody"), found = node("span"), more = node("button", { type: "button", className: "more" }, "Show all");
  let limit = FIRST_PARAMETERS, wanted = "";
  const ranks = (which, p) => {
    const side = group[which], first = side.place(p, 0).rank, last = side.place(p, group.numels[p] - 1).rank;
    return first === last ? String(first) : `${first}–${last}`;
  };
  const fill = () => {
    const matching = group.numels.map((_, p) => p).filter((p) => wanted === "" || group.name(p).toLowerCase().includes(wanted));
    const shown = matching.slice(0, limit);
    rows.replaceChildren(...shown.map((p) => node("tr", {},
      node("td", {}, group.numels[p] === 0 ? named(group.name(p)) : node("button", { type: "button", className: "link", onclick: () => {
        stage.choose(p, 0, true);
        stage.box.focus({ preventScroll: true });
        stage.box.scrollIntoView({ block: "center" });
      } }, named(group.name(p)))),
      node("td", {}, group.shape(p)), node("td", { className: "number" }, number(group.numels[p])),
      node("td", { className: "number" }, group.numels[p] === 0 ? "" : ranks("before", p)), node("td", { className: "number" }, group.numels[p] === 0 ? "" : ranks("after", p)))));
    found.textContent = shown.length < matching.length ? `the first ${shown.length} of ${number(matching.length)}` : counted(matching.length, "parameter");
    more.hidden = shown.length === matching.length;
  };
  more.addEventListener("click", () => { limit = Infinity; fill(); });
  const input = node("input", { type: "search", placeholder: "part of a name", "aria-label": `Find a parameter of ${group.title}`, oninput: () => { wanted = input.value.trim().toLowerCase(); fill(); } });
  const details = node("details", { ontoggle: () => { if (details.open && rows.childElementCount === 0) fill(); } },
    node("summary", {}, `${counted(group.numels.length, "parameter")}, as a table`),
    node("div", { className: "find" }, input, found),
    node("div", { className: "scroll parameters" }, node("table", {}, node("thead", {}, node("tr", {}, node("th", { scope: "col" }, "parameter"), node("th", { scope: "col" }, "shape"),
      node("th", { scope: "col", className: "number" }, "elements"), node("th", { scope: "col", className: "number" }, "ranks above"), node("th", { scope: "col", className: "number" }, "below"))), rows)), more);
  return details;
}

function groupSection(group) {
  const stage = new Stage(group), { before, after } = group;
  const side = (name, of) => node("p", { className: "side" }, node("b", {}, name), node("span", {},
    `${counted(of.ranks, "rank")} × ${number(of.partition)} elements, ${of.total > group.numel ? `${number(of.total - group.numel)} of them padding` : "no padding"}${of.subGroups.length > 1 ? `; ${of.subGroups.length} sub-groups` : ""}`));
  return node("section", { className: "group", "aria-label": group.title },
    node("header", {}, node("h2", {}, group.title), node("p", {}, group.about),
      node("div", { className: "tools", role: "group", "aria-label": "Zoom" }, stage.buttons.out, stage.buttons.in, stage.buttons.all)),
    side("As saved", before), stage.box, side("As shown", after), stage.notes, stage.detail, parameterTable(stage));
}

/** What a file is made of: a bar, and words that join neighbouring ranks. */
function madeOf(file, files, ranks) {
  if (file.parts?.length === 0) return node("div", { className: "hint" }, "no data of tensors");
  if (file.parts === null) return node("div", { className: "hint" }, "the source's file as it is");
  const total = file.parts.reduce((sum, [, nbytes]) => sum + nbytes, 0) || 1, words = [];
  const bar = node("div", { className: "mix", "aria-hidden": "true" });
  for (const [index, nbytes] of file.parts) {
    const source = files[index], isRank = source.rank !== null;
    const piece = node("span");
    piece.style.width = `${100 * nbytes / total}%`;
    piece.style.background = isRank ? rankColour(source.rank, ranks) : "var(--quiet)";
    bar.append(piece);
    const last = words.at(-1);
    if (isRank && last?.to === source.rank - 1 && last.modelRank === source.modelRank) {
      last.to = source.rank;
      last.nbytes += nbytes;
    } else {
      words.push({ from: isRank ? source.rank : null, to: source.rank, modelRank: source.modelRank, name: source.name, nbytes });
    }
  }
  const text = words.slice(0, 6).map(({ from, to, name, nbytes }) => {
    const whose = from === null ? (name === file.name ? "the file of that name" : name) : from === to ? `rank ${number(from)}` : `ranks ${number(from)}–${number(to)}`;
    return `${size(nbytes)} of ${whose}`;
  });
  if (words.length > 6) text.push(`and ${words.length - 6} more`);
  return [bar, node("div", { className: "hint" }, text.join(", "))];
}

function fileTable(title, all, sources, ranks, unlisted) {
  const files = [...all.filter((file) => file.rank !== null), ...all.filter((file) => file.rank === null)];
  const rows = node("tbody"), isView = sources !== null;
  const fill = (limit) => rows.replaceChildren(...files.slice(0, limit).map((file) => {
    const swatch = node("span", { className: "swatch", "aria-hidden": "true" });
    if (!isView && file.rank !== null) swatch.style.background = rankColour(file.rank, ranks);
    return node("tr", {}, node("td", {}, node("div", { className: "filename" }, isView ? null : swatch, named(file.name)), isView ? madeOf(file, sources, ranks) : null), node("td", { className: "number" }, size(file.nbytes)));
  }));
  fill(FIRST_ROWS);
  const more = files.length > FIRST_ROWS ? node("button", { type: "button", className: "more", onclick: () => { fill(Infinity); more.remove(); } }, `Show all ${number(files.length)} files`) : null;
  const total = files.reduce((sum, file) => sum + file.nbytes, 0);
  return node("div", {}, node("h3", {}, `${title}: ${counted(files.length + unlisted, "file")}${unlisted ? "" : `, ${size(total)}`}`),
    unlisted ? node("p", { className: "hint" }, `${number(unlisted)} of them are not listed here.`) : null,
    node("div", { className: "scroll" }, node("table", {}, node("thead", {}, node("tr", {}, node("th", { scope: "col" }, "file"), node("th", { scope: "col", className: "number" }, "size"))), rows)), more);
}

function legend(groups) {
  if (groups.length === 0) return null;
  const { ranks } = groups[0].before, items = [];
  const swatch = (className, background) => {
    const made = node("span", { className: `swatch ${className}` });
    if (background) made.style.background = background;
    return made;
  };
  if (ranks <= picture.colours.length) {
    for (let rank = 0; rank < ranks; ++rank) items.push(node("li", {}, swatch("", rankColour(rank, ranks)), `from rank ${rank}`));
  } else {
    items.push(node("li", {}, swatch("wide", `linear-gradient(90deg, ${picture.colours.join(", ")})`), `from ranks 0 to ${number(ranks - 1)}`));
  }
  items.push(node("li", {}, swatch("padding"), "padding"));
  if (groups.some((group) => group.before.subGroups.length > 1 || group.after.subGroups.length > 1)) items.push(node("li", {}, swatch("sub-group"), "a sub-group"));
  return node("ul", { className: "legend", "aria-label": "Legend" }, items);
}

function hint() {
  const key = (name) => node("kbd", {}, name);
  return node("p", { className: "hint" }, "Point at a place for what is there; click or tap it to keep that. In a group that has the focus, ", key("←"), " ", key("→"), " step through its parameters, ",
    key("↑"), " ", key("↓"), " through the pieces of one, and ", key("+"), " ", key("−"), " ", key("0"), " zoom, as ", key("Ctrl"), " and the wheel do.");
}

function fillPage() {
  const files = { before: expandedFiles(picture.files.before), after: expandedFiles(picture.files.after) };
  const groups = picture.groups.map((data, index) => new Group(data, index, files)), ranks = groups[0]?.before.ranks ?? 1;
  document.querySelector("main").replaceChildren(...[
    node("h1", {}, picture.heading), node("p", { className: "source" }, named(picture.source)),
    node("p", { className: "lead" }, picture.lead),
    node("dl", { className: "facts" }, picture.facts.map(([label, value]) => node("div", {}, node("dt", {}, label), node("dd", {}, value)))),
    legend(groups), groups.length ? hint() : null, ...groups.map(groupSection),
    node("section", { className: "files", "aria-label": "Files" }, node("div", { className: "filetables" },
      fileTable("As saved", files.before, null, ranks, 0), fileTable("As shown", files.after, files.before, ranks, picture.unlisted_files_after))),
    node("footer", {}, picture.notes.map((note) => node("p", {}, note))),
  ].filter(Boolean));
}

fillPage();
