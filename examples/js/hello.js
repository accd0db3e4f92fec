// The same hello, in JavaScript: a fetch handler, as a service worker has it.

import { getEnvironment } from "wasi:cli/environment@0.2.10";

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

function answer(request) {
  const { pathname } = new URL(request.url);
  if (pathname === "/healthz") return text("ok\n");
  console.log(`${request.method} ${pathname}`);
  return pathname === "/" ? text(hello()) : text(`nothing at ${pathname}\n`, 404);
}

function hello() {
  const { GREETING = "Hello!", POD_NAME = "nobody in particular" } = Object.fromEntries(getEnvironment());
  return `${GREETING}\nI am ${POD_NAME}.\n`;
}

function text(body, status = 200) {
  return new Response(body, { status, headers: { "content-type": "text/plain; charset=utf-8" } });
}
