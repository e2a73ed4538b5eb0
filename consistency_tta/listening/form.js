// A listening test: one trial at a time; what is not yet saved outlives a reload in the browser's storage.
"use strict";
const { test, scales, trials } = JSON.parse(document.getElementById("data").textContent);
const screen = document.getElementById("screen");
const comparison = trials.some((trial) => trial.items.length > 1) || scales.some(isSlider);
const STORE = `listening-test:${test}`;
let state = null; // {rater, token, started, at, order, items: {id: {scores, plays}}}
let sounds = []; // of the trial on the screen: {audio, toggle}
let keys = {};

function isSlider(scale) {
  return scale.high - scale.low > 9;
}

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function say(text) {
  document.getElementById("status").textContent = text;
}

// --- Storage -------------------------------------------------------------------------------------------------------

function store() {
  try {
    localStorage.setItem(`${STORE}:${state.rater}`, JSON.stringify(state));
    localStorage.setItem(STORE, state.rater);
  } catch {
    say("This browser keeps nothing: do not reload the page before you have saved your answers.");
  }
}

function stored(rater) {
  try {
    return JSON.parse(localStorage.getItem(`${STORE}:${rater ?? localStorage.getItem(STORE)}`));
  } catch {
    return null;
  }
}

// --- Each rater's own order ----------------------------------------------------------------------------------------

// FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv, and mulberry32, Tommy Ettinger, 2017, public domain.
function randomOf(text) {
  let seed = 2166136261;
  for (const byte of new TextEncoder().encode(text)) seed = Math.imul(seed ^ byte, 16777619);
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(count, random) {
  const order = [...Array(count).keys()];
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

function begin(rater) {
  const random = randomOf(`${test} ${rater}`);
  const order = shuffled(trials.length, random).map((at) => [at, shuffled(trials[at].items.length, random)]);
  const token = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0"));
  return { rater, token: token.join(""), started: new Date().toISOString(), at: 0, order, items: {} };
}

// --- Answers -------------------------------------------------------------------------------------------------------

function record(id) {
  return (state.items[id] ??= { scores: {}, plays: 0 });
}

function rated(id) {
  const scores = state.items[id]?.scores ?? {};
  return scales.every((scale) => scale.name in scores);
}

function answers() {
  const items = Object.fromEntries(Object.entries(state.items).filter(([id]) => rated(id)));
  const { rater, token, started } = state;
  const order = state.order.flatMap(([at, within]) => within.map((index) => trials[at].items[index].id));
  return JSON.stringify({ test, rater, token, started, saved: new Date().toISOString(), order, items }, null, 1);
}

function download() {
  const name = `answers-${state.rater.replace(/[^\p{L}\p{N}._-]+/gu, "-")}.json`;
  const link = element("a", { href: URL.createObjectURL(new Blob([answers()], { type: "application/json" })), download: name });
  link.click();
  say(`Your answers are in the file ${name}. Please send it to whoever gave you this test.`);
}

async function send() {
  say("Sending …");
  try {
    const reply = await fetch("answers", { method: "POST", headers: { "Content-Type": "application/json" }, body: answers() });
    if (reply.ok) return say("Your answers are saved. Thank you!");
    const { error } = await reply.json().catch(() => ({ error: `the server says ${reply.status}` }));
    say(`Not saved: ${error}.`);
  } catch {
    say("Not saved: the server cannot be reached. Try again later, or download your answers.");
  }
}

// --- Screens -------------------------------------------------------------------------------------------------------

function show(...children) {
  for (const sound of sounds) sound.audio.pause();
  [sounds, keys] = [[], {}];
  leave.hidden = !state;
  say("");
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
    if (!rater) return say("Please give a name.");
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

function player(name, source, key, markPlayed, plays = 0) {
  const audio = new Audio(source);
  const button = element("button", { type: "button", className: "play", ariaLabel: `play ${name}` }, element("span"));
  const done = element("i");
  const note = element("span", { className: "played" }, plays ? "played" : "not yet played");
  const toggle = () => {
    for (const sound of sounds) if (sound.audio !== audio) sound.audio.pause();
    if (audio.paused) audio.play().catch((error) => say(`This browser cannot play the sound: ${error.message}`));
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

function end() {
  const served = location.protocol.startsWith("http");
  const open = trials.filter((one) => !one.items.every((item) => rated(item.id))).length;
  const field = nameField(state.rater);
  const rename = (action) => () => {
    if (!field.value.trim()) return say("Please give a name.");
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
