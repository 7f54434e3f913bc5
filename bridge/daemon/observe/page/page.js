// Keeps the status page true by asking /api/status again and again.
//
// Names of files and topics are somebody else's text: they only ever become text nodes. Elements
// are kept and refilled by key, so that what a person has opened or selected stays as it is.
"use strict";

const POLL_BUSY_MS = 1000;
const POLL_IDLE_MS = 3000;
const POLL_HIDDEN_MS = 20000;
const PATIENCE_MS = 8000;

const MARKS = { fine: "✓", busy: "→", waiting: "…", attention: "!", down: "×", lost: "?" };
const SIGNS = {
  finalised: ["✓", "good"], disposed: ["✓", "good"], partial: ["!", "warn"], empty: ["–", ""],
  vanished: ["–", ""], ignored: ["–", ""], superseded: ["–", ""], quarantined: ["×", "bad"], rejected: ["×", "bad"], lost: ["×", "bad"],
  waiting: ["!", "warn"], ready: ["·", ""], settling: ["…", ""], discovered: ["…", ""],
};
const WORDS = {
  finalised: "on the platform", disposed: "on the platform, source disposed of",
  partial: "saved in part", empty: "empty", vanished: "vanished", ignored: "ignored",
  superseded: "newer content is in its place",
  quarantined: "cannot be read", rejected: "not accepted", lost: "lost by the platform", waiting: "tried again later",
  ready: "in the queue", settling: "not complete yet", discovered: "just found",
};

const byId = (id) => document.getElementById(id);
let lastHeardMs = 0;
let timer = 0;
let nowS = 0; // The bridge's clock, which may differ from the browser's.

// ---- elements ---------------------------------------------------------------------------------

function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Shows a hint, with the text between backticks as code.
function advise(element, text) {
  show(element, Boolean(text));
  if (element.textContent === text.replaceAll("`", "")) return;
  element.replaceChildren(...text.split("`").map((piece, i) => (i % 2 ? el("code", {}, piece) : piece)));
}

function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

// Makes the children of `parent` those of `items`, in order, keeping the element of each key.
function keep(parent, items, key, make, fill) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const name = String(key(item, index));
    let child = old.get(name);
    old.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    fill(child, item);
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] || null);
  });
  for (const child of old.values()) child.remove();
}

const part = (element, name) => element.querySelector(`.${name}`);

// ---- numbers ----------------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en");
const count = (number, noun) => `${whole.format(number)} ${noun}${number === 1 ? "" : "s"}`;

function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) { number /= 1000; unit += 1; }
  const digits = unit === 0 || number >= 99.5 ? 0 : number >= 9.95 ? 1 : 2;
  return `${number.toFixed(digits)} ${units[unit]}`;
}

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

const ago = (at, now) => (now - at < 1.5 ? "just now" : `${span(now - at)} ago`);
const rate = (number) => (number === 0 ? "0" : number >= 100 ? whole.format(Math.round(number)) : number.toFixed(number < 10 ? 1 : 0));

function clock(at) {
  const date = new Date(at * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString("en-GB") : date.toLocaleString("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit" });
}

const sum = (counts, ...states) => states.reduce((total, state) => total + (counts[state] || 0), 0);

// ---- the top ----------------------------------------------------------------------------------

function showVerdict(level, headline, detail, hint) {
  document.body.dataset.level = level;
  say(byId("mark"), MARKS[level] || "?");
  say(byId("headline"), headline);
  say(byId("detail"), detail);
  advise(byId("hint"), hint || "");
  const title = `${headline} · mosaico-bridge`;
  if (document.title !== title) document.title = title;
}

function showWhere(data) {
  const daemon = data.daemon;
  show(byId("embedded"), Boolean(daemon && daemon.embedded));
  if (!daemon) return;
  const spoken = data.platform ? ` (${[data.platform.revision, data.platform.reservation].filter(Boolean).join(": ")})` : "";
  const target = `${daemon.embedded ? "embedded server " : ""}${daemon.server}${spoken}`;
  const folders = daemon.folders.length > 1 ? daemon.folders : [];
  const watched = folders.length ? folders.map((one) => `${one.name}: ${one.folder}`).join(", ") : daemon.watch.folder;
  say(byId("where"), `${watched} → ${target}`);
  say(byId("versions"), `version ${data.version} · bridge ${daemon.instance.slice(0, 8)} · up ${span(data.now - daemon.started_at)}`);
}

function figures(data) {
  const counts = data.daemon ? data.daemon.counts : {};
  const arrived = sum(counts, "finalised", "disposed", "partial");
  const newest = data.recordings.recent.find((one) => ["finalised", "disposed", "partial"].includes(one.state));
  const working = data.workers.length;
  const queued = sum(counts, "ready", "waiting");
  const unfinished = sum(counts, "discovered", "settling");
  const disks = data.disks.filter((disk) => disk.free_bytes !== null).sort((a, b) => a.free_bytes - b.free_bytes);
  const partial = sum(counts, "partial");
  const made = [
    { name: "On the platform", value: whole.format(arrived), more: newest ? `newest ${ago(newest.changed_at, data.now)}` : "none yet" },
    { name: "In the queue", value: whole.format(queued + working), more: [working && `${working} being sent`, queued && `${queued} waiting`, unfinished && `${unfinished} still growing`].filter(Boolean).join(", ") || "nothing waits" },
    { name: "Sending", value: `${bytes(data.rate.sent_bytes_per_s)}/s`, more: `${rate(data.rate.messages_per_s)} messages/s`, line: data.rates.map((one) => one.sent_bytes_per_s) },
    { name: "Needs attention", value: whole.format(sum(counts, "quarantined", "rejected", "lost")), more: partial ? `${partial} saved in part` : "none saved in part" },
  ];
  const uplink = data.daemon && data.daemon.uplink;
  if (uplink && (uplink.bytes_per_second_max !== null || uplink.budgets.length)) made.push(uplinkFigure(uplink, data));
  if (disks.length) made.push({ name: "Disk free", value: bytes(disks[0].free_bytes), more: `of ${bytes(disks[0].size_bytes)}, ${disks[0].role} folder` });
  return made;
}

function uplinkFigure(uplink, data) {
  const limit = uplink.bytes_per_second_max;
  const value = uplink.held ? "held" : `${bytes(data.rate.wire_bytes_per_s)}/s`;
  const budgets = uplink.budgets.map((budget) => `${bytes(budget.left_bytes)} left this ${budget.period}`);
  return { name: "Uplink", value, more: [uplink.reason, limit && `at most ${bytes(limit)}/s`, ...budgets].filter(Boolean).join(", ") };
}

const SVG = "http://www.w3.org/2000/svg";

function makeFigure(figure) {
  const box = el("div", {}, el("dt"), el("dd"), el("dd"));
  if (figure.line) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 60 10");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", "throughput of the last five minutes");
    svg.append(document.createElementNS(SVG, "path"));
    box.lastChild.append(el("span"), svg);
  }
  return box;
}

function fillFigure(box, figure) {
  say(box.children[0], figure.name);
  say(box.children[1], figure.value);
  if (!figure.line) { say(box.children[2], figure.more); return; }
  say(box.children[2].firstChild, figure.more);
  const most = Math.max(...figure.line, 1);
  const bars = figure.line.map((value, x) => {
    const height = value > 0 ? Math.max(0.5, 10 * value / most) : 0.5;
    return `M${x} 10V${(10 - height).toFixed(2)}h.8V10Z`;
  });
  box.querySelector("path").setAttribute("d", bars.join(""));
}

// ---- what is in work --------------------------------------------------------------------------

function makeWorker() {
  const row = el("div", { class: "row", "data-tone": "work" },
    el("span", { class: "sign", "aria-hidden": "true" }, "→"), el("span", { class: "name path" }),
    el("span", { class: "aside" }), el("span", { class: "more" }));
  const track = el("div", { class: "track", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, el("div", { class: "fill" }));
  const head = ["topic", "type", "becomes", "messages", "size"].map((name, i) => el("th", { scope: "col", class: i > 2 ? "n" : "" }, name));
  const table = el("table", { "aria-label": "topics" }, el("thead", {}, el("tr", {}, ...head)), el("tbody"));
  return el("div", { class: "worker" }, row, track,
    el("details", {}, el("summary"), el("div", { class: "inside scroll" }, table)));
}

// By bytes: a few images are most of the work, and thousands of small messages hardly any.
function share(worker) {
  return worker.recorded_bytes > 0 ? Math.min(1, worker.recorded_bytes_read / worker.recorded_bytes) : 0;
}

const been = (topic) => {
  const most = Math.max(topic.messages_read || 0, topic.messages_sent || 0);
  return topic.messages_recorded == null ? most : Math.min(most, topic.messages_recorded);
};

function fillWorker(box, worker, now) {
  const done = share(worker);
  const percent = Math.floor(done * 100);
  const elapsed = now - worker.started_at;
  const left = done > 0.03 && done < 1 ? `${span(elapsed * (1 - done) / done)} left` : "";
  const of = worker.messages_recorded === null ? "" : ` of ${whole.format(worker.messages_recorded)}`;
  say(part(box, "name"), worker.path.split("/").pop());
  say(part(box, "aside"), [`${percent} %`, left].filter(Boolean).join(" · "));
  say(part(box, "more"), [
    worker.folder && `in ${worker.folder}`, worker.sequence && `as ${worker.sequence}`,
    `${whole.format(worker.topics.reduce((total, topic) => total + been(topic), 0))}${of} messages`,
    `${bytes(worker.recorded_bytes_read)} of ${bytes(worker.recorded_bytes)} read`,
    `for ${span(elapsed)}`,
    worker.attempt > 1 && `attempt ${worker.attempt}`,
    worker.idle_s > 5 && `no progress for ${span(worker.idle_s)}`,
  ].filter(Boolean).join(" · "));
  const track = part(box, "track");
  track.setAttribute("aria-valuenow", String(percent));
  track.setAttribute("aria-label", `progress of ${worker.path.split("/").pop()}`);
  track.firstChild.style.width = `${(done * 100).toFixed(1)}%`;
  say(box.querySelector("summary"), count(worker.topics.length, "topic"));
  show(box.querySelector("details"), worker.topics.length > 0);
  keep(box.querySelector("tbody"), worker.topics, (topic) => topic.name,
    () => el("tr", {}, el("td", { class: "path" }), el("td", { class: "path" }), el("td"), el("td", { class: "n" }), el("td", { class: "n" })),
    (row, topic) => {
      const known = topic.messages_recorded == null ? "" : ` of ${whole.format(topic.messages_recorded)}`;
      const cells = [topic.name, topic.msgtype || "", becomes(topic), `${whole.format(been(topic))}${known}`, bytes(topic.arrow_bytes || 0)];
      cells.forEach((text, i) => say(row.children[i], text));
    });
}

function becomes(topic) {
  if (topic.outcome === "mapped" || topic.outcome === "generic") {
    return topic.outcome === "generic" ? `${topic.ontology_tag || "generic"} (generic)` : topic.ontology_tag || "mapped";
  }
  return [topic.outcome, topic.reason].filter(Boolean).join(": ");
}

// ---- recordings -------------------------------------------------------------------------------

function makeRecording() {
  const row = el("div", { class: "row" },
    el("span", { class: "sign", "aria-hidden": "true" }), el("span", { class: "name path" }),
    el("span", { class: "aside" }), el("span", { class: "more" }), el("span", { class: "finding" }), el("span", { class: "hint" }));
  const details = el("details", {}, el("summary", {}, row), el("div", { class: "inside" }));
  const item = el("li", {}, details);
  details.addEventListener("toggle", () => { if (details.open) load(item); });
  return item;
}

function fillRecording(item, one, now) {
  const [sign, tone] = SIGNS[one.state] || ["·", ""];
  const waits = one.due_at && one.due_at > now ? `again in ${span(one.due_at - now)}` : "";
  const arrived = one.state === "finalised" || one.state === "disposed";
  const failure = arrived ? null : one.failure;
  part(item, "row").dataset.tone = tone;
  say(part(item, "sign"), sign);
  say(part(item, "name"), one.file || one.name);
  say(part(item, "aside"), `${bytes(one.size_bytes)} · ${ago(one.changed_at, now)}`);
  const reason = one.why || (failure ? failure.message : arrived ? "" : one.reason);
  say(part(item, "more"), [
    one.why && ["ready", "waiting"].includes(one.state) ? "" : WORDS[one.state] || one.state,
    one.why ? "" : waits, reason, one.folder && `in ${one.folder}`,
    one.split_of && `split ${one.split_index ?? "?"} of ${one.split_of}`,
    one.messages_sent ? count(one.messages_sent, "message") : "",
    arrived && one.verification ? `verified: ${one.verification}` : "",
    one.sequence && `as ${one.sequence}`,
    one.attempts ? `${count(one.attempts, "attempt")} failed` : "",
  ].filter(Boolean).join(" · "));
  say(part(item, "finding"), one.findings || "");
  show(part(item, "finding"), Boolean(one.findings));
  advise(part(item, "hint"), (failure && failure.hint) || "");
  const stale = item.dataset.changed !== String(one.changed_at);
  item.dataset.changed = String(one.changed_at);
  if (stale && item.querySelector("details").open) load(item);
}

async function load(item) {
  const inside = part(item, "inside");
  try {
    const one = await ask(`/api/recordings/${item.dataset.key}`);
    inside.replaceChildren(...describe(one));
  } catch (error) {
    inside.replaceChildren(el("p", { class: "quiet" }, `The bridge did not tell: ${error.message}`));
  }
}

function describe(one) {
  const parts = [el("p", { class: "path" }, one.path)];
  const report = one.report || {};
  if (one.failure && one.failure.facts) {
    const facts = Object.entries(one.failure.facts).map(([name, value]) => `${name} ${value}`);
    if (facts.length) parts.push(el("p", { class: "quiet" }, `${one.failure.error}: ${facts.join(", ")}`));
  }
  for (const loss of report.losses || []) {
    parts.push(el("p", {}, `Lost in ${loss.path.split("/").pop()}: bytes ${whole.format(loss.start_bytes)} to ${whole.format(loss.end_bytes)}, ${loss.reason}`));
  }
  for (const group of report.not_sent || []) {
    if (group.hint) parts.push(el("p", {}, `${count(group.topics.length, "topic")} not sent: ${group.hint}`));
  }
  for (const note of report.notes || []) parts.push(el("p", {}, note));
  if ((report.topics || []).length) parts.push(el("h4", {}, "Topics"), topicTable(report.topics));
  const measured = (report.topics || []).filter((topic) => topic.quality && topic.quality.messages);
  if (measured.length) parts.push(el("h4", {}, "Quality"), ...quality(measured, (report.quality || {}).findings || []));
  parts.push(el("h4", {}, "Story"), el("ol", { class: "story" }, ...one.story.map((step) => el("li", {},
    el("time", { datetime: new Date(step.at * 1000).toISOString() }, clock(step.at)), el("span", {}, step.after), el("span", {}, step.reason)))));
  return parts;
}

// The name on the platform; as recorded, where the topic is not there.
const shown = (topic) => topic.platform_name || topic.name;

function topicTable(topics) {
  const head = ["topic", "type", "became", "messages", "left out", "size"].map((name, i) => el("th", { scope: "col", class: i === 3 || i === 5 ? "n" : "" }, name));
  const rows = topics.map((topic) => el("tr", {},
    el("td", { class: "path" }, shown(topic)), el("td", { class: "path" }, topic.msgtype), el("td", {}, becomes(topic)),
    el("td", { class: "n" }, whole.format(topic.messages_sent)),
    el("td", {}, Object.entries(topic.messages_skipped).map(([reason, number]) => `${whole.format(number)} ${reason}`).join(", ")),
    el("td", { class: "n" }, bytes(topic.arrow_bytes))));
  return el("div", { class: "scroll" }, el("table", { "aria-label": "topics" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)));
}

// ---- quality ----------------------------------------------------------------------------------

function quality(topics, findings) {
  const said = findings.map((one) => el("li", {}, el("span", { class: "path" }, one.topic), ` ${one.text}`));
  const head = ["topic", "messages over time", "Hz", "longest gap", "delay, median", "99 %", "repeated", "back in time", "lost"];
  const short = new Set(findings.map((one) => one.topic));
  const rows = topics.map((topic) => {
    const q = topic.quality;
    const lost = q.lost_transport === null && q.lost_recorder === null ? "" : whole.format((q.lost_transport || 0) + (q.lost_recorder || 0));
    return el("tr", short.has(topic.name) ? { "data-tone": "warn" } : {},
      el("td", { class: "path" }, shown(topic)), el("td", {}, rateBars(topic)),
      el("td", { class: "n" }, q.rate_hz === null ? "" : precise(q.rate_hz)),
      el("td", { class: "n", title: q.gap_start_ns === null ? "" : `from ${new Date(q.gap_start_ns / 1e6).toISOString()}` }, lasting(q.gap_s)),
      el("td", { class: "n" }, lasting(q.delay_median_s)), el("td", { class: "n" }, lasting(q.delay_p99_s)),
      el("td", { class: "n" }, q.compared && q.repeated ? `${precise(100 * q.repeated / q.compared)} %` : ""),
      el("td", { class: "n" }, q.times_back ? whole.format(q.times_back) : ""), el("td", { class: "n" }, lost));
  });
  const table = el("table", { "aria-label": "quality of topics" }, el("thead", {}, el("tr", {}, ...head.map((name, i) => el("th", { scope: "col", class: i > 1 ? "n" : "" }, name)))), el("tbody", {}, ...rows));
  return [...(said.length ? [el("ul", { class: "findings" }, ...said)] : []), el("div", { class: "scroll" }, table)];
}

// A bar for each stretch of time; where nothing was recorded there is none.
function rateBars(topic) {
  const bars = topic.quality.bars;
  const most = Math.max(...bars, 1);
  const empty = bars.filter((value) => value === 0).length;
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", bars.map((value, x) => (value ? `M${x} 10V${(10 - Math.max(1, 10 * value / most)).toFixed(2)}h.8V10Z` : "")).join(""));
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "bars");
  svg.setAttribute("viewBox", `0 0 ${Math.max(bars.length, 1)} 10`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${shown(topic)}: messages over time, ${empty} of ${bars.length} stretches without any`);
  svg.append(path);
  return svg;
}

const precise = (number) => String(Number(number.toPrecision(3)));

function lasting(seconds) {
  if (seconds === null) return "";
  if (Math.abs(seconds) >= 60) return `${seconds < 0 ? "-" : ""}${span(Math.abs(seconds))}`;
  return Math.abs(seconds) >= 1 ? `${precise(seconds)} s` : `${precise(seconds * 1000)} ms`;
}

function listRecordings(section, recordings, now, total) {
  show(byId(section), recordings.length > 0 || section === "recent");
  keep(byId(`${section}-list`), recordings, (one) => one.id, makeRecording, (item, one) => fillRecording(item, one, now));
  const more = total - recordings.length;
  show(byId(`${section}-more`), more > 0);
  say(byId(`${section}-more`), `${whole.format(more)} more: show all ${whole.format(total)}`);
}

// ---- all recordings: page by page, by name, by state ------------------------------------------

const PAGE = 50;
const PARTS = {
  attention: ["quarantined", "rejected", "lost"],
  waiting: ["ready", "waiting", "discovered", "settling"],
  recent: ["finalised", "disposed", "partial", "empty", "vanished", "ignored", "superseded"],
};
const chosen = { text: "", part: "", offset: 0 };

function statesOf(part) {
  return part === "" ? [] : PARTS[part] || [part];
}

async function browse() {
  const query = new URLSearchParams({ limit: String(PAGE), offset: String(chosen.offset) });
  if (chosen.text) query.set("text", chosen.text);
  for (const state of statesOf(chosen.part)) query.append("state", state);
  if (chosen.part === "waiting" || chosen.part === "ready") query.set("order", "queue");
  const asked = query.toString();
  let found;
  try {
    found = await ask(`/api/recordings?${asked}`);
  } catch (error) {
    say(byId("all-count"), `The bridge did not tell: ${error.message}`);
    return;
  }
  if (found.total > 0 && found.recordings.length === 0 && chosen.offset > 0) {
    chosen.offset = Math.floor((found.total - 1) / PAGE) * PAGE;
    browse();
    return;
  }
  const last = chosen.offset + found.recordings.length;
  keep(byId("all-list"), found.recordings, (one) => one.id, makeRecording, (item, one) => fillRecording(item, one, nowS));
  say(byId("all-count"), found.total ? `${whole.format(chosen.offset + 1)} to ${whole.format(last)} of ${whole.format(found.total)}` : "nothing found");
  byId("all-before").disabled = chosen.offset === 0;
  byId("all-after").disabled = found.next_offset === null;
}

function choose(changes) {
  Object.assign(chosen, { offset: 0 }, changes);
  if (byId("all-text").value.trim() !== chosen.text) byId("all-text").value = chosen.text;
  byId("all-part").value = chosen.part;
  browse();
}

function prepareBrowsing() {
  let typing = 0;
  byId("all-text").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => choose({ text: byId("all-text").value.trim() }), 250);
  });
  byId("all-part").addEventListener("change", () => choose({ part: byId("all-part").value }));
  byId("all-before").addEventListener("click", () => choose({ offset: Math.max(0, chosen.offset - PAGE) }));
  byId("all-after").addEventListener("click", () => choose({ offset: chosen.offset + PAGE }));
  for (const section of Object.keys(PARTS)) {
    byId(`${section}-more`).addEventListener("click", () => {
      byId("all").open = true;
      choose({ text: "", part: section });
      byId("all").scrollIntoView();
    });
  }
  byId("all").addEventListener("toggle", () => { if (byId("all").open) browse(); });
}

// ---- the rest ---------------------------------------------------------------------------------

function makeRow() {
  return el("li", {}, el("div", { class: "row" },
    el("span", { class: "sign", "aria-hidden": "true" }), el("span", { class: "name" }),
    el("span", { class: "aside" }), el("span", { class: "more" }), el("span", { class: "hint" })));
}

function fillRow(item, row) {
  part(item, "row").dataset.tone = row.tone;
  for (const name of ["sign", "name", "aside", "more"]) {
    say(part(item, name), row[name] || "");
    show(part(item, name), Boolean(row[name]) || name === "sign");
  }
  advise(part(item, "hint"), row.hint || "");
}

function showTroubles(data) {
  const rows = data.troubles.map((one) => ({
    key: `${one.id}/${one.error}/${one.message}`, tone: one.final ? "bad" : "warn",
    sign: one.final ? "×" : "!", name: one.message,
    aside: [ago(one.at, data.now), one.repeats && `${one.repeats + 1} times`].filter(Boolean).join(" · "),
    more: [one.recording, one.error].filter(Boolean).join(" · "), hint: one.hint,
  }));
  show(byId("troubles"), rows.length > 0);
  keep(byId("troubles-list"), rows, (row) => row.key, makeRow, fillRow);
}

function showNotices(data) {
  const items = data.notifications.items || [];
  const age = data.notifications.sweep_age_s;
  show(byId("notices"), items.length > 0);
  say(byId("notices-age"), age == null ? "" : `asked ${span(age)} ago`);
  const rows = items.map((one) => ({
    key: one.id, tone: one.type === "error" ? "bad" : "warn", sign: "!", name: one.message,
    aside: one.at ? ago(one.at, data.now) : "", more: [one.sequence, one.topic].filter(Boolean).join(" · "),
  }));
  keep(byId("notices-list"), rows, (row) => row.key, makeRow, fillRow);
}

function showOthers(data) {
  const others = data.others || { count: 0, names: [] };
  show(byId("others"), others.count > 0);
  say(byId("others-count"), others.count > others.names.length ? `${whole.format(others.count)}, of which these are some` : whole.format(others.count));
  keep(byId("others-list"), others.names, (name) => name, () => el("li", {}, el("span", { class: "path" })),
    (item, name) => say(item.firstChild, name));
}

function showChecks(data) {
  const make = () => el("li", {}, el("span", { class: "sign" }), el("span", { class: "detail" }), el("span", { class: "hint" }));
  keep(byId("checks-list"), data.checks, (check) => check.name, make, (item, check) => {
    item.dataset.tone = check.ok ? "good" : "bad";
    say(part(item, "sign"), check.ok ? "✓" : "×");
    part(item, "sign").setAttribute("aria-label", check.ok ? "holds" : "fails");
    say(part(item, "detail"), `${check.name.replace("_", " ")}: ${check.detail}`);
    advise(part(item, "hint"), check.hint);
  });
}

function render(data) {
  nowS = data.now;
  const { level, headline, detail, hint } = data.verdict;
  showVerdict(level, headline, detail, hint);
  showWhere(data);
  keep(byId("figures"), figures(data), (figure) => figure.name, makeFigure, fillFigure);
  show(byId("now"), data.workers.length > 0);
  keep(byId("workers"), data.workers, (worker) => worker.id, makeWorker, (box, worker) => fillWorker(box, worker, data.now));
  const counts = data.daemon ? data.daemon.counts : {};
  const total = (section) => sum(counts, ...PARTS[section]);
  listRecordings("attention", data.recordings.needs_attention, data.now, total("attention"));
  listRecordings("waiting", data.recordings.waiting, data.now, total("waiting"));
  listRecordings("recent", data.recordings.recent, data.now, total("recent"));
  if (byId("all").open) browse();
  show(byId("recent-none"), data.recordings.recent.length === 0);
  showNotices(data);
  showTroubles(data);
  showOthers(data);
  showChecks(data);
}

// ---- asking -----------------------------------------------------------------------------------

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" });
  const plain = await answer.json();
  if (!answer.ok) throw new Error(plain.message || answer.statusText);
  return plain;
}

async function poll() {
  let wait = POLL_IDLE_MS;
  try {
    const data = await ask("/api/status");
    lastHeardMs = Date.now();
    render(data);
    document.body.dataset.live = "yes";
    say(byId("link-text"), "live");
    if (data.workers.length || data.verdict.level !== "fine") wait = POLL_BUSY_MS;
  } catch (error) {
    document.body.dataset.live = "no";
    say(byId("link-text"), "no answer");
    const heard = lastHeardMs ? `Last heard ${span((Date.now() - lastHeardMs) / 1000)} ago; what is below is from then.` : "";
    showVerdict("lost", "No answer from the bridge", `${heard} (${error.message})`.trim(), "is it running? This page goes on by itself when it is back");
  }
  clearTimeout(timer);
  timer = setTimeout(poll, document.hidden ? POLL_HIDDEN_MS : wait);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) { clearTimeout(timer); poll(); }
});
prepareBrowsing();
poll();
