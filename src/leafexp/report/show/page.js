for (const code of document.querySelectorAll("code.command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
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
      const [a, b] = [key(one), key(other)].map(text => parseFloat(text.replaceAll(",", "").replace(/^>\s*/, "")));
      return isNaN(a) || isNaN(b) ? key(one).localeCompare(key(other)) : a - b;
    };
    const sorted = [...table.tBodies[0].rows].sort((one, other) => upwards ? order(one, other) : order(other, one));
    table.tBodies[0].append(...sorted);
  }));
}
const filters = [...document.querySelectorAll(".filters select")];
for (const filter of filters) {
  filter.addEventListener("change", () => {
    const [label, right] = filters.map(each => each.value);
    for (const photo of document.querySelectorAll(".gallery figure")) {
      const rows = photo.dataset.right.split(" ");
      photo.hidden = (label && photo.dataset.label !== label) || (right && !rows.includes(right));
    }
  });
}
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach(each => each.open = true);
});
addEventListener("afterprint", () => opened.forEach(each => each.open = false));
for (const link of document.querySelectorAll('a[href^="#row-"]')) {
  link.addEventListener("click", () => document.querySelector(link.getAttribute("href")).closest("details").open = true);
}
