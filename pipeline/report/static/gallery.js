/* What pages do in the browser: draw their charts, sort their tables, show their images. No library but Vega for charts.

The gallery: an index in the page says what is known of each item, and in which part its images are. A part is a script
(`gallery/part-00000.js`, which calls `galleryPart`), since a page that is opened from disk may load scripts, but no data. A
layer is a photograph, or a grey PNG whose levels are scores (heat), class ids (labels) or a mask; all painting is done
here, so that a threshold can be moved. */
"use strict";

(() => {
  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const byId = (id) => document.getElementById(id);
  const readJson = (node) => JSON.parse(node.textContent);
  const score = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));

  /* --- charts ---------------------------------------------------------------------------------------------------- */

  const AXIS = {
    labelFontSize: 12, titleFontSize: 12.5, titleFontWeight: "normal", labelColor: "var(--muted)", labelLimit: 160,
    titleColor: "var(--muted)", gridColor: "var(--grid)", domainColor: "var(--line)", tickColor: "var(--line)",
  };
  const CHART = {
    background: null, view: { stroke: null }, axis: AXIS, axisX: { grid: false }, legend: { disable: true },
    font: "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif",
    text: { fontSize: 12, color: "var(--ink)" },
  };

  /* `ast`: expressions are interpreted, not compiled, as the policy of the page demands. */
  const drawChart = async (place) => {
    const spec = { ...readJson(place.querySelector("script")), config: CHART };
    const options = { renderer: "svg", actions: false, ast: true };
    const { view } = await vegaEmbed(place, spec, options);
    view.addEventListener("click", (_event, item) => {
      if (index && item?.datum?.pair) choosePair(item.datum.pair);
    });
  };

  const drawCharts = () => {
    const seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting) {
          seen.unobserve(target);
          drawChart(target);
        }
      }
    }, { rootMargin: "400px" });
    document.querySelectorAll(".drawing").forEach((place) => seen.observe(place));
  };

  /* --- tables ---------------------------------------------------------------------------------------------------- */

  const sortBy = (table, header) => {
    const column = header.cellIndex;
    const key = (row) => {
      const value = row.cells[column].dataset.sort;
      return value === "" ? null : isNaN(value) ? value : Number(value);
    };
    const order = header.getAttribute("aria-sort") === "descending" ? 1 : -1;
    const compare = (a, b) => {
      const [one, other] = [key(a), key(b)];
      if (one === null || other === null) return (one === null) - (other === null); // what is not known comes last
      return order * (typeof one === "number" && typeof other === "number" ? one - other
        : String(one).localeCompare(String(other)));
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", order === 1 ? "ascending" : "descending");
  };

  const makeSortable = () => {
    for (const table of document.querySelectorAll("table.sortable")) {
      table.tHead.addEventListener("click", (event) => {
        const header = event.target.closest("th");
        if (header?.querySelector("button")) sortBy(table, header);
      });
    }
  };

  /* --- gallery: data --------------------------------------------------------------------------------------------- */

  const index = byId("gallery-index") ? readJson(byId("gallery-index")) : null;
  const layers = Object.fromEntries((index?.layers ?? []).map((layer) => [layer.name, layer]));
  const state = { view: "", sort: "0", chosen: {}, text: "", pair: null, threshold: index?.threshold ?? null };

  const PARTS_KEPT = 40; // the images of about 640 items; the oldest part is loaded again when it is needed again
  const parts = new Map(); // number to a promise of the images of its items
  const arrived = new Map(); // number to what fulfils that promise

  window.galleryPart = (number, items) => arrived.get(number)?.(items);

  const loadPart = (number) => {
    const known = parts.get(number);
    parts.delete(number); // and back at the end: the part that was used last
    parts.set(number, known ?? new Promise((resolve, reject) => {
      const file = `${index.folder}/part-${String(number).padStart(5, "0")}.js`;
      const script = element("script", { src: file, onerror: () => reject(new Error(`${file} is missing`)) });
      arrived.set(number, (items) => {
        arrived.delete(number);
        script.remove();
        resolve(items);
      });
      document.head.append(script);
    }));
    if (parts.size > PARTS_KEPT) parts.delete(parts.keys().next().value);
    return parts.get(number);
  };

  const readPixels = async (uri, width, height, smooth) => {
    const image = new Image();
    image.src = uri;
    await image.decode();
    const canvas = element("canvas", { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = smooth;
    context.drawImage(image, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  };

  const firstChannel = (pixels) => {
    const values = new Uint8Array(pixels.length / 4);
    for (let i = 0; i < values.length; i += 1) values[i] = pixels[4 * i];
    return values;
  };

  /* The pixels of an item: its photograph as RGBA, every other layer as one value a pixel, all of one size. */
  const loadItem = async (item) => {
    const stored = (await loadPart(item.part))[item.id];
    const [width, height] = item.size;
    const pixels = { width, height };
    await Promise.all(Object.entries(stored).map(async ([name, uri]) => {
      const { kind } = layers[name];
      const read = await readPixels(uri, width, height, kind === "heat" || kind === "photo");
      pixels[name] = kind === "photo" ? read : firstChannel(read);
    }));
    return pixels;
  };

  /* --- gallery: painting ----------------------------------------------------------------------------------------- */

  const IGNORED = 255;
  const PAINT = 0.7; // how much of a painted pixel is paint
  const rgb = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
  const heat = (index?.heat ?? []).map(rgb);
  const colors = (index?.colors ?? []).map(rgb);
  const overlapNames = Object.keys(index?.overlap ?? {});
  const overlapColors = Object.values(index?.overlap ?? {}).map(rgb);
  const occurring = new Set(); // names of the codes of overlaps that have been painted: the legend shows no other

  const thresholdOf = (name) => (index.threshold === null ? layers[name].threshold ?? 128 : state.threshold);

  /* The classes that a layer says: {score >= t} (or >) of a score map, the values of a label map. */
  const labelsOf = (pixels, name) => {
    if (layers[name].kind !== "heat") return pixels[name];
    const least = thresholdOf(name) + (index.comparison === ">" ? 1 : 0);
    return pixels[name].map((value) => (value >= least ? 1 : 0));
  };

  /* Codes by pixel: 0 right background, then hit, missed, false, confused, ignored, in the order of `index.overlap`. */
  const overlapOf = (pixels, layer) => {
    const [truth, found] = [pixels[layer.truth], labelsOf(pixels, layer.of)];
    const place = Object.fromEntries(overlapNames.map((name, position) => [name, position + 1]));
    return found.map((value, i) => {
      if (truth[i] === IGNORED) return place.ignored;
      if (truth[i] === value) return value ? place.hit : 0;
      if (!value) return place.missed;
      return truth[i] ? place.confused : place.false;
    });
  };

  const iouOf = (pixels, name, truth) => {
    const found = labelsOf(pixels, name);
    let [both, either] = [0, 0];
    pixels[truth].forEach((value, i) => {
      if (value === IGNORED) return;
      both += value && found[i] ? 1 : 0;
      either += value || found[i] ? 1 : 0;
    });
    return either ? both / either : null;
  };

  const greyOf = (photo, i) => 0.299 * photo[4 * i] + 0.587 * photo[4 * i + 1] + 0.114 * photo[4 * i + 2];

  /* `channel` gives red, green and blue (c = 0, 1, 2) of pixel i, whose grey it gets: numbers, since an array for each
     pixel takes longer than all else. */
  const paintPixels = (pixels, channel) => {
    const data = new Uint8ClampedArray(4 * pixels.width * pixels.height);
    const photo = pixels[index.photo];
    for (let i = 0; i < pixels.width * pixels.height; i += 1) {
      const grey = greyOf(photo, i);
      for (let c = 0; c < 3; c += 1) data[4 * i + c] = channel(i, c, grey);
      data[4 * i + 3] = 255;
    }
    return new ImageData(data, pixels.width, pixels.height);
  };

  /* The colors of a table over the grey image; a value without a color leaves it. */
  const paintValues = (pixels, values, table) => paintPixels(pixels, (i, c, grey) => {
    const color = table[values[i]];
    return color ? (1 - PAINT) * grey + PAINT * color[c] : grey;
  });

  /* The border of a region, white inside and black outside: visible on any image. */
  const drawContour = (painted, labels, { width, height }) => {
    const differs = (i, x, y) => (x > 0 && labels[i - 1] !== labels[i]) || (x < width - 1 && labels[i + 1] !== labels[i])
      || (y > 0 && labels[i - width] !== labels[i]) || (y < height - 1 && labels[i + width] !== labels[i]);
    for (let y = 0, i = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, i += 1) {
        if (differs(i, x, y)) painted.data.fill(labels[i] ? 255 : 0, 4 * i, 4 * i + 3);
      }
    }
  };

  const paintLayer = (pixels, layer) => {
    const photo = pixels[index.photo];
    if (layer.kind === "photo") return new ImageData(new Uint8ClampedArray(photo), pixels.width, pixels.height);
    const values = pixels[layer.name];
    if (layer.kind === "heat") return paintValues(pixels, values, heat);
    if (layer.kind === "labels") return paintValues(pixels, values, [null, ...colors.slice(1)]);
    if (layer.kind === "mask") {
      return paintPixels(pixels, (i, c, grey) => {
        if (values[i] === IGNORED) return colors[IGNORED][c];
        return values[i] ? photo[4 * i + c] : 0.25 * grey;
      });
    }
    const codes = overlapOf(pixels, layer);
    overlapNames.forEach((name, position) => codes.includes(position + 1) && occurring.add(name));
    return paintValues(pixels, codes, [null, ...overlapColors]);
  };

  const followsThreshold = (layer) => layer.kind === "overlap" || Boolean(layer.contour);

  const draw = (canvas, pixels, layer) => {
    const painted = paintLayer(pixels, layer);
    if (layer.contour && pixels[layer.contour]) drawContour(painted, labelsOf(pixels, layer.contour), pixels);
    canvas.width = pixels.width;
    canvas.height = pixels.height;
    canvas.getContext("2d").putImageData(painted, 0, 0);
    canvas.setAttribute("data-drawn", layer.name);
  };

  /* --- gallery: items -------------------------------------------------------------------------------------------- */

  const STEP = 24; // items that are added at a time
  const shownLayers = (item) => index.layers.filter((layer) => item.layers.includes(layer.name));

  const valueAt = (item, pixels) => {
    const { headline, threshold, iou } = index;
    const known = item.numbers[headline];
    if (!iou || !pixels || state.threshold === threshold || !pixels[iou.truth]) return { value: known, about: "" };
    const about = `from the ${item.full ? "pixels" : "smaller pixels shown"}, t = ${state.threshold}`;
    return { value: iouOf(pixels, iou.of, iou.truth), about };
  };

  const classChip = (name, color) => {
    const chip = element("span", { className: "chip", textContent: name });
    if (color) chip.prepend(element("i", { style: `background: ${color}` }));
    return chip;
  };

  const classChips = (item, key, title) => {
    if (!item[key]?.length) return [];
    const color = (position) => (index.colored ? index.colors[position + 1] : null);
    const chips = item[key].map((position, place) =>
      classChip(index.classes[position] + (key === "predicted" && item.chances ? ` ${item.chances[place].toFixed(2)}` : ""),
        color(position)));
    return [element("span", { className: "muted", textContent: title }), ...chips];
  };

  const header = (item) => {
    const value = element("span", { className: "value" });
    const about = element("span", { className: "muted" });
    const known = item.numbers[index.headline] ?? null;
    return {
      value, about,
      node: element("header", {},
        ...(known === null ? [] : [value, about]),
        element("code", { textContent: item.id }),
        ...(index.splits.length > 1 ? [element("span", { className: "muted", textContent: item.split })] : []),
        ...classChips(item, "labels", "label"), ...classChips(item, "predicted", "predicted"),
        ...item.kinds.map((kind) => element("span", { className: `chip ${kind === "better" ? "right" : "wrong"}`, textContent: index.kinds[kind] })),
        ...(item.text ? [element("span", { className: "muted", textContent: item.text })] : [])),
    };
  };

  /* One item on the page: its images are painted when it comes near the screen, and freed when it leaves. */
  class Card {
    constructor(item) {
      this.item = item;
      this.pixels = null;
      this.layers = state.view ? [layers[state.view]].filter((one) => item.layers.includes(one.name)) : shownLayers(item);
      this.header = header(item);
      this.canvases = this.layers.map((layer) => {
        const name = `${layer.title} of ${item.id}`;
        const canvas = element("canvas", { width: 1, height: 1, role: "img", ariaLabel: name });
        const button = element("button", { type: "button", title: "full size", onclick: () => viewer.open(item, layer.name) },
          canvas);
        button.style.aspectRatio = `${item.size[0]} / ${item.size[1]}`;
        return { layer, canvas, button };
      });
      this.node = element("article", { className: "item" }, this.header.node, this.tiles());
      this.node.dataset.id = item.id;
      this.node.card = this;
      this.showValue();
    }

    tiles() {
      const tiles = element("div", { className: "tiles" }, ...this.canvases.map(({ layer, button }) =>
        element("figure", { className: "tile" }, button, element("figcaption", { textContent: layer.title }))));
      tiles.style.setProperty("--tiles", Math.max(this.canvases.length, 1));
      return tiles;
    }

    async show() {
      this.wanted = true;
      const pixels = this.pixels ?? await loadItem(this.item).catch((error) => this.tellProblem(error));
      if (!pixels || !this.wanted) return; // it may have left the screen meanwhile
      this.pixels = pixels;
      this.paint();
    }

    tellProblem(error) {
      if (this.node.querySelector(".problem")) return;
      const textContent = `No images: ${error.message}. The folder ${index.folder} must lie beside this page.`;
      this.node.append(element("p", { className: "problem", textContent }));
    }

    /* All layers, or some of them. */
    paint(isWanted = () => true) {
      if (!this.pixels) return;
      const known = occurring.size;
      this.canvases.filter(({ layer }) => isWanted(layer)).forEach(({ layer, canvas }) => draw(canvas, this.pixels, layer));
      this.showValue();
      if (occurring.size > known) showKeys();
    }

    showValue() {
      const { value, about } = valueAt(this.item, this.pixels);
      this.header.value.textContent = score(value);
      this.header.about.textContent = `${index.headlineTitle}${about ? `, ${about}` : this.item.caption ? `, ${this.item.caption}` : ""}`;
    }

    free() {
      this.wanted = false;
      this.pixels = null;
      this.canvases.forEach(({ canvas }) => { canvas.width = canvas.height = 1; });
    }
  }

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) isIntersecting ? target.card.show() : target.card.free();
  }, { rootMargin: "500px" });

  const hasClass = (item, position) => item.labels.includes(position) || item.predicted.includes(position);
  const samePair = (pair) => pair[0] === state.pair[0] && pair[1] === state.pair[1];
  const isWanted = (item) => {
    const { kind, split, class: chosen } = state.chosen;
    if (chosen && !hasClass(item, Number(chosen))) return false;
    if (kind && (kind === "none" ? item.kinds.length : !item.kinds.includes(kind))) return false;
    if (split && item.split !== split) return false;
    if (state.pair && !item.pairs.some(samePair)) return false;
    return item.id.toLowerCase().includes(state.text.toLowerCase());
  };

  const sorted = (items) => {
    const pairShare = (item) => item.pairs.find(samePair)[2];
    if (state.pair) return items.sort((a, b) => pairShare(b) - pairShare(a));
    const { key, descending } = index.sorts[Number(state.sort)];
    const value = (item) => (key === "id" ? item.id : item.numbers[key] ?? null);
    return items.sort((a, b) => {
      const [one, other] = [value(a), value(b)];
      if (one === null || other === null) return (one === null) - (other === null);
      return (descending ? -1 : 1) * (key === "id" ? one.localeCompare(other) : one - other);
    });
  };

  let wanted = []; // items that pass the filters, in order; the first ones of them are on the page

  const addItems = () => {
    const items = byId("items");
    for (const item of wanted.slice(items.children.length, items.children.length + STEP)) {
      const { node } = new Card(item);
      items.append(node);
      near.observe(node);
    }
    byId("more").hidden = items.children.length >= wanted.length;
  };

  const showItems = () => {
    near.disconnect();
    byId("items").replaceChildren();
    byId("items").classList.toggle("single", state.view !== "");
    wanted = sorted(index.items.filter(isWanted));
    const all = index.items.length;
    byId("found").textContent = `${wanted.length === all ? "" : `${wanted.length} of `}${all} image${all === 1 ? "" : "s"}`;
    if (state.pair) byId("found").append(" with pixels ", pairChip());
    occurring.clear();
    showKeys();
    addItems();
  };

  const pairChip = () => {
    const name = (id) => index.pairNames[id];
    return element("button", { type: "button", className: "chip", id: "pair",
      textContent: `of ${name(state.pair[0])} predicted as ${name(state.pair[1])} ✕`,
      onclick: () => choosePair(null) });
  };

  /* Before a link to a class or pair is followed: any other filter would hide some of its images. */
  const clearFilters = () => {
    Object.assign(state, { chosen: {}, text: "", pair: null });
    document.querySelectorAll("#tools [data-filter]").forEach((tool) => { tool.value = ""; });
  };

  const choosePair = (pair) => {
    if (pair) clearFilters();
    state.pair = pair;
    showItems();
    if (pair) byId("gallery").scrollIntoView();
  };

  const addWhenSeen = () => {
    new IntersectionObserver(([entry]) => entry.isIntersecting && addItems(), { rootMargin: "800px" })
      .observe(byId("more"));
    byId("more").onclick = addItems;
  };

  /* --- gallery: tools and legend --------------------------------------------------------------------------------- */

  const MOST_KEYS = 24; // class colors in the legend

  const showKeys = () => {
    const key = (color, name) => element("span", {}, element("i", { style: `background: ${color}` }), name);
    const kinds = new Set(index.layers.filter(({ name }) => !state.view || name === state.view).map(({ kind }) => kind));
    const keys = [];
    if (kinds.has("heat")) {
      const scale = index.heat.filter((_, level) => level % 51 === 0).join(", ");
      keys.push(element("span", {}, element("i", { className: "heat", style: `background: linear-gradient(90deg, ${scale})` }), "score 0 to 1"));
    }
    overlapNames.filter((name) => occurring.has(name)).forEach((name) => keys.push(key(index.overlap[name], name)));
    if (index.colored) {
      const present = index.classes.map((_, position) => position).filter((position) => wanted.some((item) => hasClass(item, position)));
      present.slice(0, MOST_KEYS).forEach((position) => keys.push(key(index.colors[position + 1], index.classes[position])));
      if (present.length > MOST_KEYS) keys.push(element("span", {}, `and ${present.length - MOST_KEYS} more classes`));
    }
    byId("keys").replaceChildren(...keys);
  };

  const select = (title, options, changed) => {
    const chooser = element("select", { onchange: () => changed(chooser.value) },
      ...options.map(([value, name]) => element("option", { value, textContent: name })));
    chooser.dataset.tool = title;
    return element("label", {}, title, chooser);
  };

  const filter = (title, name, options) => {
    const label = select(title, [["", "all"], ...options], (value) => {
      state.chosen[name] = value;
      showItems();
    });
    label.querySelector("select").dataset.filter = name;
    return label;
  };

  const present = (key) => Object.keys(index[key] ?? {}).filter((name) => index.items.some((item) => item[key].includes(name)));

  const makeTools = () => {
    const classes = index.classes.map((name, position) => [String(position), name])
      .filter(([position]) => index.items.some((item) => hasClass(item, Number(position))));
    const kinds = present("kinds").map((name) => [name, index.kinds[name]]);
    const tools = [
      select("show", [["", "all layers"], ...index.layers.map(({ name, title }) => [name, title])], (value) => {
        state.view = value;
        showItems();
      }),
      select("sort", index.sorts.map(({ title }, place) => [String(place), title]), (value) => {
        state.sort = value;
        showItems();
      }),
    ];
    if (classes.length > 1) tools.push(filter("class", "class", classes));
    if (kinds.length) tools.push(filter(index.kindsTitle, "kind", [...kinds, ["none", "none of these"]]));
    if (index.splits.length > 1) tools.push(filter("split", "split", index.splits.map((name) => [name, name])));
    const search = element("input", { type: "search", placeholder: "image id", oninput: () => {
      state.text = search.value;
      showItems();
    } });
    search.dataset.filter = "id";
    tools.push(element("label", {}, "find", search));
    if (index.threshold !== null) tools.push(slider());
    byId("tools").append(...tools);
    byId("tools").onsubmit = (event) => event.preventDefault();
  };

  const sliders = []; // one among the tools, one in the viewer: they move together

  const slider = () => {
    const range = element("input", { type: "range", min: 0, max: 255, value: state.threshold, ariaLabel: "threshold",
      oninput: () => moveThreshold(Number(range.value)) });
    const text = element("span");
    const pooled = element("span", { className: "pooled" });
    const [name, title] = index.iou ? ["best", "back to the best threshold"] : ["back", "back to the first threshold"];
    const reset = element("button", { type: "button", textContent: name, title,
      onclick: () => moveThreshold(index.threshold) });
    sliders.push({ range, text, pooled });
    tellThreshold();
    return element("label", { className: "wide" }, text, element("span", {}, range, " ", reset), pooled);
  };

  const tellThreshold = () => {
    for (const { range, text, pooled } of sliders) {
      range.value = state.threshold;
      const known = index.iou && state.threshold === index.threshold ? ", the best one" : "";
      text.textContent = `threshold t = ${state.threshold}${known}`;
      pooled.textContent = index.pooled ? `IoU of all val images, pooled: ${score(index.pooled[state.threshold])}` : "";
    }
  };

  let frame = 0;
  const moveThreshold = (value) => {
    state.threshold = value;
    tellThreshold();
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      for (const node of byId("items").children) node.card.paint(followsThreshold);
      viewer.paint();
    });
  };

  /* --- gallery: one image in full size --------------------------------------------------------------------------- */

  const viewer = {
    item: null, pixels: null, name: "",

    async open(item, name) {
      Object.assign(this, { item, name, pixels: null });
      this.make();
      const box = byId("viewer");
      if (!box.open) box.showModal();
      const pixels = await loadItem(item).catch(() => null); // the item on the page says what is missing
      if (pixels && this.item === item) {
        this.pixels = pixels;
        this.paint();
      }
    },

    make() {
      this.canvas = element("canvas", { width: this.item.size[0], height: this.item.size[1], role: "img" });
      const step = (by) => () => this.step(by);
      const button = (text, onclick, title = "") => element("button", { type: "button", textContent: text, onclick, title });
      this.tabs = shownLayers(this.item).map((layer) => {
        const tab = button(layer.title, () => this.choose(layer.name));
        tab.dataset.layer = layer.name;
        return tab;
      });
      this.header = header(this.item);
      sliders.splice(1);
      byId("viewer").replaceChildren(
        element("div", { className: "row" }, button("◀", step(-1), "previous image"), button("▶", step(1), "next image"),
          element("span", { className: "grow" }), button("close", () => byId("viewer").close())),
        this.header.node,
        element("div", { className: "row" }, ...this.tabs),
        this.canvas,
        element("div", { className: "facts" }, ...(index.threshold === null ? [] : [slider()]), ...this.facts()));
      this.mark();
    },

    facts() {
      const size = `${this.item.size[0]} × ${this.item.size[1]} pixels${this.item.full ? "" : ", smaller than the image"}`;
      return [...Object.entries(this.item.numbers).filter(([, value]) => value !== null)
        .map(([key, value]) => `${index.numbers[key] ?? key} ${score(value)}`), size]
        .map((text) => element("span", { textContent: text }));
    },

    choose(name) {
      this.name = name;
      this.mark();
      this.paint();
    },

    mark() {
      this.tabs.forEach((tab) => tab.setAttribute("aria-pressed", String(tab.dataset.layer === this.name)));
      this.canvas.ariaLabel = `${layers[this.name].title} of ${this.item.id}`;
    },

    paint() {
      if (!this.pixels || !byId("viewer").open) return;
      draw(this.canvas, this.pixels, layers[this.name]);
      const { value, about } = valueAt(this.item, this.pixels);
      this.header.value.textContent = score(value);
      this.header.about.textContent = `${index.headlineTitle}${about ? `, ${about}` : ""}`;
    },

    step(by) {
      const next = wanted[wanted.indexOf(this.item) + by];
      if (next) this.open(next, next.layers.includes(this.name) ? this.name : next.layers[0]);
    },
  };

  const openLinks = () => {
    document.addEventListener("click", (event) => {
      const link = event.target.closest("[data-pair], [data-class]");
      if (!link || !index) return;
      if (link.dataset.pair) choosePair(link.dataset.pair.split(",").map(Number));
      else chooseClass(link.dataset.class);
    });
    document.addEventListener("keydown", (event) => {
      if (!byId("viewer")?.open || event.target.type === "range") return;
      if (event.key === "ArrowLeft") viewer.step(-1);
      if (event.key === "ArrowRight") viewer.step(1);
    });
  };

  const chooseClass = (position) => {
    const chooser = document.querySelector('[data-tool="class"]');
    if (!chooser) return;
    clearFilters();
    chooser.value = position;
    state.chosen.class = position;
    showItems();
  };

  /* --------------------------------------------------------------------------------------------------------------- */

  if (window.vegaEmbed) drawCharts();
  makeSortable();
  openLinks();
  if (index) {
    makeTools();
    showItems();
    addWhenSeen();
  }
})();
