// The list by keyboard and by ranges; without this file links and boxes do the same.
"use strict";
const list = () => document.querySelector("table.hosts");
const boxes = () => [...document.querySelectorAll("#bulk input[name=host]")];
const links = () => [...document.querySelectorAll("table.hosts td.name a")];
let last = null;

const count = () => {
  const chosen = boxes().filter((box) => box.checked).length;
  const words = document.getElementById("chosen");
  const every = document.getElementById("bulk-all");
  if (words) words.textContent = chosen || (every && every.checked) ? `${chosen} chosen` : "With the chosen hosts";
  const all = document.getElementById("pick-all");
  if (all) {
    all.checked = chosen > 0 && chosen === boxes().length;
    all.indeterminate = chosen > 0 && chosen < boxes().length;
  }
};

const show = () => {
  document.querySelectorAll(".needs-js").forEach((one) => { one.hidden = false; });
  count();
};

document.addEventListener("click", (event) => {
  const box = event.target.closest && event.target.closest("#bulk input[name=host]");
  if (!box) return;
  if (event.shiftKey && last) {
    const all = boxes();
    const [from, to] = [all.findIndex((one) => one.id === last), all.indexOf(box)].sort((a, b) => a - b);
    if (from >= 0) all.slice(from, to + 1).forEach((one) => { one.checked = box.checked; });
  }
  last = box.id;
});

document.addEventListener("change", (event) => {
  if (event.target.id === "pick-all") boxes().forEach((box) => { box.checked = event.target.checked; });
  count();
});

const move = (by) => {
  const all = links();
  const at = all.findIndex((one) => one.closest("tr").contains(document.activeElement));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)];
  if (next) next.focus();
};

const KEYS = {
  "/": () => document.getElementById("q").select(),
  j: () => move(1),
  k: () => move(-1),
  x: () => {
    const row = document.activeElement.closest("table.hosts tbody tr");
    if (row) { row.querySelector("input[name=host]").click(); }
  },
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !list() || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

// Menus close when the hand goes elsewhere.
document.addEventListener("pointerdown", (event) => {
  document.querySelectorAll("details.pop[open]").forEach((one) => { if (!one.contains(event.target)) one.open = false; });
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelectorAll("details.pop[open]").forEach((one) => { one.open = false; });
});
document.addEventListener("htmx:after:swap", show);
show();
