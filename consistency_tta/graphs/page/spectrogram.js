// Draws the magnitudes of a short-time Fourier transform: time to the right, frequency upwards on a root scale.
const SIZE = 1024, RANGE = 80; // samples of a window; decibels from the darkest to the lightest colour
// "magma", by Nathaniel J. Smith and Stéfan van der Walt, 2015, CC0, https://bids.github.io/colormap
const MAGMA = ["000004", "20114b", "57157e", "8c2981", "c43c75", "f1605d", "fe9f6d", "fcfdbf"];
const COLOURS = MAGMA.map((colour) => [0, 2, 4].map((place) => parseInt(colour.slice(place, place + 2), 16)));

export function drawSpectrogram(canvas, samples) {
  const { width, height } = canvas, columns = [];
  let loudest = -Infinity;
  for (let x = 0; x < width; x++) {
    columns.push(decibels(samples, Math.round((x / (width - 1)) * Math.max(0, samples.length - SIZE))));
    loudest = Math.max(loudest, ...columns[x]);
  }
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    const bin = Math.round(((height - 1 - y) / (height - 1)) ** 2 * (SIZE / 2));
    for (let x = 0; x < width; x++) {
      picture.data.set([...colour(1 + (columns[x][bin] - loudest) / RANGE), 255], 4 * (y * width + x));
    }
  }
  context.putImageData(picture, 0, 0);
}

/** Level of each frequency, of a Hann window that begins at a sample. */
function decibels(samples, start) {
  const real = new Float64Array(SIZE), imag = new Float64Array(SIZE);
  for (let i = 0; i < SIZE; i++) real[i] = (samples[start + i] ?? 0) * Math.sin((Math.PI * i) / SIZE) ** 2;
  transform(real, imag);
  return Array.from({ length: SIZE / 2 + 1 }, (_, k) => 10 * Math.log10(real[k] ** 2 + imag[k] ** 2 + 1e-12));
}

/** The fast Fourier transform in place (Cooley and Tukey, 1965); the length is a power of two. */
function transform(real, imag) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [real[i], real[j], imag[i], imag[j]] = [real[j], real[i], imag[j], imag[i]];
  }
  for (let half = 1; half < size; half *= 2) {
    for (let k = 0; k < half; k++) {
      const cos = Math.cos((Math.PI * k) / half), sin = -Math.sin((Math.PI * k) / half);
      for (let i = k; i < size; i += 2 * half) {
        const j = i + half, re = real[j] * cos - imag[j] * sin, im = real[j] * sin + imag[j] * cos;
        [real[j], imag[j]] = [real[i] - re, imag[i] - im];
        [real[i], imag[i]] = [real[i] + re, imag[i] + im];
      }
    }
  }
}

/** The colour of a level in [0, 1]; others are those of its ends. */
function colour(level) {
  const place = Math.min(1, Math.max(0, level)) * (COLOURS.length - 1), below = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[below].map((dark, i) => dark + (place - below) * (COLOURS[below + 1][i] - dark));
}
