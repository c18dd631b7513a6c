// A page that nobody looks at does not ask for news, and open menus are not pulled away from under the hand.
"use strict";
document.addEventListener("htmx:before:request", (event) => {
  const at = document.activeElement;
  if (document.hidden || (at && at.tagName === "SELECT" && event.target.contains && event.target.contains(at))) {
    event.preventDefault();
  }
});
