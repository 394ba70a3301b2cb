// A real browser on the status page of the built binary: log-in, a rotation as
// it happens, accessibility, and nothing secret in any answer.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { accessible, patience, screenshots, startBrowser, startKeyrot, within } from "./keyrot.mjs";

let keyrot, browser, viewer; // viewer: the cookies of who used the link
const troubles = []; // what the console, the policy and the network complained about
const bodies = []; // every answer's body

before(async () => {
  keyrot = await startKeyrot("--rotate-every", "20s", "--deactivate-after", "26s", "--delete-after", "34s");
  browser = await startBrowser();
  await mkdir(screenshots, { recursive: true });
});
after(async () => {
  await browser?.close();
  await keyrot?.stop();
});

async function newContext(options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(patience);
  return context;
}

async function newPage(options = {}) {
  const context = await newContext(options);
  const page = await context.newPage();
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && troubles.push(`${m.type()}: ${m.text()}`));
  page.on("pageerror", (e) => troubles.push(`exception: ${e.message}`));
  page.on("requestfailed", (r) => !r.url().includes("/events") && troubles.push(`request failed: ${r.url()}`));
  page.on("request", (r) => r.url().startsWith(keyrot.url) || troubles.push(`outside request: ${r.url()}`));
  page.on("response", async (r) => {
    if (!r.url().includes("/events")) bodies.push(await r.text().catch(() => "")); // redirects have none
  });
  await page.addInitScript(() => addEventListener("securitypolicyviolation", (e) => console.error("CSP: " + e.violatedDirective + " " + e.blockedURI)));
  return page;
}

async function login(page) {
  await page.goto(keyrot.url + "/");
  await page.getByLabel("API key").fill(keyrot.key);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Users" }).waitFor();
}

// Every secret that the API hands out while the tests run.
async function secrets() {
  const found = [];
  const token = await (await fetch(keyrot.url + "/generate-token", { method: "POST", headers: { "x-api-key": keyrot.key } })).json();
  for (const user of ["demo-app", "demo-ci", "demo-mailer"]) {
    const answer = await fetch(`${keyrot.url}/active-key?username=${user}`, { headers: { "x-api-key": keyrot.key, authorization: "Bearer " + token.token } });
    found.push((await answer.json()).SecretAccessKey);
  }
  assert.ok(found.every((s) => s?.length > 20), "the API hands out secrets");
  return [...found, token.token, keyrot.key];
}

test("the one-time link opens the page once", async () => {
  const page = await newPage();
  await page.goto(keyrot.link);
  assert.equal(page.url(), keyrot.url + "/", "the link's secret does not stay in the address");
  await page.getByRole("heading", { name: "demo-app" }).waitFor();
  const [cookie] = await page.context().cookies();
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, "Strict");

  viewer = await page.context().storageState();

  const again = await (await newContext()).newPage();
  assert.equal((await again.goto(keyrot.link)).status(), 403);
  await again.getByRole("alert").getByText("was used already").waitFor();
  await again.context().close();
  await page.context().close();
});

test("a wrong key is refused, a good one gets in, log-out ends it", async () => {
  const context = await newContext();
  const page = await context.newPage(); // not newPage: a 403 is an error in the console
  await page.goto(keyrot.url + "/");
  await page.getByLabel("API key").fill("krk_wrong");
  await page.getByLabel("API key").press("Enter");
  await page.getByRole("alert").getByText("not accepted").waitFor();
  await login(page);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByLabel("API key").waitFor();
  await page.goto(keyrot.url + "/");
  assert.equal(new URL(page.url()).pathname, "/login");
  await context.close();
});

test("a rotation is seen as it happens, without a reload", async () => {
  const page = await newPage();
  await login(page);
  await page.evaluate(() => (window.sameDocument = true));
  const card = page.locator('[data-user="demo-app"]');
  await card.locator("summary").click();
  // The page itself notes what it shows: who asks now and then may miss some.
  const first = await page.evaluate(() => {
    window.stages = {};
    const note = () => {
      for (const r of document.querySelectorAll('[data-user="demo-app"] tbody tr')) {
        const stage = r.querySelector("td.stage").dataset.stage, all = (window.stages[r.dataset.key] ??= []);
        if (all.at(-1) !== stage) all.push(stage);
      }
    };
    note();
    new MutationObserver(note).observe(document.body, { subtree: true, childList: true, attributes: true });
    return Object.entries(window.stages).find(([, all]) => all[0] === "current")[0];
  });
  const seen = await within(`key ${first} goes its whole way`, async () => {
    const all = await page.evaluate((key) => window.stages[key], first);
    return all.at(-1) === "deleted" && all;
  });
  assert.deepEqual(seen, ["current", "previous", "previous, off", "deleted"]);
  assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was not loaded again");
  assert.equal(await card.locator("details").evaluate((d) => d.open), true, "what was open stays open");
  await page.getByRole("region", { name: "Events, newest first" }).getByText("The new key took over").first().waitFor();
  bodies.push(await page.content());
  await page.context().close();
});

test("the keyboard reaches everything, and what has the focus keeps it", async () => {
  const page = await newPage({ viewport: { width: 1280, height: 900 } });
  await login(page);
  await page.locator("body").focus();
  const names = [];
  for (let i = 0; i < 9; i++) {
    await page.keyboard.press("Tab");
    names.push(await page.evaluate(() => (document.activeElement.getAttribute("aria-label") || document.activeElement.textContent || document.activeElement.id).trim()));
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(ring, "none", `${names.at(-1)} shows that it has the focus`);
  }
  const order = names.join(" | ");
  for (const want of ["Skip to the users", "Dark theme", "Log out", "q", "Find", "Keys as a table for demo-app", "Events, newest first"]) {
    assert.ok(names.includes(want), `Tab reaches ${want}; it went ${order}`);
  }
  const summary = page.locator('[data-user="demo-ci"] summary');
  await summary.focus();
  await page.keyboard.press("Enter");
  const card = await page.locator('[data-user="demo-ci"]').elementHandle();
  await within("the card is replaced", async () => !(await card.evaluate((e) => e.isConnected)));
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "SUMMARY");
  assert.equal(await page.locator('[data-user="demo-ci"] details').evaluate((d) => d.open), true);
  await page.context().close();
});

test("the theme can be chosen and is remembered", async () => {
  const page = await newPage({ colorScheme: "light" });
  await login(page);
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await colour();
  await page.getByRole("button", { name: "Dark theme" }).click();
  assert.notEqual(await colour(), light);
  await page.reload();
  assert.notEqual(await colour(), light);
  await page.context().close();
});

test("without JavaScript the page says the same", async () => {
  const context = await newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await login(page);
  await page.getByText("reload it to see what is new").waitFor();
  assert.equal(await page.locator("article.card").count(), 3);
  await context.close();
});

for (const colorScheme of ["light", "dark"]) {
  for (const [device, width, height] of [["desktop", 1280, 900], ["phone", 390, 844]]) {
    test(`accessible and whole: ${device}, ${colorScheme}`, async () => {
      const page = await newPage({ viewport: { width, height }, colorScheme, deviceScaleFactor: device === "phone" ? 2 : 1 });
      await page.goto(keyrot.url + "/login");
      await accessible(page, "login");
      await page.screenshot({ path: `${screenshots}/login-${device}-${colorScheme}.png` });
      await page.context().addCookies(viewer.cookies);
      await page.goto(keyrot.url + "/");
      await page.getByRole("heading", { name: "Callers" }).waitFor();
      await page.getByText("live", { exact: true }).waitFor();
      await page.screenshot({ path: `${screenshots}/status-${device}-${colorScheme}.png` });
      await page.locator("summary").first().click();
      await accessible(page, "status");
      await page.screenshot({ path: `${screenshots}/full-${device}-${colorScheme}.png`, fullPage: true });
      await page.context().close();
    });
  }
}

test("what another process orders is seen, with its reason", async () => {
  const page = await newPage();
  await login(page);
  await keyrot.run("pause", "demo-mailer", "--reason", "<b>Black Friday</b>");
  await page.getByText("1 user paused").waitFor();
  const card = page.locator('[data-user="demo-mailer"]');
  await card.getByText("<b>Black Friday</b>").waitFor();
  await within("who needs somebody comes first", async () => await page.locator("article.card").first().getAttribute("data-user") === "demo-mailer");
  await page.screenshot({ path: `${screenshots}/paused.png` });
  await keyrot.run("resume", "demo-mailer");
  await page.getByText("All keys rotate on time").waitFor();
  await page.context().close();
});

test("nothing complained, nothing secret was sent", async () => {
  assert.deepEqual(troubles, []);
  assert.ok(bodies.length > 20, `${bodies.length} answers were seen`);
  for (const secret of await secrets()) {
    assert.ok(!bodies.some((b) => b.includes(secret)), "a secret is in an answer");
  }
});
