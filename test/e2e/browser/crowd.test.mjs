// A real browser on the status page of very many users: what is listed, found
// and opened, what is sent for it, and what it looks like.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { accessible, patience, screenshots, startBrowser, startCrowd, within } from "./keyrot.mjs";

const most = 200_000; // bytes of an answer
let browser;
const crowds = {}; // by number of users, with the session that their link opened
const troubles = [], sizes = [];

before(async () => {
  browser = await startBrowser();
  await mkdir(screenshots, { recursive: true });
  for (const n of [200, 5000]) {
    crowds[n] = await startCrowd(n);
    const context = await browser.newContext();
    await (await context.newPage()).goto(crowds[n].link);
    crowds[n].session = await context.storageState();
    await context.close();
  }
});
after(async () => {
  await browser?.close();
  for (const crowd of Object.values(crowds)) await crowd.stop();
});

async function open(n, path = "/", options = {}, prepare = () => {}) {
  const context = await browser.newContext({ storageState: crowds[n].session, viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && troubles.push(`${m.type()}: ${m.text()}`));
  page.on("pageerror", (e) => troubles.push(`exception: ${e.message}`));
  page.on("response", async (r) => {
    if (!r.url().includes("/events")) sizes.push([r.url(), (await r.body().catch(() => "")).length, r.headers()["content-encoding"]]);
  });
  await page.addInitScript(() => addEventListener("securitypolicyviolation", (e) => console.error("CSP: " + e.violatedDirective + " " + e.blockedURI)));
  await prepare(page);
  await page.goto(crowds[n].url + path);
  return page;
}

const live = (page) => page.getByText("live", { exact: true }).waitFor();
const shown = (page, words) => page.locator("#shown").getByText(words, { exact: true }).waitFor();
const search = (page) => new URL(page.url()).search;

test("two hundred users are a line each, fifty to a page", async () => {
  const page = await open(200);
  await shown(page, "1–50 of 200");
  assert.equal(await page.locator("#users > li.line").count(), 50);
  await page.evaluate(() => (window.sameDocument = true));
  await page.getByRole("link", { name: "Next" }).click();
  await shown(page, "51–100 of 200");
  assert.equal(search(page), "?page=2");
  await page.goBack();
  await shown(page, "1–50 of 200");
  assert.equal(search(page), "");
  assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was not loaded again");
  await page.context().close();
});

test("users are found while a name is typed, and all are back when it is cleared", async () => {
  const page = await open(200);
  await page.getByLabel("Find users").pressSequentially("-000");
  await shown(page, "10 of 200");
  assert.equal(search(page), "?q=-000");
  assert.equal(await page.evaluate(() => document.activeElement.id), "q", "what is typed in keeps the focus");
  await page.locator("#said").getByText("10 of 200 users").waitFor({ state: "attached" });
  await page.reload();
  await shown(page, "10 of 200");
  assert.equal(await page.getByLabel("Find users").inputValue(), "-000");
  await page.getByRole("link", { name: "Clear" }).click();
  await shown(page, "1–50 of 200");
  assert.equal(await page.getByLabel("Find users").inputValue(), "");
  assert.equal(search(page), "");
  await page.context().close();
});

test("the users of one state are listed, with what is wrong", async () => {
  const page = await open(200);
  await page.getByRole("link", { name: "Late 1" }).click();
  await shown(page, "1 of 200");
  assert.equal(search(page), "?state=late");
  await page.locator("article.card").getByText("Throttling: Rate exceeded").waitFor();
  await page.getByLabel("Find users").fill("zzz");
  await page.getByText("No user of this state").waitFor();
  assert.equal(search(page), "?q=zzz&state=late");
  await page.getByRole("link", { name: "Clear" }).click();
  await shown(page, "1–50 of 200");
  await page.context().close();
});

test("a line opens to its card and closes, by keyboard, and the address keeps it", async () => {
  const page = await open(200, "/?page=2");
  await live(page);
  const name = await page.locator(".line").nth(20).getAttribute("data-user");
  await page.getByRole("link", { name, exact: true }).focus();
  await page.keyboard.press("Enter");
  const card = page.locator(`article.card[data-user="${name}"]`);
  await card.getByRole("img", { name: "Timeline of the keys of " + name }).waitFor();
  assert.equal(search(page), "?page=2&user=" + name);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), name, "the name keeps the focus");
  assert.equal(await page.locator(".line").count(), 49);
  await page.reload();
  await card.waitFor();
  await card.getByRole("link", { name, exact: true }).focus();
  await page.keyboard.press("Enter");
  await card.waitFor({ state: "detached" });
  assert.equal(search(page), "?page=2");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), name, "the name keeps the focus");
  await page.context().close();
});

test("without JavaScript all of it works, too", async () => {
  const page = await open(200, "/", { javaScriptEnabled: false });
  await page.getByLabel("Find users").fill("app");
  await page.getByRole("button", { name: "Find" }).click();
  await shown(page, "40 of 200");
  await page.locator(".line .toggle").nth(3).click();
  await page.locator("article.card").waitFor();
  await page.getByRole("link", { name: "Clear" }).click();
  await page.getByRole("link", { name: "Next" }).click();
  await shown(page, "51–100 of 200");
  const now = await page.locator(".line .strip").first().evaluate((e) => [e.querySelector(".mover").getAttribute("x"), e.querySelectorAll("rect").length]);
  assert.ok(parseFloat(now[0]) <= 0 && now[1] > 3, `the bars are drawn where they are by now: ${now}`);
  await page.context().close();
});

test("the time axis moves by itself, by the server's clock", async () => {
  const page = await open(200, "/", {}, (page) => page.addInitScript(() => {
    const real = Date.now.bind(Date); // a machine whose clock is an hour ahead
    Date.now = () => real() + 3_600_000;
  }));
  await live(page);
  const x = () => page.locator(".mover").first().getAttribute("x").then(parseFloat);
  const first = await x();
  assert.ok(first > -100, `the bars are an hour off: ${first}`);
  await within("the bars move", async () => (await x()) < first);
  const next = await page.locator('.line[data-state="on-time"] .next').first().textContent();
  assert.match(next, / (in \d|now)/, "what is planned is not past");
  await page.context().close();
});

// What a stream of the page costs in bytes a second, as long as it is looked at.
async function rate(n, path, seconds) {
  const page = await open(n, path);
  const address = await page.locator("main").getAttribute("data-stream");
  const cookie = (await page.context().cookies()).map((c) => `${c.name}=${c.value}`).join("; ");
  await page.context().close();
  const end = new AbortController();
  const answer = await fetch(crowds[n].url + address, { headers: { cookie }, signal: end.signal });
  assert.equal(answer.status, 200);
  let bytes = 0;
  const reading = (async () => { for await (const chunk of answer.body) bytes += chunk.length; })().catch(() => {});
  await new Promise((done) => setTimeout(done, seconds * 1000));
  end.abort();
  await reading;
  return bytes / seconds;
}

test("a viewer is sent what changes, and no more", async () => {
  for (const [n, path, bound] of [[200, "/", 25_000], [5000, "/?state=on-time", 25_000], [5000, "/?state=late", 25_000]]) {
    const bytes = await rate(n, path, 15);
    console.log(`${n} users, ${path}: ${Math.round(bytes)} bytes a second`);
    assert.ok(bytes < bound, `${bytes} bytes a second, want less than ${bound}`);
  }
});

test("a page that hears nothing does not say that all is well", async () => {
  const page = await open(200, "/?state=on-time");
  await live(page);
  process.kill(crowds[200].pid, "SIGSTOP");
  try {
    await page.locator("[data-headline]").getByText("No news from keyrot since").waitFor();
    await page.screenshot({ path: `${screenshots}/stale.png` });
    await accessible(page, "a page without news");
  } finally {
    process.kill(crowds[200].pid, "SIGCONT");
  }
  await page.locator("[data-headline]").getByText("1 user overdue").waitFor();
  await live(page);
  troubles.length = 0; // a server that does not answer is told in the console
  await page.context().close();
});

for (const n of [200, 5000]) {
  for (const colorScheme of ["light", "dark"]) {
    for (const [device, width, height] of [["desktop", 1280, 900], ["phone", 390, 844]]) {
      test(`accessible and whole: ${n} users, ${device}, ${colorScheme}`, async () => {
        const page = await open(n, "/", { viewport: { width, height }, colorScheme, deviceScaleFactor: device === "phone" ? 2 : 1 });
        await live(page);
        await page.screenshot({ path: `${screenshots}/${n}-${device}-${colorScheme}.png` });
        await page.locator(".line .toggle").nth(3).click();
        await page.locator("article.card summary").click();
        await accessible(page, `${n} users`);
        await page.screenshot({ path: `${screenshots}/${n}-card-${device}-${colorScheme}.png` });
        await page.context().close();
      });
    }
  }
}

test("nothing complained, and no answer was too large", async () => {
  assert.deepEqual(troubles, []);
  assert.ok(sizes.length > 30, `${sizes.length} answers were seen`);
  for (const [url, size, encoding] of sizes) {
    assert.ok(size <= most, `${url} is ${size} bytes`);
    assert.ok(size < 1024 || encoding === "gzip", `${url} of ${size} bytes is not compressed`);
  }
});
