// Two search panes side by side: each shows the rollouts of #search-data that contain all of its words.
// Texts are set as text, never as HTML. `#left=words&right=words` in the address of the page fills the boxes.
(() => {
  "use strict";
  const SHOWN = 20;
  const data = document.getElementById("search-data");
  if (!data) return;
  const rollouts = JSON.parse(data.textContent);
  const fields = ["question", "text", "verdict", "reason", "subdomain", "stage", "question_id"];
  const haystacks = rollouts.map((r) => fields.map((f) => r[f] || "").join("\n").toLowerCase());

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  };

  const card = (r) => {
    const made = element("article", "card", "");
    const p_c = r.p_c === null ? "" : ` · p_c ${(100 * r.p_c).toFixed(1)}%`;
    const length = `${r.tokens} tokens (${r.finish_reason})`;
    const facts = [`${r.stage} ${r.step}`, r.subdomain, r.question_id, length + p_c, r.reason].filter(Boolean);
    const meta = element("p", "meta", "");
    meta.append(element("span", `badge ${r.verdict}`, r.verdict), ` ${facts.join(" · ")}`);
    made.append(meta, element("span", "label", "Question"), element("pre", "", r.question));
    made.append(element("span", "label", "Answer"), element("pre", "", r.text));
    return made;
  };

  const show = (pane) => {
    const words = pane.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rollouts.filter((_, i) => words.every((word) => haystacks[i].includes(word)));
    const shown = found.slice(0, SHOWN);
    const first = found.length > SHOWN ? `, the first ${SHOWN} shown` : "";
    pane.querySelector(".count").textContent = `${found.length} of ${rollouts.length}${first}`;
    pane.querySelector(".found").replaceChildren(...shown.map(card));
  };

  const fromAddress = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const side of ["left", "right"]) {
      const pane = document.getElementById(`search-${side}`);
      if (asked.has(side)) pane.querySelector("input").value = asked.get(side);
      show(pane);
    }
  };

  for (const pane of document.querySelectorAll(".pane")) {
    pane.querySelector("input").addEventListener("input", () => show(pane));
  }
  addEventListener("hashchange", fromAddress);
  fromAddress();
})();
