// Prints what the SDK reads in AWS configuration files: of each folder in the
// first argument, the file that the second names. See sdkprofiles_test.go.
import { createRequire } from "node:module";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
const require = createRequire(process.env.CALLER_MODULES + "/");
const { loadSharedConfigFiles } = require("@smithy/core/config");

const [top, file] = process.argv.slice(2);
const said = {};
for (const folder of readdirSync(top)) {
  const configFilepath = join(top, folder, file);
  if (!existsSync(configFilepath)) continue;
  try {
    const { configFile } = await loadSharedConfigFiles({ filepath: join(top, folder, "none"), configFilepath, ignoreCache: true });
    said[folder] = configFile;
  } catch {
    said[folder] = null; // it cannot be read
  }
}
console.log(JSON.stringify(said));
