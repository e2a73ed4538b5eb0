// What a card has: a player, and the questions about its sound.

function player(name, source, key, markPlayed, plays = 0) {
  const audio = new Audio(source);
  const button = element("button", { type: "button", className: "play", ariaLabel: `play ${name}` }, element("span"));
  const done = element("i");
  const note = element("span", { className: "played" }, plays ? "played" : "not yet played");
  const toggle = () => {
    for (const sound of sounds) if (sound.audio !== audio) sound.audio.pause();
    if (audio.paused) audio.play().catch((error) => showStatus(`This browser cannot play the sound: ${error.message}`));
    else audio.pause();
  };
  const box = element("div", { className: "sound" }, button, element("b", {}, name), element("div", { className: "track" }, done), note);
  const draw = () => {
    done.style.width = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
    if (!audio.paused) requestAnimationFrame(draw);
  };
  audio.addEventListener("play", () => {
    box.classList.add("playing");
    draw();
  });
  audio.addEventListener("pause", () => {
    box.classList.remove("playing");
    if (audio.ended) return;
    audio.currentTime = 0; // only a sound that is played from its beginning to its end counts
    draw();
  });
  audio.addEventListener("ended", () => {
    note.textContent = "played";
    markPlayed();
  });
  button.addEventListener("click", toggle);
  sounds.push({ audio });
  keys[key] = toggle;
  return box;
}

function grades(scale, id, name, update) {
  const group = element("fieldset", { name: scale.name }, element("legend", {}, scale.question));
  for (let value = scale.high; value >= scale.low; value--) {
    const input = element("input", { type: "radio", name: `${scale.name}-${id}`, value });
    input.checked = state.items[id]?.scores[scale.name] === value;
    input.addEventListener("change", () => {
      record(id).scores[scale.name] = value;
      store();
      update();
    });
    group.append(element("label", { className: "grade" }, input, element("b", {}, String(value)), scale.labels[value - scale.low]));
    // A digit grades the question that has the focus, or else the first that is open.
    keys[String(value)] = () => {
      const focused = document.activeElement.closest("fieldset");
      const open = [...screen.querySelectorAll("fieldset")].find((one) => !one.querySelector(":checked"));
      (focused ?? open ?? group).querySelector(`[value="${value}"]:enabled`)?.click();
      document.activeElement.blur();
    };
  }
  return group;
}

function slider(scale, id, name, update) {
  const score = state.items[id]?.scores[scale.name];
  const value = score ?? Math.round((scale.low + scale.high) / 2);
  const input = element("input", { type: "range", min: scale.low, max: scale.high, step: 1, value, className: "untouched" });
  const output = element("output");
  const showScore = () => {
    const known = state.items[id]?.scores[scale.name];
    input.classList.toggle("untouched", known === undefined);
    output.textContent = known ?? "–";
    input.setAttribute("aria-valuetext", known ?? "not yet graded");
  };
  const set = () => {
    record(id).scores[scale.name] = Number(input.value);
    store();
    showScore();
    update();
  };
  input.setAttribute("aria-label", `${name}: ${scale.question}`);
  // A click on the handle, where it stands at first, changes nothing and is an answer.
  for (const kind of ["input", "click"]) input.addEventListener(kind, set);
  showScore();
  const parts = element("div", { className: "parts", ariaHidden: "true" }, ...scale.labels.map((label) => element("span", {}, label)));
  return element("fieldset", { name: scale.name }, element("legend", {}, scale.question), element("div", { className: "slider" }, input, output, parts));
}
