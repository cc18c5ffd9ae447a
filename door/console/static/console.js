// The console works without this file; it adds what moves: the story of a run as
// it happens, and candidates for inputs.
"use strict";

const tone = {
  done: "good", live: "good", ok: "good", failed: "bad", denied: "bad", corrupt: "bad",
  rolled_back: "bad", silent: "bad", running: "warn", staged: "warn", skipped: "warn",
};

function cell(row, at, text, css) {
  row.cells[at].textContent = text || "";
  row.cells[at].className = css || "";
}

function board(table, e) {
  if (!e.host) return;
  let row = [...table.tBodies[0].rows].find((r) => r.dataset.host === e.host);
  if (!row) {
    row = table.tBodies[0].insertRow();
    row.dataset.host = e.host;
    for (let i = 0; i < 5; i++) row.insertCell();
    cell(row, 0, e.host);
  }
  cell(row, 1, e.step);
  cell(row, 2, e.state, tone[e.state]);
  cell(row, 4, e.text);
  if (e.total) {
    let bar = row.cells[3].querySelector("progress");
    if (!bar) bar = row.cells[3].appendChild(document.createElement("progress"));
    bar.max = e.total;
    bar.value = e.done || 0;
  }
}

function tell(story, e) {
  if (e.total && e.state === "running") return; // progress is on the board
  const li = document.createElement("li");
  const add = (tag, text, css) => {
    if (!text) return;
    const n = document.createElement(tag);
    n.textContent = text;
    if (css) n.className = css;
    li.append(n, " ");
  };
  add("span", new Date(e.time).toISOString().slice(11, 19), "soft");
  add("strong", e.host);
  add("span", e.step);
  add("span", e.state, tone[e.state]);
  add("span", e.text);
  story.append(li);
}

function follow(table) {
  const story = document.getElementById("story");
  table.tBodies[0].replaceChildren();
  story.replaceChildren();
  const source = new EventSource("/v1/runs/" + table.dataset.run + "/events");
  source.addEventListener("event", (m) => {
    const e = JSON.parse(m.data);
    board(table, e);
    tell(story, e);
  });
  // The end: the server draws the outcome, once, for readers with and without this file.
  const end = () => { source.close(); location.reload(); };
  source.addEventListener("result", end);
  source.addEventListener("fault", end);
}

async function complete(input) {
  const answer = await fetch("/v1/complete?kind=" + encodeURIComponent(input.dataset.complete));
  if (!answer.ok) return;
  const list = document.getElementById(input.getAttribute("list"));
  for (const v of (await answer.json()).values) {
    const o = document.createElement("option");
    o.value = v;
    list.append(o);
  }
}

const live = document.querySelector("#board[data-live=true]");
if (live) follow(live);
document.querySelectorAll("input[data-complete]").forEach(complete);
document.addEventListener("keydown", (e) => {
  if (e.key !== "/" || e.target.matches("input, textarea, select")) return;
  const first = document.querySelector("main input, main a");
  if (first) { e.preventDefault(); first.focus(); }
});
