// Hosts dragged to their units, by mouse, pen or finger; the form below does the same without this file.
"use strict";
const place = document.getElementById("place");
if (place) {
  document.querySelectorAll(".needs-js").forEach((one) => { one.hidden = false; });
  let held = null;
  const slotAt = (event) => {
    const below = document.elementFromPoint(event.clientX, event.clientY);
    return below && below.closest(".slot");
  };
  const unmark = () => document.querySelectorAll(".drop").forEach((one) => one.classList.remove("drop"));
  const drop = () => {
    if (held && held.ghost) held.ghost.remove();
    unmark();
    document.getElementById("live").removeAttribute("data-held");
    held = null;
  };
  document.addEventListener("pointerdown", (event) => {
    const source = event.button === 0 && event.target.closest("[data-host]");
    if (source) held = { source, x: event.clientX, y: event.clientY, ghost: null };
  });
  document.addEventListener("pointermove", (event) => {
    if (!held) return;
    if (!held.ghost) {
      if (Math.hypot(event.clientX - held.x, event.clientY - held.y) < 6) return;
      held.ghost = document.createElement("div");
      held.ghost.className = "ghost";
      held.ghost.textContent = (held.source.querySelector(".who") || held.source.querySelector("a") || held.source).textContent;
      document.body.append(held.ghost);
      document.getElementById("live").dataset.held = "1";
    }
    held.ghost.style.transform = `translate(${event.clientX + 8}px, ${event.clientY + 8}px)`;
    unmark();
    const slot = slotAt(event);
    if (slot) slot.classList.add("drop");
  });
  document.addEventListener("pointerup", (event) => {
    if (!held || !held.ghost) { held = null; return; }
    const slot = slotAt(event), source = held.source;
    drop();
    // The click that ends the drag does not follow the link.
    addEventListener("click", (click) => { click.preventDefault(); click.stopPropagation(); }, { capture: true, once: true });
    if (!slot) return;
    place.elements.host.value = source.dataset.host;
    place.elements.rack.value = slot.dataset.rack;
    place.elements.unit.value = slot.dataset.unit;
    place.elements.height.value = source.dataset.height;
    place.requestSubmit(place.querySelector("button[value=place]"));
  });
  document.addEventListener("pointercancel", drop);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") drop(); });
  document.addEventListener("dragstart", (event) => { if (event.target.closest && event.target.closest("[data-host]")) event.preventDefault(); });
  document.addEventListener("htmx:after:swap", () => document.querySelectorAll(".needs-js").forEach((one) => { one.hidden = false; }));
}
