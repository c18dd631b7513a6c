// Hosts dragged onto roles, roles onto hosts, and roles by their number; each presses a button that is there anyway.
"use strict";
const ticked = () => boxes().filter((box) => box.checked);
const give = (role) => document.querySelector(`#role-${CSS.escape(role)} button[value^="give "]`);

const press = (role, ids) => {
  const button = give(role);
  if (!button) return;
  if (ids) boxes().forEach((box) => { box.checked = ids.includes(box.value); });
  if (!ticked().length) {
    document.getElementById("chosen").textContent = "Choose at least one host first.";
    return;
  }
  button.click();
};

let dragged = null;
document.addEventListener("dragstart", (event) => {
  const row = event.target.closest("tr[data-host]");
  const card = event.target.closest("[data-role]");
  if (row) {
    const chosen = ticked().map((box) => box.value);
    dragged = { hosts: chosen.includes(row.dataset.host) ? chosen : [row.dataset.host] };
  } else if (card) dragged = { role: card.dataset.role };
  else return;
  event.dataTransfer.effectAllowed = "copy";
  event.dataTransfer.setData("text/plain", row ? dragged.hosts.join(" ") : dragged.role);
});

const target = (event) => {
  if (!dragged || !event.target.closest) return null;
  return event.target.closest(dragged.hosts ? ".role-card" : "tr[data-host]");
};
const unmark = () => document.querySelectorAll(".drop").forEach((one) => one.classList.remove("drop"));
document.addEventListener("dragover", (event) => {
  const on = target(event);
  unmark();
  if (!on) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  on.classList.add("drop");
});
document.addEventListener("dragend", () => { unmark(); dragged = null; });
document.addEventListener("drop", (event) => {
  const on = target(event);
  unmark();
  if (!on) return;
  event.preventDefault();
  if (dragged.hosts) press(on.dataset.role, dragged.hosts);
  else press(dragged.role, [on.dataset.host]);
  dragged = null;
});

document.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest(".role-card button");
  if (!button || ticked().length) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  document.getElementById("chosen").textContent = "Choose at least one host first.";
}, true);

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.target.id === "role-filter" && event.key === "Enter") {
    event.preventDefault();
    const [first] = shownCards();
    if (first && event.target.value.trim()) press(first.dataset.role);
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "r") {
    event.preventDefault();
    document.getElementById("role-filter").select();
  }
  if (!/^[1-9]$/.test(event.key)) return;
  const card = shownCards().filter(isNumbered)[Number(event.key) - 1];
  if (card) press(card.dataset.role);
});

// The filter hides cards as it is typed in; numbers are those of what is seen, but for the group that is folded.
const isNumbered = (card) => filterWords().length > 0 || !card.closest("details:not([open])");
const filterWords = () => document.getElementById("role-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
const shownCards = () => [...document.querySelectorAll(".role-card")].filter((card) => !card.hidden);

const sift = () => {
  const field = document.getElementById("role-filter");
  if (!field) return;
  document.querySelectorAll(".no-js").forEach((one) => { one.hidden = true; });
  const words = filterWords();
  document.querySelectorAll(".role-card").forEach((card) => {
    const text = card.textContent.toLowerCase();
    card.hidden = !words.every((word) => text.includes(word));
  });
  document.querySelectorAll(".role-group").forEach((group) => {
    const some = !!group.querySelector(".role-card:not([hidden])");
    group.hidden = !some;
    if (words.length && some && group.matches("details")) group.open = true;
  });
  document.getElementById("no-role").hidden = shownCards().length > 0;
  document.querySelectorAll(".role-card kbd").forEach((one) => { one.textContent = ""; });
  shownCards().filter(isNumbered).slice(0, 9).forEach((card, at) => {
    const mark = card.querySelector("kbd");
    if (mark) mark.textContent = at + 1;
  });
};
document.addEventListener("input", (event) => { if (event.target.id === "role-filter") sift(); });
document.addEventListener("toggle", (event) => { if (event.target.matches(".role-group")) sift(); }, true);
document.addEventListener("htmx:after:swap", sift);
sift();

// A draft that was not saved is not lost by a wrong click.
let leaving = false;
document.addEventListener("submit", () => { leaving = true; });
addEventListener("beforeunload", (event) => { if (!leaving && document.getElementById("draft")) event.preventDefault(); });
