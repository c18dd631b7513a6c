// Pages that refresh themselves: quiet while nobody looks, gentle with what is in use, and honest when the server is away.
"use strict";
const offline = () => document.getElementById("offline");

document.addEventListener("htmx:config:request", (event) => {
  const ctx = event.detail.ctx;
  const seen = ctx.sourceElement && ctx.sourceElement.dataset && ctx.sourceElement.dataset.seen;
  if (seen && ctx.request.headers) ctx.request.headers["X-Seen"] = seen;
});

document.addEventListener("htmx:before:request", (event) => {
  const live = event.target.id === "live" ? event.target : null;
  if (!live) return;
  const at = document.activeElement;
  const menuIsOpen = at && at.tagName === "SELECT" && live.contains(at);
  if (document.hidden || menuIsOpen || live.dataset.held) event.preventDefault();
});

// Without an answer, or with one that only a server in trouble gives, the page says so and goes on asking.
const away = () => { const note = offline(); if (note) note.hidden = false; };
document.addEventListener("htmx:error", (event) => { if (event.target.id === "live") away(); });
document.addEventListener("htmx:after:request", (event) => {
  const note = offline();
  const response = event.detail.ctx.response;
  if (!note || !response) return;
  if (response.status >= 500) away();
  else note.hidden = true;
});
