// The suite has no option for credentials: every request that it sends carries ours, by fetch or by http.
import { channel } from "node:diagnostics_channel";

const bearer = `Bearer ${process.env.CONFORMANCE_TOKEN}`;

channel("undici:request:create").subscribe(({ request }) => request.addHeader("authorization", bearer));
channel("http.client.request.created").subscribe(({ request }) => request.setHeader("authorization", bearer));
