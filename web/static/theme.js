// Light or dark at once; without this file the buttons send a form that does the same.
"use strict";
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form.theme");
  if (!form || !event.submitter) return;
  event.preventDefault();
  const chosen = event.submitter.value;
  document.cookie = `pxeforge-theme=${chosen}; Path=/; Max-Age=31622400; Secure; SameSite=Strict`;
  document.documentElement.dataset.theme = chosen;
  form.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one.value === chosen)));
});
