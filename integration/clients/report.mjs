// Tells the test, one JSON object per line on standard output, what was asked of
// the server and what went wrong. Import it first: the SDK logs to the console,
// which is moved to standard error here.

import { Console } from "node:console";
import { writeSync } from "node:fs";
import { basename } from "node:path";

globalThis.console = new Console(process.stderr);

export const report = (line) => writeSync(1, JSON.stringify(line) + "\n");

const program = `${basename(process.argv[1], ".mjs")}.${process.pid}`;
let requests = 0;

// fetch with a number in X-Lab-Id that no other request of any program has; each
// try of a retry has another.
export async function numberedFetch(resource, options = {}) {
    const id = `${program}.${++requests}`;
    const url = new URL(resource).href;
    const headers = new Headers(options.headers);
    headers.set("X-Lab-Id", id);
    const request = {
        id,
        url,
        method: (options.method ?? "GET").toUpperCase(),
        authorization: headers.get("Authorization") ?? "",
        status: 0,
    };
    try {
        const response = await fetch(url, { ...options, headers });
        request.status = response.status;
        return response;
    } finally {
        report({ request });
    }
}

// step runs a named part of a test and ends the process when it fails.
export async function step(name, part) {
    try {
        await part();
        report({ step: name });
    } catch (error) {
        report({ step: name, failure: String(error?.stack ?? error) });
        process.exit(1);
    }
}

// until resolves with what condition returns, once that is true; it looks ten
// times a second, for twenty seconds.
export async function until(what, condition) {
    for (let tries = 0; tries < 200; tries++) {
        const found = await condition();
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`waited 20 s for ${what}`);
}
