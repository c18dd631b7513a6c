// The log stays at its end while lines come in, unless somebody reads further up.
"use strict";
const tail = document.getElementById("tail");
const follow = document.getElementById("follow");
if (tail && follow) {
  const toEnd = () => { if (follow.checked) tail.scrollTop = tail.scrollHeight; };
  follow.closest(".needs-js").hidden = false;
  follow.addEventListener("change", toEnd);
  tail.addEventListener("scroll", () => {
    follow.checked = tail.scrollTop + tail.clientHeight >= tail.scrollHeight - 40;
  });
  document.addEventListener("htmx:before:request", (event) => { if (document.hidden && event.target.id === "more") event.preventDefault(); });
  document.addEventListener("htmx:after:swap", () => {
    if (tail.querySelector(".at")) {
      tail.hidden = false;
      const empty = document.querySelector(".empty");
      if (empty) empty.remove();
    }
    toEnd();
  });
  toEnd();
}
