// Sort a table's rows within their groups by the column whose heading is pressed: down, up, as they were.
"use strict";

// Minus signs, thousands separators and marks aside, a cell is worth the first number in it.
function worth(cell) {
  const number = cell.textContent.replaceAll("−", "-").replaceAll(",", "").match(/[-+]?\d+(\.\d+)?/);
  return number ? parseFloat(number[0]) : null;
}

function compare(column, direction, byName) {
  return (one, other) => {
    const [a, b] = [one.cells[column], other.cells[column]];
    if (byName) return direction * a.textContent.localeCompare(b.textContent);
    const [x, y] = [worth(a), worth(b)];
    if (x === null || y === null) return (x === null) - (y === null); // what has no number comes last
    return direction * (x - y);
  };
}

for (const table of document.querySelectorAll("table.sortable")) {
  const groups = [...table.tBodies].map((body) => [body, [...body.querySelectorAll("tr.row")]]);
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const byName = heading.classList.contains("name");
    const order = byName ? ["ascending", "descending", "none"] : ["descending", "ascending", "none"];
    heading.querySelector("button").addEventListener("click", () => {
      const next = order[(order.indexOf(heading.ariaSort ?? "none") + 1) % order.length];
      headings.forEach((other) => (other.ariaSort = "none"));
      heading.ariaSort = next;
      for (const [body, rows] of groups) {
        const direction = next === "ascending" ? 1 : -1;
        body.append(...(next === "none" ? rows : rows.toSorted(compare(column, direction, byName))));
      }
    });
  });
}
