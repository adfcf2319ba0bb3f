// A person uses the web client in Chromium, another matrix-js-sdk in Node, and
// they talk. The only argument is what errand in browser_test.go says.

import { numberedFetch, step, until } from "./report.mjs";
import { watch } from "./sightings.mjs";
import { strict as assert } from "node:assert";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { AutoDiscovery, createClient, MsgType, Preset } from "matrix-js-sdk";
import { chromium } from "playwright-core";

const { serverName, page: address, otherPage, broken, impostor, home, screenshot } = JSON.parse(process.argv[2]);
const password = "correct horse battery staple";
const wendy = `@wendy:${serverName}`;

let baseUrl, victor, room;
let browser, page;

async function register(username, displayName) {
    const { user_id: userId, access_token: accessToken, device_id: deviceId } = await createClient({
        baseUrl,
        fetchFn: numberedFetch,
    }).registerRequest({ username, password, auth: { type: "m.login.dummy" } });
    const client = createClient({ baseUrl, fetchFn: numberedFetch, userId, accessToken, deviceId });
    await client.setDisplayName(displayName);
    return client;
}

// says has Victor write to the room, and waits until the page shows it.
async function says(text) {
    await victor.sendTextMessage(room, text);
    await page.getByLabel("Messages").getByText(text).waitFor();
}

// answers has Wendy write on the page. Victor sees her typing, and what she wrote.
async function answers(text) {
    const field = page.getByLabel("Message", { exact: true });
    await field.pressSequentially(text, { delay: 5 });
    await until("Wendy to be typing", () => victor.getRoom(room).getMember(wendy).typing);
    await field.press("Enter");
    const message = await until(`"${text}"`, () => victor.getRoom(room).timeline.find((e) => e.getContent().body === text));
    assert.equal(message.getSender(), wendy);
}

async function comeIn() {
    await page.getByLabel("Matrix ID").fill(wendy);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Come in" }).click();
    await page.getByRole("heading", { name: "Front door" }).waitFor();
}

async function leave() {
    await page.getByRole("button", { name: "Leave" }).click();
    await page.getByRole("heading", { name: "Front door" }).waitFor({ state: "hidden" });
}

// ask has the page's script fetch what it should be able to read, whatever the
// answer: with a token, for which a browser asks permission first, and without.
async function ask(path, status) {
    for (const headers of [{}, { Authorization: "Bearer nobody" }]) {
        const answer = await page.evaluate(
            async ([url, init]) => {
                const response = await fetch(url, init);
                return { status: response.status, body: await response.json() };
            },
            [baseUrl + path, { headers }],
        );
        assert.equal(answer.status, status, JSON.stringify(answer));
        assert.match(answer.body.errcode, /^M_/);
    }
}

await step("two users and a room", async () => {
    AutoDiscovery.setFetchFn(numberedFetch);
    baseUrl = (await AutoDiscovery.findClientConfig(serverName))["m.homeserver"].base_url;
    victor = await register("victor", "Victor");
    const guest = await register("wendy", "Wendy");
    for (const [name, topic, text] of [
        ["Garden", "Beans and roses", "The beans are up."],
        ["Kitchen", "What is for supper", "The kettle is on."],
        ["Front door", "Who answers, and why"],
    ]) {
        ({ room_id: room } = await victor.createRoom({ preset: Preset.PublicChat, name, topic }));
        await guest.joinRoom(room);
        if (text) await victor.sendTextMessage(room, text);
    }
    await victor.startClient({ initialSyncLimit: 10, pollTimeout: 3000 });
    await until("the room", () => victor.getRoom(room)?.getMember(wendy)?.membership === "join");
});

await step("a browser", async () => {
    browser = await chromium.launchPersistentContext(join(home, "profile"), {
        executablePath: "/usr/bin/chromium",
        env: { ...process.env, HOME: home },
        args: ["--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
        viewport: { width: 1100, height: 740 },
        deviceScaleFactor: 1.5,
        locale: "en-GB",
    });
    browser.setDefaultTimeout(20_000);
    page = await browser.newPage();
    await watch(page);
});

await step("from http and without the slash to the page", async () => {
    const response = await page.goto(address.replace("https:", "http:").replace(/\/$/, ""));
    assert.equal(response.url(), address);
    assert.equal(response.status(), 200);
    await page.getByRole("button", { name: "Come in" }).waitFor();
});

await step("from the host alone to the page", async () => {
    await page.goto(new URL("/", address).href);
    assert.equal(page.url(), address);
});

await step("a conversation under a path of Synapse's host", async () => {
    await comeIn();
    await says("Knock, knock.");
    await answers("Come in, it is open. I took the door under /element.");
    await leave();
});

await step("a conversation from another origin", async () => {
    await page.goto(otherPage);
    await comeIn();
    await says("And now?");
    await answers("Through a door of its own. All I typed was my name and where I am at home.");
});

await step("a picture, which only its members may fetch", async () => {
    const picture = new Blob([await readFile("door.svg")]);
    const { content_uri: url } = await victor.uploadContent(picture, { type: "image/svg+xml", name: "door.svg" });
    await victor.sendMessage(room, { msgtype: MsgType.Image, body: "Somebody left a light on for you.", url, info: { mimetype: "image/svg+xml" } });
    const shown = page.getByRole("img", { name: "Somebody left a light on" });
    await shown.waitFor();
    await until("the picture", () => shown.evaluate(({ naturalWidth }) => naturalWidth > 0));
    await answers("Thank you. I shall wipe my feet.");
});

await step("a screenshot", async () => {
    await victor.sendTyping(room, true, 10_000);
    await page.getByText("Victor is typing…").waitFor();
    await page.screenshot({ path: screenshot });
});

await step("what is closed, and what fails, can be read", async () => {
    await ask("/_synapse/admin/v1/server_version", 403);
    await ask(broken, 502);
});

await step("leave", async () => {
    await leave();
    victor.stopClient();
});

await step("a server that proves nothing is refused", async () => {
    const unwatched = await browser.newPage();
    await assert.rejects(unwatched.goto(impostor), /ERR_CERT_AUTHORITY_INVALID/);
    await browser.close();
});

process.exit(0);
