// Connects the controls of the viewer section with NiiVue. The markup comes from viewer.py, the data from scene.py.
(async () => {
  "use strict";
  const find = (id) => document.getElementById(id);
  const scene = JSON.parse(find("scene").textContent);
  const background = [0.063, 0.078, 0.106, 1]; // as in the pictures of the page
  const common = {
    backColor: background, fontColor: [0.91, 0.93, 0.95, 1], isRadiologicalConvention: true,
    loadingText: "", logLevel: "error", dragAndDropEnabled: false,
  };
  const { Niivue, NVImage, NVMesh } = globalThis.niivue;

  function bytes(base64) {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;
  }

  async function attached(id, options) {
    const canvas = find(id);
    const viewer = new Niivue({ ...common, ...options });
    await viewer.attachToCanvas(canvas, true);
    canvas.parentElement.style.backgroundColor = "";
    return viewer;
  }

  // NiiVue has keys of its own, some of which change what the controls show. Ours are heard first and end there.
  function listen(id, actions) {
    const stage = find(id).parentElement;
    const hear = (event) => {
      event.stopPropagation();
      const action = event.type === "keydown" && !event.ctrlKey && !event.altKey && !event.metaKey && actions[event.key];
      if (action) {
        event.preventDefault();
        action();
      }
    };
    stage.addEventListener("keydown", hear, true);
    stage.addEventListener("keyup", hear, true);
  }

  function set(slider, value, words) {
    slider.value = value;
    slider.setAttribute("aria-valuetext", words);
    slider.nextElementSibling.textContent = words;
  }

  function move(slider, by) {
    slider.value = Number(slider.value) + by;
    slider.dispatchEvent(new Event("input"));
  }

  function whenTicked(kind, action) {
    for (const box of document.querySelectorAll(`[data-${kind}]`)) {
      box.addEventListener("change", () => action(Number(box.dataset[kind]), box.checked));
    }
  }

  async function showSurfaces() {
    const solid = await attached("solid", { sliceType: 4, isOrientCube: true });
    // What can be seen through is drawn last.
    const order = [...scene.surfaces.keys()].sort((a, b) => scene.surfaces[b].opacity - scene.surfaces[a].opacity);
    const meshes = [];
    for (const number of order) {
      const { mesh, name, colour, opacity, shown } = scene.surfaces[number];
      const colours = new Uint8Array([...colour, 255]);
      meshes[number] = await NVMesh.readMesh(bytes(mesh), `${name}.mz3`, solid.gl, opacity, colours, shown);
      solid.addMesh(meshes[number]);
    }
    whenTicked("surface", (number, ticked) => {
      meshes[number].visible = ticked;
      solid.drawScene();
    });
    turnable(solid);
  }

  function turnable(solid) {
    const [turn, tilt, zoom, spin] = ["turn", "tilt", "zoom", "spin"].map(find);
    let left = 0; // degrees to turn by itself
    let before = null;
    function view() {
      solid.setRenderAzimuthElevation(Number(turn.value), Number(tilt.value));
      solid.setScale(Number(zoom.value) / 100);
      tell();
    }
    function tell() {
      set(turn, turn.value, `${turn.value}°`);
      set(tilt, tilt.value, `${tilt.value}°`);
      set(zoom, zoom.value, `${zoom.value} %`);
    }
    function rest(degrees = 0) {
      left = degrees;
      before = null;
      spin.setAttribute("aria-pressed", String(degrees > 0));
      if (degrees) requestAnimationFrame(step);
    }
    function step(now) {
      if (!left) return;
      const degrees = before === null ? 0 : Math.min((now - before) * 0.03, left);
      if (before === null || degrees >= 1) {
        before = now;
        turn.value = (Number(turn.value) + Math.round(degrees)) % 360;
        left -= degrees;
        view();
      }
      if (left > 0.5) requestAnimationFrame(step);
      else rest();
    }
    function by(slider, amount) {
      rest();
      if (slider === turn) turn.value = (Number(turn.value) + amount + 360) % 360;
      else slider.value = Number(slider.value) + amount;
      view();
    }
    for (const slider of [turn, tilt, zoom]) slider.addEventListener("input", () => by(slider, 0));
    for (const button of document.querySelectorAll("[data-turn]")) {
      button.addEventListener("click", () => {
        [turn.value, tilt.value] = [button.dataset.turn, button.dataset.tilt];
        by(turn, 0);
      });
    }
    spin.addEventListener("click", () => rest(left ? 0 : Infinity));
    solid.canvas.addEventListener("pointerdown", () => rest());
    solid.onAzimuthElevationChange = (azimuth, elevation) => {
      turn.value = ((Math.round(azimuth) % 360) + 360) % 360;
      tilt.value = elevation;
      tell();
    };
    listen("solid", {
      ArrowLeft: () => by(turn, 355), ArrowRight: () => by(turn, 5), ArrowUp: () => by(tilt, 5), ArrowDown: () => by(tilt, -5),
      "+": () => by(zoom, 10), "=": () => by(zoom, 10), "-": () => by(zoom, -10),
    });
    view();
    // One turn shows that it can be turned; who has asked for little motion sees none.
    rest(matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 360);
  }

  async function showSlices() {
    const crosshair = { crosshairColor: [0.55, 0.6, 0.7, 1], crosshairWidthUnit: "percent", crosshairWidth: 0 };
    const slices = await attached("slices", { ...crosshair, sliceType: 0, multiplanarShowRender: 0 });
    slices.addVolume(await NVImage.new(bytes(scene.grey), "grey.nii.gz", "gray"));
    const classes = await NVImage.new(bytes(scene.classes), "classes.nii.gz", "gray");
    slices.addVolume(classes);
    const visible = [...scene.shown];
    function colour() {
      const [red, green, blue] = [0, 1, 2].map((part) => [0, ...scene.colours.map((one) => one[part])]);
      classes.setColormapLabel({ R: red, G: green, B: blue, A: [0, ...visible.map((shown) => (shown ? 255 : 0))], I: [...red.keys()], labels: ["", ...scene.names] });
      slices.updateGLVolume();
    }
    whenTicked("class", (number, ticked) => {
      visible[number] = ticked;
      colour();
    });
    const strength = find("strength");
    function blend() {
      slices.setOpacity(1, Number(strength.value) / 100);
      set(strength, strength.value, `${strength.value} %`);
    }
    strength.addEventListener("input", blend);
    colour();
    blend();
    scrollable(slices);
  }

  function scrollable(slices) {
    const planes = { axial: 0, coronal: 1, sagittal: 2, all: 3 }; // as NiiVue counts them
    const sliders = Object.keys(planes).slice(0, 3).map((plane) => find(`slice-${plane}`));
    const sizes = slices.volumes[0].dimsRAS.slice(1, 4);
    let current = sliders[0];
    function tell() {
      const place = slices.scene.crosshairPos;
      const mm = slices.frac2mm(place);
      for (const slider of sliders) {
        const axis = Number(slider.dataset.axis);
        const number = Math.min(Math.floor(place[axis] * sizes[axis]) + 1, sizes[axis]);
        set(slider, number, `${number} of ${sizes[axis]}, ${Math.round(mm[axis])} mm`.replace("-", "−"));
      }
    }
    function choose(plane) {
      for (const name of Object.keys(planes)) find(`plane-${name}`).setAttribute("aria-pressed", String(name === plane));
      for (const slider of sliders) {
        const unused = plane !== "all" && slider.id !== `slice-${plane}`;
        for (const part of [slider.previousElementSibling, slider, slider.nextElementSibling]) part.hidden = unused;
      }
      current = sliders[planes[plane] % 3];
      slices.setCrosshairWidth(plane === "all" ? 0.4 : 0);
      slices.setSliceType(planes[plane]);
    }
    for (const slider of sliders) {
      const axis = Number(slider.dataset.axis);
      slider.max = sizes[axis];
      slider.addEventListener("input", () => {
        slices.scene.crosshairPos[axis] = (Number(slider.value) - 0.5) / sizes[axis];
        slices.drawScene();
        tell();
      });
    }
    for (const name of Object.keys(planes)) find(`plane-${name}`).addEventListener("click", () => choose(name));
    slices.onLocationChange = tell;
    const up = () => move(current, 1);
    const down = () => move(current, -1);
    listen("slices", {
      ArrowUp: up, ArrowRight: up, ArrowDown: down, ArrowLeft: down, PageUp: () => move(current, 10), PageDown: () => move(current, -10),
      Home: () => move(current, -current.max), End: () => move(current, Number(current.max)),
    });
    scene.start.forEach((share, axis) => (slices.scene.crosshairPos[axis] = share));
    choose("axial");
    tell();
  }

  async function show() {
    if (!document.createElement("canvas").getContext("webgl2")) return "absent";
    present(true);
    if (scene.surfaces.length) await showSurfaces();
    await showSlices();
    return "ready";
  }

  function present(here) {
    find("absent").hidden = here;
    find("viewer").hidden = !here;
  }

  let state = "failed";
  try {
    state = await show();
  } finally {
    if (state === "failed") present(false);
    find("viewer").dataset.state = state;
  }
})();
