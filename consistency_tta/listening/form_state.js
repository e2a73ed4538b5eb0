// A listening test: one trial at a time; what is not yet saved stays in the storage of the browser when the page is loaded again.
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

function showStatus(text) {
  document.getElementById("status").textContent = text;
}

function store() {
  try {
    localStorage.setItem(`${STORE}:${state.rater}`, JSON.stringify(state));
    localStorage.setItem(STORE, state.rater);
  } catch {
    showStatus("This browser stores nothing: do not reload the page before you have saved your answers.");
  }
}

function stored(rater) {
  try {
    return JSON.parse(localStorage.getItem(`${STORE}:${rater ?? localStorage.getItem(STORE)}`));
  } catch {
    return null;
  }
}

function begin(rater) {
  const random = randomOf(`${test} ${rater}`);
  const order = shuffled(trials.length, random).map((at) => [at, shuffled(trials[at].items.length, random)]);
  const token = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0"));
  return { rater, token: token.join(""), started: new Date().toISOString(), at: 0, order, items: {} };
}

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
  showStatus(`Your answers are in the file ${name}. Please send it to whoever gave you this test.`);
}

async function send() {
  showStatus("Sending …");
  try {
    const reply = await fetch("answers", { method: "POST", headers: { "Content-Type": "application/json" }, body: answers() });
    if (reply.ok) return showStatus("Your answers are saved. Thank you!");
    const { error } = await reply.json().catch(() => ({ error: `the server says ${reply.status}` }));
    showStatus(`Not saved: ${error}.`);
  } catch {
    showStatus("Not saved: the server cannot be reached. Try again later, or download your answers.");
  }
}
