// Two users live a day with matrix-js-sdk, the SDK of Element Web. All they know
// at first is the server's name, given as the only argument.

import { numberedFetch, step, until } from "./report.mjs";
import { strict as assert } from "node:assert";
import { AutoDiscovery, createClient, EventType, Preset, Visibility } from "matrix-js-sdk";

const serverName = process.argv[2];
const password = "correct horse battery staple";

let baseUrl;
let carol, dave, room;

async function register(username) {
    const guest = createClient({ baseUrl, fetchFn: numberedFetch });
    const account = await guest.registerRequest({
        username,
        password,
        auth: { type: "m.login.dummy" },
        device_id: username.toUpperCase(),
    });
    return createClient({
        baseUrl,
        fetchFn: numberedFetch,
        userId: account.user_id,
        accessToken: account.access_token,
        deviceId: account.device_id,
    });
}

async function start(client) {
    await client.initRustCrypto({ useIndexedDB: false });
    await client.startClient({ initialSyncLimit: 10, pollTimeout: 3000 });
    await until("the first sync", () => client.isInitialSyncComplete());
}

await step("discover", async () => {
    AutoDiscovery.setFetchFn(numberedFetch);
    const found = await AutoDiscovery.findClientConfig(serverName);
    assert.equal(found["m.homeserver"].state, AutoDiscovery.SUCCESS, JSON.stringify(found));
    baseUrl = found["m.homeserver"].base_url;
});

await step("register", async () => {
    carol = await register("carol");
    dave = await register("dave");
});

await step("log in", async () => {
    const other = createClient({ baseUrl, fetchFn: numberedFetch });
    const { flows } = await other.loginFlows();
    assert.ok(flows.some(({ type }) => type === "m.login.password"));
    const session = await other.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: "carol" },
        password,
    });
    const second = createClient({ baseUrl, fetchFn: numberedFetch, accessToken: session.access_token, userId: session.user_id });
    assert.equal((await second.whoami()).user_id, carol.getUserId());
    await second.logout();
});

await step("first sync, and keys", async () => {
    await start(carol);
    await start(dave);
});

await step("an encrypted room", async () => {
    const created = await carol.createRoom({
        preset: Preset.PrivateChat,
        name: "Library",
        invite: [dave.getUserId()],
        initial_state: [{ type: EventType.RoomEncryption, state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
    });
    room = created.room_id;
    await until("the invitation", () => dave.getRoom(room));
    await dave.joinRoom(room);
    await until("Dave among the members", () => carol.getRoom(room)?.getMember(dave.getUserId())?.membership === "join");
    await until("the encryption of the room", () => carol.getRoom(room)?.hasEncryptionStateEvent());
});

await step("an encrypted message", async () => {
    const { event_id: eventId } = await carol.sendTextMessage(room, "quiet, please");
    const message = await until("the message", () => dave.getRoom(room).findEventById(eventId));
    await until("its text", () => message.getContent().body === "quiet, please");
    await dave.sendReadReceipt(message);
    await dave.setRoomReadMarkers(room, eventId);
    await until("the receipt", () => carol.getRoom(room).getEventReadUpTo(dave.getUserId()) === eventId);
});

await step("typing", async () => {
    await dave.sendTyping(room, true, 10000);
    await until("Dave to be typing", () => carol.getRoom(room).getMember(dave.getUserId()).typing);
    await dave.sendTyping(room, false, 0);
});

await step("presence", async () => {
    await dave.setPresence({ presence: "unavailable", status_msg: "reading" });
    await until("Dave's presence", () => carol.getUser(dave.getUserId())?.presenceStatusMsg === "reading");
});

await step("account data and tags", async () => {
    await carol.setAccountData("test.shelf", { books: 3 });
    await until("the account data", () => carol.getAccountData("test.shelf")?.getContent().books === 3);
    await carol.setRoomTag(room, "u.quiet", { order: 0.25 });
    assert.ok("u.quiet" in (await carol.getRoomTags(room)).tags);
    await carol.deleteRoomTag(room, "u.quiet");
});

await step("push rules", async () => {
    await carol.addPushRule("global", "content", "book", { pattern: "book", actions: ["notify"] });
    assert.ok((await carol.getPushRules()).global.content.some(({ rule_id: id }) => id === "book"));
    await carol.deletePushRule("global", "content", "book");
});

await step("media", async () => {
    const text = "Once upon a time";
    const { content_uri: uri } = await carol.uploadContent(new Blob([text]), { type: "text/plain", name: "tale.txt" });
    const address = dave.mxcUrlToHttp(uri, undefined, undefined, undefined, false, true, true);
    const response = await numberedFetch(address, { headers: { Authorization: `Bearer ${dave.getAccessToken()}` } });
    assert.equal(await response.text(), text);
});

await step("profile, directory and devices", async () => {
    await carol.setDisplayName("Carol 📚");
    assert.equal((await dave.getProfileInfo(carol.getUserId())).displayname, "Carol 📚");
    await until("Dave in the user directory", async () => {
        const { results } = await carol.searchUserDirectory({ term: "dave" });
        return results.length === 1;
    });
    const { devices } = await carol.getDevices();
    await carol.setDeviceDetails(devices[0].device_id, { display_name: "desk" });
});

await step("a public room by its alias, its spelling escaped", async () => {
    const { room_id: id } = await carol.createRoom({
        preset: Preset.PublicChat,
        visibility: Visibility.Public,
        room_alias_name: "café/☕",
        room_version: "12",
    });
    const joined = await dave.joinRoom(`#café/☕:${serverName}`);
    assert.equal(joined.roomId, id);
    await dave.publicRooms({ limit: 5 });
    await until("the room", () => dave.getRoom(id)?.getMyMembership() === "join");
    await dave.scrollback(dave.getRoom(id), 10);
});

await step("stop", async () => {
    carol.stopClient();
    dave.stopClient();
    await carol.logout();
});

process.exit(0);
