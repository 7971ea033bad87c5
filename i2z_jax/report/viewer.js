// SPDX-License-Identifier: Apache-2.0
// A glTF face in a canvas: reads the GLB that stands in the page, plays its animation,
// turns with the pointer. Plain WebGL 1; only what report/gltf.py writes is understood.
"use strict";
(() => {
  const VERTEX = `
    attribute vec3 position; attribute vec2 uv;
    uniform mat4 view; varying vec2 at;
    void main() { at = uv; gl_Position = view * vec4(position, 1.0); }`;
  const FRAGMENT = `
    precision mediump float; varying vec2 at; uniform sampler2D skin;
    void main() { gl_FragColor = vec4(texture2D(skin, at).rgb, 1.0); }`;

  function readGlb(base64) {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const words = new DataView(bytes.buffer);
    const length = words.getUint32(12, true);
    const json = JSON.parse(new TextDecoder().decode(bytes.subarray(20, 20 + length)));
    const start = 20 + length + 8;
    const view = (i) => {
      const v = json.bufferViews[i];
      return [start + (v.byteOffset || 0), v.byteLength];
    };
    const array = (i) => {
      const a = json.accessors[i];
      const [at, size] = view(a.bufferView);
      const Type = a.componentType === 5125 ? Uint32Array : Float32Array;
      return new Type(bytes.buffer, at, size / 4);
    };
    const picture = () => {
      const [at, size] = view(json.images[0].bufferView);
      return new Blob([bytes.subarray(at, at + size)], { type: json.images[0].mimeType });
    };
    return { json, array, picture };
  }

  function readFace(base64) {
    const { json, array, picture } = readGlb(base64);
    const primitive = json.meshes[0].primitives[0];
    const animation = json.animations[0];
    const face = {
      base: array(primitive.attributes.POSITION),
      uv: array(primitive.attributes.TEXCOORD_0),
      indices: array(primitive.indices),
      targets: (primitive.targets || []).map((t) => array(t.POSITION)),
      times: array(animation.samplers[0].input),
      picture: picture(),
    };
    for (const channel of animation.channels) {
      face[channel.target.path] = array(animation.samplers[channel.sampler].output);
    }
    const bounds = json.accessors[primitive.attributes.POSITION];
    face.middle = bounds.min.map((low, i) => (low + bounds.max[i]) / 2);
    face.radius = Math.hypot(...bounds.min.map((low, i) => bounds.max[i] - low)) / 2;
    return face;
  }

  // Values at a time, linear between keys; `size` numbers a key.
  function at(face, values, size, time, out) {
    const keys = face.times;
    let next = 0, high = keys.length - 1;
    while (next < high) {
      const mid = (next + high) >> 1;
      if (keys[mid] < time) next = mid + 1; else high = mid;
    }
    const last = Math.max(next - 1, 0);
    const span = keys[next] - keys[last];
    const share = span > 0 ? Math.min(Math.max((time - keys[last]) / span, 0), 1) : 0;
    for (let i = 0; i < size; i++) {
      const a = values[last * size + i], b = values[next * size + i];
      out[i] = a + share * (b - a);
    }
    return out;
  }

  function morph(face, weights, out) {
    out.set(face.base);
    face.targets.forEach((target, k) => {
      const w = weights[k];
      if (Math.abs(w) < 1e-4) return;
      for (let i = 0; i < out.length; i++) out[i] += w * target[i];
    });
  }

  // Column-major rotation of a quaternion x y z w.
  function turned([x, y, z, w]) {
    const n = Math.hypot(x, y, z, w) || 1;
    x /= n; y /= n; z /= n; w /= n;
    return [
      1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w),
      2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w),
      2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y),
    ];
  }

  function times3(a, b) {
    const out = new Array(9).fill(0);
    for (let c = 0; c < 3; c++) for (let r = 0; r < 3; r++) for (let k = 0; k < 3; k++) {
      out[c * 3 + r] += a[k * 3 + r] * b[c * 3 + k];
    }
    return out;
  }

  // Orthographic: the head's middle in the middle, its radius across 85 % of the view.
  function viewMatrix(face, rotation, aspect) {
    const s = 0.85 / face.radius, m = face.middle, r = rotation;
    const scale = [s / Math.max(aspect, 1), s * Math.min(aspect, 1), -s * 0.5];
    const out = new Float32Array(16);
    for (let c = 0; c < 3; c++) for (let row = 0; row < 3; row++) {
      out[c * 4 + row] = scale[row] * r[c * 3 + row];
    }
    for (let row = 0; row < 3; row++) {
      out[12 + row] = -(out[row] * m[0] + out[4 + row] * m[1] + out[8 + row] * m[2]);
    }
    out[15] = 1;
    return out;
  }

  function program(gl) {
    const made = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
    gl.useProgram(made);
    return made;
  }

  function attribute(gl, made, name, size, data, usage) {
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, data, usage);
    const place = gl.getAttribLocation(made, name);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, gl.FLOAT, false, 0, 0);
    return buffer;
  }

  // How many sampled pixels are not background: 0 would mean nothing was drawn.
  function drawnShare(gl) {
    const { drawingBufferWidth: w, drawingBufferHeight: h } = gl;
    const pixels = new Uint8Array(4 * w * h);
    gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    let drawn = 0;
    for (let i = 3; i < pixels.length; i += 4) drawn += pixels[i] > 0;
    return drawn / (w * h);
  }

  async function show(figure) {
    const canvas = figure.querySelector("canvas");
    const gl = canvas.getContext("webgl", { antialias: true, premultipliedAlpha: true });
    if (!gl || !gl.getExtension("OES_element_index_uint")) {
      figure.querySelector(".remark").textContent = "This browser has no WebGL: no 3D view.";
      canvas.dataset.drawn = "no webgl";
      return;
    }
    const face = readFace(figure.querySelector("script").textContent.trim());
    const picture = await createImageBitmap(face.picture);
    const made = program(gl);
    const points = new Float32Array(face.base.length);
    const positions = attribute(gl, made, "position", 3, points, gl.DYNAMIC_DRAW);
    attribute(gl, made, "uv", 2, face.uv, gl.STATIC_DRAW);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, face.indices, gl.STATIC_DRAW);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, picture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.enable(gl.DEPTH_TEST);

    const place = gl.getUniformLocation(made, "view");
    const weights = new Array(face.targets.length).fill(0), quaternion = [0, 0, 0, 1];
    const length = face.times[face.times.length - 1];
    const play = figure.querySelector("[name=play]"), seek = figure.querySelector("[name=time]");
    const tracked = figure.querySelector("[name=tracked]");
    let yaw = 0.5, pitch = 0.1, held = null, time = 0, before = null, turning = true;

    function draw(now) {
      const step = before === null ? 0 : Math.min((now - before) / 1000, 0.1);
      before = now;
      if (play.checked && length > 0) {
        time = (time + step) % length;
        seek.value = time / length;
      } else if (length > 0) {
        time = seek.value * length;
      }
      if (turning && !tracked.checked && !held) yaw = 0.6 * Math.sin(now / 1800);
      if (face.weights) at(face, face.weights, weights.length, time, weights);
      morph(face, weights, points);
      let rotation = times3(turned([Math.sin(pitch / 2), 0, 0, Math.cos(pitch / 2)]),
        turned([0, Math.sin(yaw / 2), 0, Math.cos(yaw / 2)]));
      if (tracked.checked) rotation = turned(at(face, face.rotation, 4, time, quaternion));
      const ratio = window.devicePixelRatio || 1;
      const w = Math.round(canvas.clientWidth * ratio), h = Math.round(canvas.clientHeight * ratio);
      if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
      gl.viewport(0, 0, w, h);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.bindBuffer(gl.ARRAY_BUFFER, positions);
      gl.bufferSubData(gl.ARRAY_BUFFER, 0, points);
      gl.uniformMatrix4fv(place, false, viewMatrix(face, rotation, w / h));
      gl.drawElements(gl.TRIANGLES, face.indices.length, gl.UNSIGNED_INT, 0);
      if (!canvas.dataset.drawn) canvas.dataset.drawn = drawnShare(gl).toFixed(4);
      requestAnimationFrame(draw);
    }

    canvas.addEventListener("pointerdown", (e) => {
      held = [e.clientX, e.clientY]; turning = false; tracked.checked = false;
      canvas.setPointerCapture(e.pointerId);
    });
    canvas.addEventListener("pointermove", (e) => {
      if (!held) return;
      yaw += (e.clientX - held[0]) / 150; pitch += (e.clientY - held[1]) / 150;
      held = [e.clientX, e.clientY];
    });
    canvas.addEventListener("pointerup", () => { held = null; });
    seek.addEventListener("input", () => { play.checked = false; });
    requestAnimationFrame(draw);
  }

  for (const figure of document.querySelectorAll("figure.head3d")) {
    show(figure).catch((error) => {
      figure.querySelector(".remark").textContent = `3D view: ${error.message}`;
      console.error(error);
    });
  }
})();
