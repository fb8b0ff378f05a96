// The plain words for a report: those of `linkage-ledger verify`.

const MONTHS = [
  "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
];

function spoken(number) {
  return String(number).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

function eventsOf(count) {
  return count === 1 ? "1 event" : `${spoken(count)} events`;
}

function spokenTime(text) {
  const fields = /^(\d{4})-(0[1-9]|1[0-2])-(\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d+)?Z$/.exec(text);
  if (!fields) return text;
  const [, year, month, day, clock] = fields;
  return `${Number(day)} ${MONTHS[Number(month) - 1]} ${year}, ${clock} UTC`;
}

function statusOf(report) {
  if (report.findings.length) return "broken";
  return report.own_key_only || !report.shown || (report.against && report.against.continued === null) ? "unclear" : "whole";
}

function headlineOf(report) {
  const status = statusOf(report);
  if (status === "broken") {
    return "Does not hold: this bundle is not what the log's checkpoint vouches for, or was damaged.";
  }
  if (status === "whole") return "Whole: everything in this bundle is as it was recorded.";
  if (report.own_key_only) {
    return "Whole by its own word only: nothing is wrong in it, but no key of yours was used.";
  }
  if (!report.shown) return "Unclear: nothing is wrong in it, but it shows no event, only hashes.";
  return "Unclear: nothing is wrong in it, but it cannot be compared with the checkpoint that you kept.";
}

function linesOf(report) {
  return [
    headlineOf(report),
    ...findingLines(report),
    ...advice(report),
    ...whatHolds(report),
    ...whatIsThere(report),
    ...remarks(report),
  ];
}

function* findingLines(report) {
  for (const { where, seq, what } of report.findings) {
    yield `${seq === null ? capitalised(where) : `Event ${spoken(seq)}`}: ${what}`;
  }
  if (report.findings_left_out) yield `And ${spoken(report.findings_left_out)} findings more.`;
}

function* advice(report) {
  if (report.findings.length) {
    yield "Keep this bundle and your checkpoints as they are, get it again, and raise it if that fails too.";
  }
}

function capitalised(text) {
  return text[0].toUpperCase() + text.slice(1);
}

function* whatHolds(report) {
  const events = eventsOf(report.last - report.first + 1);
  yield report.findings.length
    ? `It should show ${events}, from ${spoken(report.first)} to ${spoken(report.last)}.`
    : `${events}; none missing between ${spoken(report.first)} and ${spoken(report.last)}.`;
  if (!report.findings.length) yield placeLine(report);
  if (report.first_time && report.last_time) {
    yield `The first event shown is of ${spokenTime(report.first_time)}, the last of ${spokenTime(report.last_time)}.`;
  }
  if (report.against && !(report.findings.length && report.against.continued)) yield againstLine(report.against);
  for (const key of report.signed_by) {
    yield `Signed by ${key}, ${whoseKey(key, report)}`;
  }
  for (const { name, at } of report.cosigned_by) {
    yield at === null
      ? `Also signed by ${name}, not checked: give its key to check it.`
      : `Cosigned by the witness ${name} on ${spokenTime(at)}.`;
  }
}

function placeLine({ size, first, last }) {
  const after = size - last - 1;
  if (!first && !after) return "These are all the events that the checkpoint speaks of.";
  return `The checkpoint is of ${eventsOf(size)}: ${spoken(first)} before these and ${spoken(after)} after them are not in ` +
    "the bundle.";
}

function whoseKey(key, { own_key_only, given, last_handover }) {
  if (own_key_only) {
    return "a key that came with the bundle. Whoever made the bundle could have made this key: get the log's key some " +
      "other way, and check again with it.";
  }
  if (given.includes(key) || last_handover === null) return "a key that you gave.";
  return `tied to a key that you gave by hand-overs of the log's key, the last at ${eventsOf(last_handover)}.`;
}

function againstLine(kept) {
  const ofWhen = kept.last_event_at === null ? "" : ` (its last event is of ${spokenTime(kept.last_event_at)})`;
  const which = `the checkpoint you kept, of ${eventsOf(kept.size)}${ofWhen}`;
  if (kept.continued === null) {
    return (
      `It could not be compared with ${which}. Ask for a bundle that was made against this checkpoint (the export takes ` +
      `it), or that begins at or before event ${spoken(kept.size)}.`
    );
  }
  return kept.continued ? `Nothing changed since ${which}.` : `It does not continue ${which}.`;
}

function* whatIsThere(report) {
  if (report.hidden) {
    yield `Shown as hashes only: ${spoken(report.hidden)}. They are there, unread; that they belong to others is the word ` +
      "of whoever made the bundle.";
  }
  if (report.bodies) yield `Events with their details: ${spoken(report.bodies)}.`;
  if (report.disposed) {
    yield `Events whose details were disposed of: ${spoken(report.disposed)}. That is the operator's word: compare it with ` +
      "the events of disposal.";
  }
  if (report.withheld) {
    yield `Events whose details are withheld: ${spoken(report.withheld)}. That they are not for the reader of this bundle ` +
      "is the word of whoever made it.";
  }
  if (report.handovers) {
    yield `Hand-overs of the log's key, each signed by both keys: ${spoken(report.handovers)}.`;
  }
  if (report.not_compared.length && !report.findings.length) {
    const size = report.not_compared.at(-1);
    yield `Not compared with what both keys signed at ${eventsOf(size)}: the bundle does not reach there. Ask for one with ` +
      `event ${spoken(size - 1)} in it.`;
  }
  if (report.kept && !report.against && report.kept.continued) {
    yield `It continues the older checkpoint that it carries, of ${eventsOf(report.kept.size)}. Only one that you kept ` +
      "yourself proves anything: check against that.";
  }
  if (report.documents) {
    yield `Documents that its events name (agreements, policy texts), each as they say: ${spoken(report.documents)}.`;
  }
  if (report.unnamed_documents) {
    yield `Documents that no event shown here names: ${spoken(report.unnamed_documents)}. Nobody vouches for them.`;
  }
  yield `What was asked for: "${report.question}". Made on ${spokenTime(report.made_at)}. Nobody signed these words.`;
}

function* remarks(report) {
  for (const document of report.missing_documents) yield `Not in the bundle: ${document}. Ask for it.`;
  if (report.backwards) {
    const { count, first_seq, most_seconds } = report.backwards;
    const [whole, fraction] = most_seconds.toFixed(3).split(".");
    yield `Times run backwards at ${eventsOf(count)}, first at ${spoken(first_seq)}, by ${spoken(whole)}.${fraction} ` +
      "seconds at most. A second or so is requests that overlapped; more is a clock that was set back.";
  }
}
