// What the user sees: the form, the state, the sound.
import { Model } from "./model.js";
import { normalNoise } from "./noise.js";
import { drawSpectrogram } from "./spectrogram.js";
import { wavFile } from "./wav.js";

const element = (id) => document.getElementById(id);
const show = (text) => (element("status").textContent = text);

async function generate(model) {
  element("generate").disabled = true;
  show("Generating …");
  await new Promise((painted) => setTimeout(painted, 30));
  const noise = normalNoise(Number(element("seed").value), model.noiseSize);
  const { waveform, latents, decoder } = await model.generate(element("prompt").value, Number(element("guidance").value), noise);
  const { sample_rate, channels } = model.manifest, length = waveform.length / channels;
  URL.revokeObjectURL(element("player").src);
  element("player").src = URL.createObjectURL(wavFile(waveform, channels, sample_rate));
  drawSpectrogram(element("spectrogram"), waveform.subarray(0, length));
  element("player").hidden = element("spectrogram").hidden = false;
  const seconds = (milliseconds) => (milliseconds / 1000).toFixed(2);
  show(
    `${(length / sample_rate).toFixed(2)} s of sound in ${seconds(latents + decoder)} s: ` +
      `latents ${seconds(latents)} s, decoder ${seconds(decoder)} s`,
  );
  return waveform;
}

const failed = (error) => show(`It failed: ${error.message ?? error}`);

try {
  const model = await Model.load();
  const [low, high] = model.manifest.guidance_range ?? [1, 5];
  Object.assign(element("guidance"), { min: low, max: high });
  const showScale = () => (element("scale").textContent = element("guidance").value);
  showScale(); // a range without 3 has moved it
  element("guidance").addEventListener("input", showScale);
  document.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const ended = () => (element("generate").disabled = false);
    generate(model).then((waveform) => (window.waveform = waveform), failed).finally(ended); // also for these
  });
  element("generate").disabled = false;
  show("Ready.");
  window.model = model; // for the console, and for tests
} catch (error) {
  failed(error);
}
