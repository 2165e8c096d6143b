/** What the network sees in a picture, layer by layer. */

import { get, status, thumbnail, withQuery } from "./api.js";
import { choosePicture, someOthers } from "./choose-picture.js";
import { announce, basename, button, complain, counted, empty, failure, h, icon, number } from "./dom.js";
import { explain } from "./explain-view.js";
import { blockOf, layerWords, shapeWords, shortName } from "./layer-words.js";
import { go, href } from "./router.js";
import { invitation, pickFiles, takeFiles, uploaded } from "./uploads.js";

const FIRST = 12; // maps
const MORE = 24;
const SAMPLES = 12;

const address = (term) => (term.upload ? ["/layers/" + term.upload, { upload: "yes" }] : ["/layers/" + term.picture]);

async function take(files) {
  const [term] = await uploaded(files.slice(0, 1));
  if (term) go(...address(term));
}

async function begin(main, signal) {
  const place = h("div", { class: "begin" }, h("h1", null, "What the network sees"));
  main.append(place);
  const { pictures: count } = await status();
  const pictures = count ? await someOthers(SAMPLES, signal) : [];
  place.append(
    h("button", { type: "button", class: "drop", onclick: () => pickFiles(take) }, icon("upload"), h("strong", null, invitation), h("span", null, "It is looked at layer by layer, and not kept")),
    count ? h("h2", null, `Or take one of ${number(count)}`) : empty({ icon: "library", title: "The library is empty", text: "A picture of yours will do." }),
    h("ul", { class: "samples" }, pictures.map((one) => h("li", null, h("a", { href: href(`/layers/${one.id}`), "aria-label": basename(one.paths[0]) }, h("img", { class: "picture", src: thumbnail(one.id), alt: "" }))))),
  );
}

class Layers {
  constructor(main, { params, query, signal }) {
    const upload = query.get("upload") === "yes";
    Object.assign(this, { main, signal, id: params.id, upload, query });
    this.base = `/v1/${upload ? "uploads" : "pictures"}/${params.id}`;
    this.told = h("p", { class: "layer-told" });
    this.shape = h("span", { class: "count" });
    this.over = h("img", { class: "over-picture", alt: "" });
    this.caption = h("figcaption");
    this.back = button("All maps together", () => this.#together(), { class: "small", hidden: true });
    this.maps = h("ul", { class: "maps" });
    this.more = button("Show more", () => this.#more(MORE), { hidden: true });
    this.sheet = h("a", { class: "button quiet", download: "" }, icon("external"), h("span", null, "As one sheet"));
    this.compared = h("section", { class: "compared", "aria-labelledby": "compared-title", hidden: true });
  }

  async begin() {
    const { signal } = this;
    const head = h("div", { class: "head" }, h("h1", null, "What the network sees"));
    this.main.append(head);
    const [network, item] = await Promise.all([get("/v1/layers", { signal }), this.upload ? { paths: [], width: 1, height: 1 } : get(`/v1/pictures/${this.id}`, { signal })]);
    Object.assign(this, { network, item });
    const name = this.upload ? "your picture" : basename(item.paths[0] ?? this.id);
    document.title = `${name} · Layers · imgindex`;
    const source = `${this.base}/thumbnail/large`;
    this.picture = h("img", { class: "seen-picture", src: source, alt: name, onload: () => frame.style.setProperty("--ratio", this.picture.naturalWidth / this.picture.naturalHeight) });
    const mix = h("input", { type: "range", min: 0, max: 100, value: 100, "aria-label": "From the picture to the maps", oninput: () => (this.over.style.opacity = mix.value / 100) });
    const frame = h(
      "figure",
      { class: "seen-frame", style: { "--ratio": this.item.width / this.item.height } },
      h("div", { class: "seen-pair" }, h("img", { class: "seen-plain", src: source, alt: "" }), h("div", { class: "seen-both" }, this.picture, this.over)),
      h("div", { class: "mix" }, h("span", { class: "count" }, "Picture"), mix, h("span", { class: "count" }, "Maps")),
      h("div", { class: "bar" }, this.caption, this.back),
    );
    head.append(h("span", { class: "count" }, `in ${name}, by ${network.model}`), h("div", { class: "bar push" }, this.upload ? null : button("Compare with…", () => this.#compare(), { icon: "duplicates" }), button("Another picture", () => go("/layers"), { icon: "layers" })));
    this.main.append(
      this.#strip(),
      h("div", { class: "layer-line" }, this.told, this.shape),
      h(
        "div",
        { class: "seen" },
        frame,
        h("section", { "aria-labelledby": "maps-title" }, h("div", { class: "head" }, h("h2", { id: "maps-title" }, "The strongest maps"), h("div", { class: "push" }, this.sheet)), this.maps, h("div", { class: "bar centred more" }, this.more)),
      ),
      this.compared,
    );
    takeFiles(take, signal);
    await this.turn(this.query);
  }

  /** The query of the address has changed. */
  async turn(query) {
    this.query = query;
    const { layers, blocks } = this.network;
    const name = query.get("layer") ?? blocks?.at(-1) ?? layers.at(-1).name;
    const layer = layers.find((one) => one.name === name) ?? layers.at(-1);
    if (layer !== this.layer) await this.#see(layer);
    const other = query.get("with");
    if (other !== this.other) {
      this.other = other;
      this.#explain();
    }
  }

  // The network as it is built: a bar a layer, as high as its maps are fine.
  #strip() {
    const { layers } = this.network;
    const finest = Math.max(...layers.map((layer) => layer.height));
    const bars = layers.map((layer) =>
      h(
        "button",
        {
          type: "button",
          role: "radio",
          class: `layer${layer.convolution === null ? " pool" : ""}`,
          "aria-checked": "false",
          tabindex: -1,
          "aria-label": `${layer.name}, ${shapeWords(layer)}`,
          title: layer.name,
          dataset: { name: layer.name },
          style: { "--height": Math.sqrt(layer.height / finest), "--width": Math.log2(layer.channels) },
          onclick: () => this.#choose(layer.name),
        },
        h("span", { class: "bar-of" }),
        h("span", { class: "layer-name" }, shortName(layer.name)),
      ),
    );
    const numbers = [...new Set(layers.map((layer) => blockOf(layer.name)))];
    this.strip = h(
      "div",
      { class: "layer-strip", role: "radiogroup", "aria-label": "Layer", onkeydown: (event) => this.#key(event) },
      numbers.map((block) => h("div", { class: "block", role: "presentation" }, bars.filter((_, at) => blockOf(layers[at].name) === block))),
    );
    return this.strip;
  }

  #key(event) {
    const { layers } = this.network;
    const at = layers.indexOf(this.layer);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: layers.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (layers[to]) this.#choose(layers[to].name);
  }

  #choose(layer) {
    this.focus = true;
    const query = new URLSearchParams(this.query);
    query.set("layer", layer);
    go(`/layers/${this.id}`, query, { replace: true });
  }

  async #see(layer) {
    this.layer = layer;
    this.looking?.abort();
    this.looking = new AbortController();
    const signal = AbortSignal.any([this.signal, this.looking.signal]);
    for (const bar of this.strip.querySelectorAll('[role="radio"]')) {
      const on = bar.dataset.name === layer.name;
      bar.setAttribute("aria-checked", String(on));
      bar.tabIndex = on ? 0 : -1;
      if (!on) continue;
      if (this.focus) bar.focus({ preventScroll: true });
      bar.scrollIntoView({ block: "nearest", inline: "center" });
    }
    this.focus = false;
    this.told.textContent = layerWords(layer, this.network.model);
    this.shape.textContent = shapeWords(layer);
    this.sheet.href = withQuery(`${this.base}/features/${layer.name}/sheet`, { top: FIRST });
    this.over.classList.remove("here");
    this.maps.replaceChildren();
    this.maps.setAttribute("aria-busy", "true");
    this.more.hidden = true;
    try {
      const features = await get(`${this.base}/features`, { query: { layer: layer.name }, signal });
      this.channels = features.channels;
      this.frame = features.frame;
      this.#together();
      this.#more(FIRST);
    } catch (error) {
      if (!signal.aborted) this.maps.replaceChildren(h("li", { class: "whole-row" }, failure(error, () => this.#see(layer))));
    } finally {
      if (!signal.aborted) this.maps.removeAttribute("aria-busy");
    }
  }

  #more(count) {
    const shown = this.maps.children.length;
    const next = this.channels.slice(shown, shown + count);
    this.maps.append(
      ...next.map(({ channel: index, mean, max }) =>
        h(
          "li",
          null,
          h("button", { type: "button", class: "map", "aria-pressed": "false", "aria-label": `Map ${index}, mean ${mean.toFixed(2)}, largest ${max.toFixed(2)}. Lay it over the picture`, onclick: (event) => this.#one(index, event.currentTarget) }, h("img", { src: this.#mapOf(index), alt: "", loading: "lazy", decoding: "async" })),
          h("span", { class: "count" }, h("span", null, index), h("span", null, mean.toPrecision(2))),
        ),
      ),
    );
    this.more.hidden = this.maps.children.length >= this.channels.length;
  }

  #mapOf(index) {
    return `${this.base}/features/${this.layer.name}/maps/${index}`;
  }

  #over(source, said) {
    this.over.classList.remove("here");
    this.over.onload = () => this.over.classList.add("here");
    this.over.src = source;
    this.caption.textContent = said;
  }

  #together() {
    this.back.hidden = true;
    this.#place(null);
    for (const map of this.maps.querySelectorAll("[aria-pressed=true]")) map.setAttribute("aria-pressed", "false");
    this.#over(`${this.base}/features/${this.layer.name}/overlay`, `Bright is where the ${counted(this.layer.channels, "map")} of ${this.layer.name} answer most, on average.`);
  }

  #one(index, chosen) {
    const again = chosen.getAttribute("aria-pressed") === "true";
    this.#together();
    if (again) return;
    chosen.setAttribute("aria-pressed", "true");
    this.back.hidden = false;
    this.#place(this.frame);
    this.#over(this.#mapOf(index), `Bright is where map ${index} of ${this.layer.name} answers.`);
    announce(this.caption.textContent);
  }

  // A map shows the square that the network reads, which need not be all of the picture.
  #place(frame) {
    const { style, classList } = this.over;
    classList.toggle("one", Boolean(frame));
    const [left, top, right, bottom] = frame?.square ?? [0, 0, 1, 1];
    const { width, height } = frame ?? { width: 1, height: 1 };
    Object.assign(style, { left: `${(100 * left) / width}%`, top: `${(100 * top) / height}%`, width: `${(100 * (right - left)) / width}%`, height: `${(100 * (bottom - top)) / height}%` });
  }

  async #compare() {
    const other = await choosePicture("Compare with", this.id);
    if (!other) return;
    const query = new URLSearchParams(this.query);
    query.set("with", other);
    go(`/layers/${this.id}`, query, { replace: true });
  }

  async #explain() {
    this.compared.hidden = !this.other;
    if (!this.other) {
      this.compared.replaceChildren();
      return;
    }
    const place = h("div", { class: "stack" });
    const leave = button("Leave it", () => {
      const query = new URLSearchParams(this.query);
      query.delete("with");
      go(`/layers/${this.id}`, query, { replace: true });
    }, { icon: "close", class: "quiet push" });
    this.compared.replaceChildren(h("div", { class: "head" }, h("h2", { id: "compared-title" }, "What draws the two together"), leave), place);
    this.compared.scrollIntoView({ block: "start" });
    await explain(place, { a: this.id, b: this.other, signal: this.signal });
    this.compared.scrollIntoView({ block: "start" });
  }
}

/**
 * Show the layers of a picture or an upload, or let one be chosen.
 * @param {HTMLElement} main
 * @param {{params: {id?: string}, query: URLSearchParams, signal: AbortSignal}} context `upload=yes`:
 *   the id is of an upload; `layer`; `with`: the id of a picture to compare with
 */
export async function show(main, context) {
  main.classList.add("layers");
  if (!context.params.id) {
    takeFiles(take, context.signal);
    await begin(main, context.signal);
    return undefined;
  }
  const layers = new Layers(main, context);
  await layers.begin();
  return ({ query }) => layers.turn(query).catch(complain);
}
