/** The map's drawing with WebGL 2: dots in one call, thumbnails in one a sheet. */

const WIDE = 256; // of the palette's texture
const FLOATS = 12; // of a thumbnail
const AIR = 5; // px around a thumbnail, for its shadow

const DOTS = [
  `#version 300 es
  layout(location = 0) in vec2 place;
  layout(location = 1) in float strength;
  layout(location = 2) in uint group;
  layout(location = 3) in uint mark;
  uniform vec4 view; // scale and shift to the window's unit square
  uniform vec4 look; // diameter, opacity, ring, opacity of what is not marked
  uniform sampler2D palette;
  uniform vec3 accent;
  out vec4 colour;
  flat out float radius;
  void main() {
    vec4 own = texelFetch(palette, ivec2(int(group) % ${WIDE}, int(group) / ${WIDE}), 0);
    bool marked = mark != 0u;
    float size = look.x * mix(.72, 1., sqrt(strength)) + (marked ? look.z : 0.);
    colour = vec4(marked ? accent : own.rgb, marked ? 1. : own.a * look.y * look.w);
    radius = max(size, 1.) / 2.;
    gl_PointSize = 2. * radius + 1.;
    gl_Position = vec4(place * view.xy + view.zw, 0., 1.);
  }`,
  `#version 300 es
  precision mediump float;
  in vec4 colour;
  flat in float radius;
  out vec4 drawn;
  void main() {
    float far = length(gl_PointCoord - .5) * (2. * radius + 1.);
    float cover = clamp(radius + .5 - far, 0., 1.) * colour.a;
    drawn = vec4(colour.rgb * cover, cover);
  }`,
];

const PICTURES = [
  `#version 300 es
  layout(location = 0) in vec4 box; // middle and half sides, in pixels
  layout(location = 1) in vec4 part; // of the sheet: its corner and its sides
  layout(location = 2) in vec4 frame; // colour in one number, opacity, border in pixels, how much of it is left
  uniform vec2 window;
  uniform float air;
  out vec2 at;
  out vec2 spot;
  flat out vec2 sides;
  flat out vec4 edge;
  flat out vec4 limits;
  flat out float border;
  flat out float left;
  void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2. - 1.;
    at = corner * (box.zw + air);
    spot = part.xy + part.zw * (.5 + .5 * at / box.zw);
    limits = vec4(part.xy, part.xy + part.zw);
    sides = box.zw;
    edge = vec4(mod(floor(frame.x / vec3(65536., 256., 1.)), 256.) / 255., frame.y);
    border = frame.z;
    left = frame.w;
    gl_Position = vec4((box.xy + at) / window * vec2(2., -2.) + vec2(-1., 1.), 0., 1.);
  }`,
  `#version 300 es
  precision highp float;
  in vec2 at;
  in vec2 spot;
  flat in vec2 sides;
  flat in vec4 edge;
  flat in vec4 limits;
  flat in float border;
  flat in float left;
  uniform sampler2D sheet;
  uniform vec3 look; // rounding, shadow's reach and darkness
  uniform vec3 paper;
  out vec4 drawn;
  float outside(vec2 half_, float round_, vec2 place) {
    vec2 away = abs(place) - half_ + round_;
    return length(max(away, 0.)) + min(max(away.x, away.y), 0.) - round_;
  }
  void main() {
    float far = outside(sides, look.x, at);
    vec2 half_ = .5 / vec2(textureSize(sheet, 0));
    vec3 picture = texture(sheet, clamp(spot, limits.xy + half_, limits.zw - half_)).rgb;
    vec3 colour = mix(paper, mix(picture, edge.rgb, clamp(far + border + .5, 0., 1.)), left);
    float cover = clamp(.5 - far, 0., 1.);
    float shadow = left * look.z * (1. - cover) * exp(-max(far, 0.) * max(far, 0.) / (look.y * look.y));
    drawn = vec4(colour * cover, cover + shadow) * edge.a;
  }`,
];

/** Draws on one canvas. Throws where there is no WebGL 2. */
export class Drawing {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false, powerPreference: "high-performance" });
    if (!gl) throw new Error("no WebGL 2");
    this.gl = gl;
    this.canvas = canvas;
    this.begin();
  }

  /** Make all that lives in the graphics card; again after its context was lost. */
  begin() {
    const { gl } = this;
    this.dots = program(gl, DOTS);
    this.pictures = program(gl, PICTURES);
    this.palette = gl.createTexture();
    this.places = gl.createBuffer();
    this.groups = gl.createBuffer();
    this.marks = gl.createBuffer();
    this.boxes = gl.createBuffer();
    this.count = 0;
    this.room = 0;
    this.#describe();
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  #describe() {
    const { gl } = this;
    this.dotArray = gl.createVertexArray();
    gl.bindVertexArray(this.dotArray);
    for (const at of [0, 1, 2, 3]) gl.enableVertexAttribArray(at);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.places);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 12, 0);
    gl.vertexAttribPointer(1, 1, gl.FLOAT, false, 12, 8);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.groups);
    gl.vertexAttribIPointer(2, 1, gl.UNSIGNED_SHORT, 2, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.marks);
    gl.vertexAttribIPointer(3, 1, gl.UNSIGNED_BYTE, 1, 0);
    this.pictureArray = gl.createVertexArray();
    gl.bindVertexArray(this.pictureArray);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.boxes);
    for (const at of [0, 1, 2]) {
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, 4, gl.FLOAT, false, 4 * FLOATS, 16 * at);
      gl.vertexAttribDivisor(at, 1);
    }
    gl.bindVertexArray(null);
  }

  /**
   * What lies where; the last one in order is drawn first, those without a group below all.
   * @param {import("./map-points.js").Points} points
   * @param {number} none the place of "no group" in the palette
   */
  setPoints(points, none) {
    const { gl } = this, { count } = points;
    const order = new Uint32Array(count);
    let next = 0;
    for (const bare of [true, false]) for (let at = count - 1; at >= 0; at--) if ((points.group[at] === none) === bare) order[next++] = at;
    const places = new Float32Array(3 * count), groups = new Uint16Array(count);
    for (let slot = 0; slot < count; slot++) {
      const at = order[slot];
      places[3 * slot] = points.x[at];
      places[3 * slot + 1] = points.y[at];
      places[3 * slot + 2] = points.group[at] === none ? 0.35 : Math.max(0, Math.min(1, points.strength[at]));
      groups[slot] = points.group[at];
    }
    this.order = order;
    this.count = count;
    for (const [buffer, data] of [[this.places, places], [this.groups, groups], [this.marks, new Uint8Array(count)]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    }
  }

  /** Which pictures are marked: one byte each. */
  setMarks(marks) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.marks);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, Uint8Array.from(this.order, (at) => marks[at]));
  }

  /** The groups' colours and opacities: four bytes each. */
  setPalette(colours) {
    const { gl } = this, rows = Math.max(1, Math.ceil(colours.length / 4 / WIDE));
    const texels = new Uint8Array(4 * WIDE * rows);
    texels.set(colours);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, WIDE, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }

  /** An empty sheet for thumbnails, so many pixels wide and high. */
  sheet(side) {
    const { gl } = this, texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGB8, side, side);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.LINEAR);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    return texture;
  }

  /** Put a picture on a sheet. */
  paste(texture, x, y, bitmap) {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, x, y, gl.RGB, gl.UNSIGNED_BYTE, bitmap);
  }

  /** Clear the window with a colour [r, g, b] of 0 to 1. */
  clear(colour) {
    const { gl, canvas } = this;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(...colour, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  /**
   * Draw all dots.
   * @param {import("./map-camera.js").Camera} camera
   * @param {{size: number, opacity: number, ring: number, rest: number, accent: number[]}} look
   *   diameters in the canvas's pixels; `rest`: opacity of what is not marked
   */
  drawDots(camera, { size, opacity, ring, rest, accent }) {
    if (!this.count) return;
    const { gl, dots } = this, { scale, x, y, width, height } = camera;
    gl.useProgram(dots.program);
    gl.bindVertexArray(this.dotArray);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    gl.uniform1i(dots.at.palette, 0);
    gl.uniform4f(dots.at.view, (2 * scale) / width, (-2 * scale) / height, (2 * x) / width - 1, 1 - (2 * y) / height);
    gl.uniform4f(dots.at.look, size, opacity, ring, rest);
    gl.uniform3fv(dots.at.accent, accent);
    gl.drawArrays(gl.POINTS, 0, this.count);
  }

  /**
   * Draw thumbnails of one sheet.
   * @param {WebGLTexture} texture
   * @param {Float32Array} boxes twelve numbers each: middle, half sides (canvas's pixels), part of
   *   the sheet (0 to 1), colour of the frame (0xrrggbb), opacity, border in
   *   pixels, how much is left of it
   * @param {number} count
   * @param {{round: number, shadow: number, dark: number, paper: number[]}} look
   */
  drawPictures(texture, boxes, count, { round, shadow, dark, paper }) {
    const { gl, pictures, canvas } = this;
    gl.useProgram(pictures.program);
    gl.bindVertexArray(this.pictureArray);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.uniform1i(pictures.at.sheet, 0);
    gl.uniform2f(pictures.at.window, canvas.width, canvas.height);
    gl.uniform1f(pictures.at.air, AIR + shadow);
    gl.uniform3f(pictures.at.look, round, shadow, dark);
    gl.uniform3fv(pictures.at.paper, paper);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.boxes);
    if (this.room < boxes.length) {
      this.room = boxes.length;
      gl.bufferData(gl.ARRAY_BUFFER, 4 * boxes.length, gl.DYNAMIC_DRAW);
    }
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, boxes, 0, FLOATS * count);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
  }

  /** Give the graphics card's memory back. */
  end() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

function program(gl, sources) {
  const made = gl.createProgram();
  [gl.VERTEX_SHADER, gl.FRAGMENT_SHADER].forEach((kind, at) => {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, sources[at]);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  });
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(made) || "a shader does not compile");
  const at = {};
  for (let index = 0, count = gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS) ?? 0; index < count; index++) {
    const { name } = gl.getActiveUniform(made, index);
    at[name] = gl.getUniformLocation(made, name);
  }
  return { program: made, at };
}
