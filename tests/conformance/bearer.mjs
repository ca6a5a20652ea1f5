// The suite has no option for credentials: every request that undici sends carries ours.
import { channel } from "node:diagnostics_channel";

channel("undici:request:create").subscribe(({ request }) => {
  request.addHeader("authorization", `Bearer ${process.env.CONFORMANCE_TOKEN}`);
});
