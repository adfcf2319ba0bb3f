import { MsgType } from "matrix-js-sdk";

const find = (selector) => document.querySelector(selector);

// element makes an element with a class, or none, and what is in it.
function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
}

// avatar is a name's first letter on a colour of its own.
function avatar(name) {
    const made = element("span", "avatar", [...name][0].toUpperCase());
    const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
    made.style.setProperty("--hue", `hsl(${hue} 38% 46%)`);
    made.ariaHidden = "true";
    return made;
}

// RoomView is the list of rooms and the conversation in one of them.
export class RoomView {
    #client;
    #current; // the id of the room that is shown
    #pictures = new Map(); // by their mxc address, promises of URLs
    #read; // the id of the last event a receipt was sent for
    #typed = 0; // when the others were last told that somebody writes
    #awaited = false;

    constructor(client) {
        this.#client = client;
        find("#composer").onsubmit = (event) => this.#send(event);
        find("#composer").oninput = () => this.#tellTyping();
    }

    // refresh draws everything anew, once for all events that come together.
    refresh() {
        if (this.#awaited) return;
        this.#awaited = true;
        requestAnimationFrame(() => {
            this.#awaited = false;
            this.#draw();
        });
    }

    #draw() {
        const rooms = this.#client.getRooms().filter((room) => room.getMyMembership() === "join");
        rooms.sort((a, b) => b.getLastActiveTimestamp() - a.getLastActiveTimestamp());
        const room = rooms.find(({ roomId }) => roomId === this.#current) ?? rooms[0];
        if (!room) return;
        this.#current = room.roomId;
        find("#rooms").replaceChildren(...rooms.map((each) => this.#entry(each, each === room)));
        find("#me").textContent = this.#client.getUserId();
        find("#name").textContent = room.name;
        find("#topic").textContent = room.currentState.getStateEvents("m.room.topic", "")?.getContent().topic ?? "";
        const typing = room.getJoinedMembers().filter((member) => member.typing && member.userId !== this.#client.getUserId());
        find("#typing").textContent = typing.length ? `${typing.map(({ name }) => name).join(", ")} is typing…` : "";
        this.#drawTimeline(messages(room));
    }

    #drawTimeline(events) {
        const timeline = find("#timeline");
        timeline.replaceChildren(...events.map((event) => this.#message(event)));
        timeline.scrollTop = timeline.scrollHeight;
        const others = events.filter((event) => event.getSender() !== this.#client.getUserId());
        const last = others.at(-1);
        if (last && last.getId() !== this.#read) {
            this.#read = last.getId();
            this.#client.sendReadReceipt(last);
        }
    }

    #entry(room, current) {
        const last = messages(room).at(-1)?.getContent().body ?? "";
        const entry = element("li", "", avatar(room.name), element("b", "", room.name), element("small", "", last));
        if (current) entry.setAttribute("aria-current", "true");
        entry.onclick = () => {
            this.#current = room.roomId;
            this.refresh();
        };
        return entry;
    }

    #message(event) {
        const content = event.getContent();
        const mine = event.getSender() === this.#client.getUserId();
        const name = event.sender?.name ?? event.getSender();
        const time = event.getDate().toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
        const bubble = element("div", "bubble");
        if (content.msgtype === MsgType.Image) bubble.append(this.#picture(content));
        bubble.append(content.body, element("time", "", time));
        const line = element("li", mine ? "mine" : "", avatar(name), element("span", "who", name), bubble);
        line.classList.toggle("pending", event.isSending());
        return line;
    }

    // picture shows a file for which the homeserver wants to see a token, so that
    // its address alone does not do.
    #picture({ url, body }) {
        const image = element("img", "");
        image.alt = body;
        if (!this.#pictures.has(url)) this.#pictures.set(url, this.#fetchPicture(url));
        this.#pictures.get(url).then((address) => (image.src = address));
        return image;
    }

    async #fetchPicture(url) {
        const address = this.#client.mxcUrlToHttp(url, undefined, undefined, undefined, false, true, true);
        const response = await fetch(address, { headers: { Authorization: `Bearer ${this.#client.getAccessToken()}` } });
        if (!response.ok) throw new Error(`the picture: ${response.status}`);
        return URL.createObjectURL(await response.blob());
    }

    #tellTyping() {
        if (Date.now() - this.#typed < 4000) return;
        this.#typed = Date.now();
        this.#client.sendTyping(this.#current, true, 6000);
    }

    async #send(event) {
        event.preventDefault();
        const field = find("#composer").elements.text;
        const text = field.value.trim();
        if (!text) return;
        field.value = "";
        this.#typed = 0;
        await this.#client.sendTyping(this.#current, false, 0);
        await this.#client.sendTextMessage(this.#current, text);
    }
}

// messages are what people said in a room, the oldest first, and last what is
// still on its way.
function messages(room) {
    return room.getLiveTimeline().getEvents().filter((event) => event.getType() === "m.room.message" && event.getContent().body);
}
