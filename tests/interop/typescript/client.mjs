// The TypeScript SDK as a client: one call an attempt, told as JSON on standard output.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const order = JSON.parse(process.argv[2]);
const require = createRequire(process.env.NODE_PACKAGES + "/");
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");

const options = {};
if (order.timeout) options.timeout = order.timeout * 1000;
if (order.progress) {
  options.onprogress = () => {};
  options.resetTimeoutOnProgress = true;
}

const headers = { authorization: `Bearer ${order.token}` };
const client = new Client({ name: "typescript-sdk", version: "1" });
await client.connect(new StreamableHTTPClientTransport(new URL(order.url), { requestInit: { headers } }));

async function one() {
  const began = performance.now();
  let said;
  try {
    const result = await client.callTool({ name: order.tool, arguments: order.arguments }, undefined, options);
    said = { text: result.content.map((block) => block.text ?? "").join(""), error: "" };
  } catch (error) {
    said = { text: "", error: String(error) };
  }
  return { ...said, seconds: (performance.now() - began) / 1000 };
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
for (let attempt = 0; attempt < order.attempts; attempt += 1) {
  if (attempt) await lines.next();
  console.log(JSON.stringify(await one()));
}
process.exit(0);
