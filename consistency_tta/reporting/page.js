// Players: one sound at a time; a click in a spectrogram plays from there.
"use strict";
const players = [...document.querySelectorAll(".player")];
let queue = [];

function stop(except) {
  for (const player of players) if (player !== except) player.querySelector("audio").pause();
}

function play(player, from) {
  const audio = player.querySelector("audio");
  stop(player);
  if (from !== undefined) audio.currentTime = from;
  audio.play();
}

for (const player of players) {
  const audio = player.querySelector("audio");
  const button = player.querySelector(".play");
  const picture = player.querySelector(".picture");
  const head = player.querySelector(".head");
  const seconds = Number(player.dataset.seconds);
  audio.controls = false;
  const draw = () => {
    head.style.left = `${Math.min(100, (100 * audio.currentTime) / seconds)}%`;
    if (!audio.paused) requestAnimationFrame(draw);
  };
  button.addEventListener("click", () => {
    queue = [];
    audio.paused ? play(player) : audio.pause();
  });
  picture.addEventListener("click", (event) => {
    queue = [];
    const box = picture.getBoundingClientRect();
    play(player, (seconds * (event.clientX - box.left)) / box.width);
  });
  audio.addEventListener("play", () => {
    player.classList.add("playing", "touched");
    draw();
  });
  audio.addEventListener("pause", () => player.classList.remove("playing"));
  audio.addEventListener("ended", () => {
    audio.currentTime = 0;
    player.classList.remove("touched");
    const next = queue.shift();
    if (next) play(next, 0);
  });
}

for (const button of document.querySelectorAll(".all")) {
  button.addEventListener("click", () => {
    queue = [...button.closest(".prompt").querySelectorAll(".player")];
    play(queue.shift(), 0);
  });
}
