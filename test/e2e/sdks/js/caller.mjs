// Calls S3 and STS with the SDK's default credentials until it has seen enough
// keys, or time is up.
import { createRequire } from "node:module";
const require = createRequire(process.env.CALLER_MODULES + "/");
const { S3Client, ListObjectsV2Command } = require("@aws-sdk/client-s3");
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");

const keys = new Set();
let last = "-";
const note = (next) => async (args) => {
  last = /Credential=(\w+)\//.exec(args.request.headers.authorization)[1];
  keys.add(last);
  return next(args);
};
const clients = [
  [new S3Client({ maxAttempts: 1 }), new ListObjectsV2Command({ Bucket: "demo" })],
  [new STSClient({ maxAttempts: 1 }), new GetCallerIdentityCommand({})],
];
for (const [client] of clients) client.middlewareStack.add(note, { step: "finalizeRequest", priority: "low" });
let calls = 0;
const refused = [];
const end = Date.now() + 1000 * Number(process.env.CALLER_SECONDS);
while (Date.now() < end && keys.size < Number(process.env.CALLER_KEYS)) {
  for (const [client, command] of clients) {
    calls++;
    try {
      await client.send(command);
    } catch (e) {
      refused.push(`${Date.now() / 1000} ${last} ${e.name}: ${e.message}`);
    }
  }
  await new Promise((done) => setTimeout(done, 250));
}
console.log(JSON.stringify({ calls, keys: keys.size, refused }));
