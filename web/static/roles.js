// Roles can be dragged onto hosts; without this file the boxes do the same.
"use strict";
const form = document.getElementById("role-form");
const palette = document.getElementById("palette");
if (form && palette) {
  const unsaved = document.getElementById("unsaved");
  const boxes = () => [...form.querySelectorAll("input[name=give]")];
  const showChanges = () => {
    const changed = boxes().filter((box) => box.checked !== box.defaultChecked);
    boxes().forEach((box) => box.closest("td").classList.toggle("changed", box.checked !== box.defaultChecked));
    unsaved.textContent = changed.length ? `${changed.length} not saved yet` : "";
  };
  palette.querySelectorAll(".needs-js").forEach((hint) => { hint.hidden = false; });
  palette.addEventListener("dragstart", (event) => {
    const chip = event.target.closest("[data-role]");
    if (chip) event.dataTransfer.setData("text/plain", chip.dataset.role);
  });
  form.querySelectorAll("tr[data-host]").forEach((row) => {
    row.addEventListener("dragover", (event) => { event.preventDefault(); row.classList.add("drop"); });
    row.addEventListener("dragleave", () => row.classList.remove("drop"));
    row.addEventListener("drop", (event) => {
      event.preventDefault();
      row.classList.remove("drop");
      const role = event.dataTransfer.getData("text/plain");
      const box = [...row.querySelectorAll("input[name=give]")].find((one) => one.dataset.role === role);
      if (box) { box.checked = true; showChanges(); }
    });
  });
  form.addEventListener("change", showChanges);
  showChanges();
}
