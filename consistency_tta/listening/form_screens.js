// The screens: start, one for each trial, end. A key acts as the button that it is written next to.

function show(...children) {
  for (const sound of sounds) sound.audio.pause();
  [sounds, keys] = [[], {}];
  leave.hidden = !state;
  showStatus("");
  screen.replaceChildren(...children);
  scrollTo(0, 0);
}

function nameField(value) {
  return element("input", { type: "text", id: "rater", value, maxLength: 80, autocomplete: "off", required: true });
}

function start() {
  const count = trials.reduce((sum, trial) => sum + trial.items.length, 0);
  const reference = trials.some((trial) => trial.reference);
  const notes = comparison
    ? [
        `${trials.length} texts, each with several sounds (${count} in all). Grade them against each other.`,
        ...(reference ? ["The reference is what it could sound like. One of the sounds is the reference itself."] : []),
        "Use the whole scale, and go back to a sound as often as you like.",
      ]
    : [
        `${count} sounds, one at a time, each with the text that it was made for.`,
        "Grade quality and fit apart: a sound can be good and have nothing to do with the text.",
      ];
  notes.push(
    "A sound can be graded once it was played to its end.",
    "Where people speak, it does not matter whether one understands the words.",
    "Use headphones in a quiet place, and leave the volume as it is after the first sounds.",
    "You may stop at any time: this browser remembers where you were.",
  );
  const field = nameField("");
  const form = element(
    "form",
    { className: "card" },
    element("label", { htmlFor: "rater" }, "Your name, or any word that you will use here again"),
    element("div", { className: "row" }, field, element("button", { className: "button", id: "start" }, "Begin")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const rater = field.value.trim();
    if (!rater) return showStatus("Please give a name.");
    state = stored(rater) ?? begin(rater);
    store();
    next(state.at);
  });
  const list = element("ul", { className: "notes" }, ...notes.map((note) => element("li", {}, note)));
  show(element("h1", {}, "What you will hear"), list, form);
  field.focus();
}

function next(at) {
  state.at = Math.max(0, Math.min(at, trials.length));
  store();
  state.at < trials.length ? trial() : end();
}

function trial() {
  const [at, within] = state.order[state.at];
  const { caption, reference, items } = trials[at];
  const back = element("button", { className: "button second", id: "back", disabled: state.at === 0 }, "Back");
  const forward = element("button", { className: "button", id: "next" }, "Next");
  const update = () => (forward.disabled = !items.every((item) => rated(item.id)));
  const hints = comparison
    ? [element("kbd", {}, "1"), " … play", ...(reference ? [", ", element("kbd", {}, "r"), " reference"] : []), ", arrows move a slider"]
    : [element("kbd", {}, "p"), " play, ", element("kbd", {}, "1"), "–", element("kbd", {}, "5"), " grade"];
  hints.push(", ", element("kbd", {}, "n"), " next, ", element("kbd", {}, "b"), " back");
  const cards = element("div");
  show(
    element("progress", { max: trials.length, value: state.at, ariaLabel: "trials done" }),
    element("p", { className: "muted" }, `${state.at + 1} of ${trials.length}`),
    element("p", { className: "caption" }, caption),
    cards,
    element("div", { className: "row" }, back, forward),
    element("p", { className: "muted" }, element("small", {}, "Keys: ", ...hints)),
  );
  if (reference) cards.append(element("div", { className: "card" }, player("Reference", reference, "r", () => {})));
  within.forEach((index, place) => {
    const { id, sound } = items[index];
    const name = comparison ? `Sound ${place + 1}` : "Sound";
    const questions = scales.map((scale) => (isSlider(scale) ? slider : grades)(scale, id, name, update));
    const enable = () => questions.forEach((question) => (question.disabled = !state.items[id]?.plays));
    const markPlayed = () => {
      record(id).plays += 1;
      store();
      enable();
      return state.items[id].plays;
    };
    const lists = element("div", { className: scales.length > 1 ? "two-lists" : "" }, ...questions);
    const key = comparison ? String(place + 1) : "p";
    cards.append(element("div", { className: "card", id: `item-${place}` }, player(name, sound, key, markPlayed, state.items[id]?.plays), lists));
    enable();
  });
  back.addEventListener("click", () => next(state.at - 1));
  forward.addEventListener("click", () => next(state.at + 1));
  Object.assign(keys, { n: () => forward.click(), b: () => back.click() });
  update();
  cards.querySelector(".play").focus();
}

function end() {
  const served = location.protocol.startsWith("http");
  const open = trials.filter((one) => !one.items.every((item) => rated(item.id))).length;
  const field = nameField(state.rater);
  const rename = (action) => () => {
    if (!field.value.trim()) return showStatus("Please give a name.");
    state.rater = field.value.trim();
    store();
    return action();
  };
  const save = element("button", { className: "button", id: "save" }, served ? "Send answers" : "Save answers");
  save.addEventListener("click", rename(served ? send : download));
  const back = element("button", { className: "button second", id: "back" }, "Back");
  back.addEventListener("click", () => next(Math.min(state.at, trials.length - 1)));
  const row = element("div", { className: "row" }, back, save);
  if (served) {
    const copy = element("button", { className: "button second", id: "download" }, "Download a copy");
    copy.addEventListener("click", rename(download));
    save.before(copy);
  }
  const done = open ? `${open} of ${trials.length} are not graded yet.` : `All ${trials.length} are graded.`;
  show(
    element("h1", {}, "That is all"),
    element("p", { className: "lead" }, `${done} Please save your answers; you can still go back and change them.`),
    element("div", { className: "card" }, element("label", { htmlFor: "rater" }, "Your name"), element("div", {}, field)),
    row,
  );
  keys.b = () => back.click();
  save.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.target.type === "text") return;
  const action = keys[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});

const leave = element("button", { className: "all", type: "button", id: "leave" }, "Save or pause");
leave.addEventListener("click", () => (screen.querySelector(".sound") ? end() : start()));
document.querySelector("header").append(leave);

state = stored();
state ? next(state.at) : start();
