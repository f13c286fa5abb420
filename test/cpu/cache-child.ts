/** A process of the concurrency test: writes and reads the same few keys as its siblings, and reports what it read wrong. */
import { CacheStore } from '../../runtime/cache-store.js';

const [directory, seed] = process.argv.slice(2);
const payload = (key: number): Uint8Array => new Uint8Array(20_000 + 1000 * key).fill(key);
let wrong = 0;
let right = 0;
for (let round = 0; round < 40; round++) {
  // A fresh store each time, so that reads come from the disk.
  const store = new CacheStore({ directory: directory! });
  const key = (round * 7 + Number(seed)) % 5;
  const found = store.get(`key ${key}`);
  if (found) {
    const good = Buffer.from(found.payload).equals(payload(key)) && (found.metadata as { key: number }).key === key;
    if (good) right++;
    else wrong++;
  }
  if (store.stats.rejected > 0) wrong++;
  store.set(`key ${key}`, { key }, payload(key));
  if (store.stats.note) wrong++;
}
console.log(JSON.stringify({ right, wrong }));
