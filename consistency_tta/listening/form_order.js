// Each rater's own order of the trials and of the sounds of a trial.

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
