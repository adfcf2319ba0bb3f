// A small web client, in the place of Element Web: it finds the homeserver from
// the server name in a Matrix ID, logs in with a password and shows one room at a
// time. The tests use it as a person does, by what is on the screen.

import { AutoDiscovery, ClientEvent, createClient, RoomEvent, RoomMemberEvent } from "matrix-js-sdk";
import { RoomView } from "./room-view.js";

const find = (selector) => document.querySelector(selector);
const signIn = find("#sign-in");

// discover asks the server name's well-known, which is of another origin than
// this page.
async function discover(serverName) {
    const found = (await AutoDiscovery.findClientConfig(serverName))["m.homeserver"];
    if (found.state !== AutoDiscovery.SUCCESS) throw new Error(`${serverName}: ${found.error ?? found.state}`);
    return found.base_url;
}

async function logIn(baseUrl, user, password) {
    const session = await createClient({ baseUrl }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user },
        password,
        initial_device_display_name: `Parlour at ${location.host}`,
    });
    return createClient({ baseUrl, userId: session.user_id, accessToken: session.access_token, deviceId: session.device_id });
}

async function enter({ user, password }) {
    const serverName = user.slice(user.indexOf(":") + 1);
    const baseUrl = await discover(serverName);
    const client = await logIn(baseUrl, user, password);
    const view = new RoomView(client);
    for (const event of [ClientEvent.Sync, RoomEvent.Timeline, RoomEvent.LocalEchoUpdated, RoomMemberEvent.Typing]) {
        client.on(event, () => view.refresh());
    }
    await client.startClient({ initialSyncLimit: 30 });
    showWay(location.host, `${serverName}/.well-known`, new URL(baseUrl).host);
    find("#sign-out").onclick = async () => {
        client.stopClient();
        await client.logout();
        find("#room").hidden = true;
        find("#entrance").hidden = false;
    };
    find("#entrance").hidden = true;
    find("#room").hidden = false;
}

// showWay says where the page came from, who was asked and where that led.
function showWay(...places) {
    const parts = places.flatMap((place) => {
        const bold = document.createElement("b");
        bold.textContent = place;
        return ["  →  ", bold];
    });
    find("#way").replaceChildren(...parts.slice(1));
}

signIn.onsubmit = async (event) => {
    event.preventDefault();
    const complaint = signIn.querySelector("output");
    complaint.textContent = "";
    try {
        await enter(Object.fromEntries(new FormData(signIn)));
        signIn.reset();
    } catch (error) {
        complaint.textContent = error.message;
    }
};
