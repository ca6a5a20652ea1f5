// OAuth by `oidc-provider`, which we did not write: clients register themselves, tokens are JWTs for the resource they ask for.
// Prints its address; ends with its parent. Whoever signs in is in the group `support`.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [modules] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`).href);

const server = createServer().listen(0, "127.0.0.1");
await new Promise((ready) => server.once("listening", ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clientDefaults: { id_token_signed_response_alg: "RS256" },
  extraTokenClaims: () => ({ groups: ["support"] }),
  features: {
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        scope: "", audience: resource, accessTokenFormat: "jwt", accessTokenTTL: 300, jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});
server.on("request", provider.callback());
console.log(`listening on ${issuer}`);
for await (const _ of createInterface({ input: process.stdin }));
process.exit(0);
