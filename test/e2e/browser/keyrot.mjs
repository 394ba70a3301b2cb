// Starts the built keyrot on its sandbox, and a browser, and ends both.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const root = new URL("../../../", import.meta.url).pathname;

// How long something is waited for, in ms, on a machine that is slow, too.
export const patience = 300_000;

export const screenshots = join(root, ".e2e", "screenshots");

// freePort returns a port that nobody listens on, below those of test/freeport
// and those that outgoing connections get.
async function freePort() {
  for (;;) {
    const port = 15_000 + Math.floor(5_000 * Math.random());
    const server = createServer();
    const free = await new Promise((done) => {
      server.once("error", () => done(false));
      server.listen(port, "127.0.0.1", () => done(true));
    });
    if (free) {
      await new Promise((done) => server.close(done));
      return port;
    }
  }
}

// startKeyrot returns the address, the one-time link and the reader's API key
// as a person would read them, and a way to run other commands.
export async function startKeyrot(...flags) {
  const url = `http://127.0.0.1:${await freePort()}`;
  const temporary = await mkdtemp(join(tmpdir(), "keyrot-browser-"));
  const env = { PATH: process.env.PATH, HOME: temporary, TMPDIR: temporary };
  const child = spawn(join(root, "bin", "keyrot"), ["serve", "--sandbox", "--listen", url.slice(7), ...flags], { env, cwd: temporary });
  let out = "", talk = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (talk += chunk));
  const ended = new Promise((done) => child.on("exit", done));
  const link = await within("the sandbox prints a link", () => {
    if (child.exitCode !== null) throw new Error(`keyrot ended with ${child.exitCode}:\n${talk}`);
    return talk.match(/http:\S+\/login\?once=\S+/)?.[0];
  });
  const key = out.match(/KEYROT_API_KEY='?([^'\s]+)/)[1];
  return {
    url, link, key,
    // run runs another keyrot command on the sandbox's store.
    async run(...args) {
      const dir = join(temporary, (await readdir(temporary)).find((name) => name.startsWith("keyrot-sandbox-")));
      const store = ["--store", join(dir, "keyrot.db"), "--key-file", join(dir, "keyrot.key")];
      return promisify(execFile)(join(root, "bin", "keyrot"), [...args, ...store], { env: { ...env, KEYROT_AUDIT_PATH: join(dir, "audit.jsonl") }, cwd: temporary });
    },
    async stop() {
      child.kill("SIGINT");
      await ended;
      await rm(temporary, { recursive: true, force: true });
    },
  };
}

// startCrowd starts the page of so many users, who have a past of half an hour.
export async function startCrowd(users, ...flags) {
  const child = spawn(join(root, ".e2e", "bin", "crowd"), ["-users", String(users), ...flags], { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  const ended = new Promise((done) => child.on("exit", done));
  await within("the crowd is there", () => {
    if (child.exitCode !== null) throw new Error(`crowd ended with ${child.exitCode}`);
    return out.endsWith("\n");
  });
  return { ...JSON.parse(out), pid: child.pid, async stop() { child.kill("SIGINT"); await ended; } };
}

export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// accessible holds a page against axe's rules.
export async function accessible(page, what) {
  await page.evaluate(axe); // past the policy, as a debugger is
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target + " " + n.failureSummary).join("; ")}`), [], `axe on ${what}`);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${what} is ${overflow} px too wide`);
}

// within asks until the answer is truthy.
export async function within(what, ask) {
  const end = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`${what}: not within ${patience} ms`);
    await new Promise((done) => setTimeout(done, 100));
  }
}
