// The three graphs one after the other: text, noise -> latent, latent -> waveform.
import * as ort from "./vendor/ort.wasm.min.mjs";
import { Tokenizer } from "./vendor/tokenizers.min.mjs";

ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;

export class Model {
  static async load() {
    const model = new Model();
    const json = async (file) => (await fetch(file)).json();
    model.manifest = await json("manifest.json");
    model.tokenizer = new Tokenizer(await json("tokenizer.json"), {});
    model.graphs = {};
    for (const [name, graph] of Object.entries(model.manifest.graphs)) {
      model.graphs[name] = await ort.InferenceSession.create(graph.file, { executionProviders: ["wasm"] });
    }
    return model;
  }

  /** Numbers in the starting noise of one sound. */
  get noiseSize() {
    return this.manifest.latent_shape.reduce((product, size) => product * size);
  }

  /** Token numbers of a prompt; a long one is cut before its last token, which ends the text. */
  tokens(prompt) {
    const { ids } = this.tokenizer.encode(prompt);
    const longest = this.manifest.max_tokens;
    return ids.length > longest ? [...ids.slice(0, longest - 1), ids.at(-1)] : ids;
  }

  /** The waveform (Float32Array: channels one after the other) of a prompt and noise, and milliseconds of its parts. */
  async generate(prompt, guidanceScale, noise) {
    const ids = this.tokens(prompt);
    const whole = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, ids.length]);
    const input_ids = whole(ids), attention_mask = whole(ids.map(() => 1));
    const started = performance.now();
    const { text_embedding } = await this.graphs.text.run({ input_ids, attention_mask });
    const { latent } = await this.graphs.denoise.run({
      noise: new ort.Tensor("float32", noise, [1, ...this.manifest.latent_shape]),
      text_embedding,
      attention_mask,
      guidance_scale: new ort.Tensor("float32", [guidanceScale], [1]),
    });
    const sampled = performance.now();
    const { waveform } = await this.graphs.decode.run({ latent });
    return { waveform: waveform.data, latents: sampled - started, decoder: performance.now() - sampled };
  }
}
