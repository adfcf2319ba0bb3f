// Reports what a browser sees of the network, by its own developer tools: they
// tell of preflights, which scripts never see.

import { report } from "./report.mjs";

// watch reports each answer, redirect, preflight, failure and complaint of a page
// from now on.
export async function watch(page) {
    const tools = await page.context().newCDPSession(page);
    const requests = new Map(); // by their id; one that is redirected keeps its own

    const sight = (kind, request, more) =>
        report({
            sighting: {
                kind,
                page: request.origin,
                method: request.method,
                url: request.url,
                authorization: request.headers?.Authorization ?? "",
                ...more,
            },
        });

    tools.on("Network.requestWillBeSent", ({ requestId, request, documentURL, redirectResponse }) => {
        if (redirectResponse) {
            const { status, headers } = redirectResponse;
            sight("redirect", requests.get(requestId), { status, headers: lower(headers) });
        }
        const origin = request.headers.Origin ?? new URL(documentURL).origin; // a preflight has no document
        requests.set(requestId, { ...request, origin });
    });
    tools.on("Network.responseReceived", ({ requestId, response }) => {
        const request = requests.get(requestId);
        if (!request || response.fromDiskCache || request.url.startsWith("data:") || request.url.startsWith("blob:")) return;
        const kind = request.method === "OPTIONS" ? "preflight" : "answer"; // the page itself never asks so
        sight(kind, request, { status: response.status, headers: lower(response.headers) });
    });
    tools.on("Network.loadingFailed", ({ requestId, errorText, canceled, corsErrorStatus }) => {
        if (canceled && !corsErrorStatus) return; // the page itself gave up, as it does when it is left
        const text = `${errorText} ${corsErrorStatus?.corsError ?? ""}`.trim();
        sight("failure", requests.get(requestId) ?? { url: requestId }, { text });
    });
    tools.on("Log.entryAdded", ({ entry: { level, text, url } }) => {
        if (level === "error") sight("complaint", { url }, { text });
    });
    tools.on("Runtime.exceptionThrown", ({ exceptionDetails: { text, url, exception } }) =>
        sight("complaint", { url }, { text: exception?.description ?? text }),
    );
    tools.on("Runtime.consoleAPICalled", ({ type, args }) => {
        if (type !== "error" && type !== "assert") return;
        sight("complaint", { url: page.url() }, { text: args.map(({ value, description }) => value ?? description).join(" ") });
    });
    tools.on("Audits.issueAdded", ({ issue: { code, details } }) => {
        if (code === "CorsIssue") sight("complaint", { url: page.url() }, { text: JSON.stringify(details) });
    });
    for (const domain of ["Network", "Log", "Runtime", "Audits"]) await tools.send(`${domain}.enable`);
}

function lower(headers) {
    return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}
