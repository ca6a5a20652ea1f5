// A server that takes port 0 but can't say which one it got: say it on standard output.
import { tracingChannel } from "node:diagnostics_channel";

tracingChannel("net.server.listen").subscribe({
  asyncEnd({ server }) {
    console.log(`listening on http://127.0.0.1:${server.address().port}/mcp`);
  },
});
