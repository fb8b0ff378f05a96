// What the page shows. Nothing of a bundle ever becomes markup: it is only ever set as text.

// For whoever drives this page by a program.
globalThis.linkageLedger = Object.freeze({ checkBundle, parseKeyLines, selfTest, WITNESS_KEY });

const PAGE_SIZE = 100;
const WORDS = { whole: "Whole", broken: "Does not hold", unclear: "Not fully checked", unreadable: "No answer" };
const $ = (id) => document.getElementById(id);

let shownUrl = null;
let listing = null;
// A check counts only for as long as it is the latest, and nothing that it was given has changed.
let latest = 0;

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
$("bundle").addEventListener("change", run);
$("against").addEventListener("change", forget);
for (const id of ["keys", "witnesses"]) $(id).addEventListener("input", forget);
$("filter").addEventListener("input", () => listing && restart());
$("more").addEventListener("click", showMore);

async function run() {
  const file = $("bundle").files[0];
  if (!file) {
    $("progress").textContent = "Choose the bundle first.";
    $("bundle").focus();
    return;
  }
  forget();
  const own = latest;
  const isLatest = () => own === latest;
  $("progress").textContent = "Checking …";
  let report;
  try {
    report = await check(file, isLatest);
  } catch (error) {
    if (isLatest()) showUnreadable(error);
  }
  if (!isLatest()) return;
  if (report) show(report);
  $("progress").textContent = "";
  $("result").focus();
  if (report) await offerMore(file, isLatest);
}

// What was shown is no answer to what is asked now.
function forget() {
  latest += 1;
  listing = null;
  $("result").hidden = $("events").hidden = true;
  $("progress").textContent = "";
}

// A bundle that was checked is read again here; its verdict stands whatever comes of that.
async function offerMore(file, isLatest) {
  try {
    const members = await readMembers(file);
    if (!isLatest()) return;
    offerCheckpoint(file, members);
    await startListing(file, members);
  } catch {
    if (isLatest()) $("progress").textContent = "The events cannot be listed here. What the check found stands above.";
  }
}

async function check(file, isLatest) {
  const problem = await selfTest();
  if (problem) throw new Unreadable(problem);
  const kept = $("against").files[0];
  const options = {
    keys: given(() => parseKeyLines($("keys").value)),
    witnesses: given(() => parseKeyLines($("witnesses").value, WITNESS_KEY)),
    against: kept ? await keptText(kept) : null,
    progress: (done, all) => {
      if (isLatest()) $("progress").textContent = `Checking … ${spoken(done)} of ${spoken(all)} events`;
    },
  };
  return checkBundle(file, options);
}

function given(parse) {
  try {
    return parse();
  } catch (error) {
    if (error instanceof NoteError) throw new Unreadable(`A key that you gave cannot be used. ${error.message}`);
    throw error;
  }
}

async function keptText(file) {
  if (file.size > SMALL) throw new Unreadable("The file of the checkpoint is larger than any. Give the right one.");
  try {
    // Mail and editors of some systems change the line ends, which no note has.
    return decodeText(await bytesOf(file, 0, file.size)).replaceAll("\r\n", "\n");
  } catch {
    throw new Unreadable("What you gave as the checkpoint you kept is not text. Give that file as you received it.");
  }
}

function show(report) {
  const headline = headlineOf(report);
  const said = `${WORDS[report.status]}: `;
  setVerdict(report.status, headline.startsWith(said) ? capitalised(headline.slice(said.length)) : headline);
  const bad = [...findingLines(report)];
  fill($("findings"), bad);
  $("findings-block").hidden = !bad.length;
  $("advice").textContent = [...advice(report)].join(" ");
  fill($("lines"), [...whatHolds(report), ...whatIsThere(report), ...remarks(report)]);
  $("lines").previousElementSibling.hidden = false;
  $("keep").hidden = report.status === "broken";
}

function showUnreadable(error) {
  const words = error instanceof Unreadable ? error.message : "The file could not be read. Choose it again.";
  setVerdict("unreadable", words);
  fill($("findings"), []);
  fill($("lines"), []);
  $("findings-block").hidden = $("lines").previousElementSibling.hidden = $("keep").hidden = true;
}

function setVerdict(status, headline) {
  $("result").dataset.status = status;
  $("word").textContent = WORDS[status];
  $("headline").textContent = headline;
  $("result").hidden = false;
}

function fill(list, lines) {
  list.replaceChildren(...lines.map((line) => element("li", "", line)));
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function offerCheckpoint(file, members) {
  const member = members.find(({ name }) => name === "checkpoint.txt");
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  shownUrl = URL.createObjectURL(file.slice(member.start, member.end, "text/plain"));
  $("keep-link").href = shownUrl;
}

// The events are read from the file again as they are shown, so that a long bundle needs no memory.

async function startListing(file, members) {
  const parts = members.filter(({ name }) => name.startsWith("events/"));
  listing = { file, parts };
  $("events").hidden = false;
  await restart();
}

async function restart() {
  listing.run = (listing.run ?? 0) + 1;
  listing.found = 0;
  listing.events = matching(listing, $("filter").value.trim().toLowerCase());
  $("list").replaceChildren();
  await showMore();
}

async function* matching({ file, parts }, words) {
  for (const part of parts) {
    for (const leaf of parsePart(await bytesOf(file, part.start, part.end))) {
      const text = leaf.header ? new TextDecoder().decode(leaf.header) : "";
      const body = leaf.body ? new TextDecoder().decode(leaf.body) : "";
      if (!words || `${leaf.seq} ${text} ${body}`.toLowerCase().includes(words)) yield { ...leaf, text, detail: body };
    }
  }
}

async function showMore() {
  const current = listing;
  const run = current.run;
  const rows = [];
  let ended = false;
  while (rows.length < PAGE_SIZE && !ended) {
    const { value, done } = await current.events.next();
    if (listing !== current || current.run !== run) return;
    if (done) ended = true;
    else rows.push(row(value));
  }
  current.found += rows.length;
  $("list").append(...rows);
  $("more").hidden = ended;
  $("shown").textContent = ended
    ? `${spoken(current.found)} shown, which is all.`
    : `The first ${spoken(current.found)} are shown.`;
}

function row(leaf) {
  if (!leaf.header) {
    const plain = element("div", "event", "");
    const line = element("p", "when", `${spoken(leaf.seq)} · shown as its hash only`);
    plain.append(line);
    return plain;
  }
  const details = element("details", "event", "");
  const summary = element("summary", "", "");
  const header = asJson(leaf.text);
  summary.append(element("span", "number", spoken(leaf.seq)), " ");
  if (isObject(header) && isObject(header.outcome)) {
    const status = asText(header.outcome.status);
    const known = ["success", "refused", "failed"].includes(status) ? status : "";
    summary.append(
      `${asText(header.type)} `,
      element("span", `chip ${known}`, status),
      document.createElement("br"),
      element("span", "when", `${spokenTime(asText(header.time))}${actorOf(header)}`),
    );
  } else {
    summary.append("cannot be read");
  }
  details.append(summary, element("pre", "", pretty(leaf.text)));
  if (leaf.detail) details.append(element("p", "when", "Details"), element("pre", "", pretty(leaf.detail)));
  if (leaf.disposed) details.append(element("p", "when", "Its details were disposed of at the end of their retention."));
  if (leaf.withheld) details.append(element("p", "when", "Its details are withheld, as not for the reader of this bundle."));
  return details;
}

function actorOf({ actor }) {
  if (!isObject(actor)) return "";
  return ` · ${asText(actor.id ?? actor.kind)}${actor.org ? ` of ${asText(actor.org)}` : ""}`;
}

// A header that is no product's may hold anything, also what cannot be turned into text.
function asText(value) {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

function asJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function pretty(text) {
  const value = asJson(text);
  return value === null ? text : JSON.stringify(value, null, 2);
}
