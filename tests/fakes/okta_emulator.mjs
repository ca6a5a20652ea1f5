// Okta by an emulator that we did not write. Prints its address; ends with its parent.
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";

const [modules, seed] = process.argv.slice(2);
const { createEmulator } = await import(pathToFileURL(`${modules}/emulate/dist/api.js`).href);

// the emulator does not tell which port it got for 0
const probe = createServer().listen(0, "127.0.0.1");
await new Promise((ready) => probe.once("listening", ready));
const { port } = probe.address();
await new Promise((closed) => probe.close(closed));

const emulator = await createEmulator({ service: "okta", port, seed: JSON.parse(readFileSync(seed, "utf8")) });
console.log(`listening on http://127.0.0.1:${port}`);
for await (const _ of createInterface({ input: process.stdin }));
await emulator.close();
process.exit(0);
