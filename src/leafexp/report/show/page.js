for (const code of document.querySelectorAll("code.command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch { // the page may not write there: what is selected can be copied by hand
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  });
  code.after(button);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const upwards = head.getAttribute("aria-sort") === "descending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
    const order = (one, other) => {
      const [a, b] = [key(one), key(other)].map(text => parseFloat(text.replaceAll(",", "").replace(/^>\s*/, "1e9")));
      return isNaN(a) || isNaN(b) ? key(one).localeCompare(key(other)) : a - b;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort((one, other) => upwards ? order(one, other) : order(other, one)));
  }));
}

const filters = document.querySelector(".filters");
filters?.addEventListener("change", () => {
  const [label, right, wrong] = [...filters.querySelectorAll("select")].map(select => select.value);
  const photos = [...document.querySelectorAll("#disagree figure")];
  for (const photo of photos) {
    const rows = photo.dataset.right.split(" ");
    photo.hidden = (label && photo.dataset.label !== label) || (right && !rows.includes(right)) || (wrong && rows.includes(wrong));
  }
  const count = photos.filter(photo => !photo.hidden).length;
  filters.querySelector("output").textContent = count === 1 ? "1 photo" : `${count} photos`;
});

// What a link leads to may be folded.
const unfold = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const folded = target && (target.closest("details") ?? target.querySelector(":scope > details"));
  if (folded && !folded.open) {
    folded.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", unfold);
unfold();

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach(each => each.open = true);
});
addEventListener("afterprint", () => opened.forEach(each => each.open = false));
