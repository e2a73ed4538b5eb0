// A sound file of 16-bit samples; the waveform has its channels one after the other.
export function wavFile(waveform, channels, sampleRate) {
  const frames = waveform.length / channels;
  const view = new DataView(new ArrayBuffer(44 + 2 * waveform.length));
  const text = (place, letters) => [...letters].forEach((letter, i) => view.setUint8(place + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * waveform.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * channels * sampleRate, true);
  view.setUint16(32, 2 * channels, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * waveform.length, true);
  for (let frame = 0; frame < frames; frame++) {
    for (let channel = 0; channel < channels; channel++) {
      const sample = Math.round(32767 * waveform[channel * frames + frame]);
      view.setInt16(44 + 2 * (frame * channels + channel), sample, true);
    }
  }
  return new Blob([view], { type: "audio/wav" });
}
