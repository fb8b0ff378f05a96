// The check itself, in the order and with the findings of `linkage-ledger verify`.

const MAX_FINDINGS = 100;
const MAX_REFERENCES = 10_000;

// Checks a bundle and gives its report, with the members that `linkage-ledger verify --json` prints.
// keys and witnesses: arrays of parsed keys; against: text of a kept checkpoint or null; page: the bytes of this page or null.
async function checkBundle(file, { keys = [], against = null, witnesses = [], progress = () => {} } = {}) {
  const check = new Check(file, keys, against, witnesses, progress);
  return check.run();
}

class Check {
  constructor(file, keys, against, witnesses, progress) {
    this.file = file;
    this.trusted = keys;
    this.againstNote = against;
    this.witnesses = witnesses;
    this.progress = progress;
    this.findings = [];
    this.leftOut = 0;
    this.shown = this.hidden = this.bodies = this.disposed = this.withheld = 0;
    this.firstTime = this.lastTime = null;
    this.newest = "";
    this.backwards = null;
    this.references = new Map();
    this.changedHeaders = [];
    this.roots = new Map();
    this.timeAt = new Map();
  }

  async run() {
    await this.open();
    const [signedBy, cosignedBy] = await this.checkSignatures();
    this.checkThatItIsCurrent();
    await this.checkDocuments();
    await this.checkEvents();
    const against = this.againstNote === null ? null : await this.compare(this.againstNote, "kept checkpoint");
    const kept = this.keptNote === null ? null : await this.compare(this.keptNote, "older checkpoint in the bundle");
    for (const handover of this.handovers) {
      const root = this.roots.get(handover.size);
      if (root && !sameBytes(root, handover.root)) {
        this.add("key hand-overs", "The log's key was handed over under other events than these.");
      }
    }
    for (const name of this.archive.changed) {
      this.add("bundle", `${name} is not as it was written: it was damaged or changed.`);
    }
    const { question, made_at, first, last, documents } = this.manifest;
    const missing = [...this.references].filter(([digest]) => !documents.includes(digest)).map(([, words]) => words);
    const report = {
      origin: this.stated.origin,
      question,
      made_at,
      first,
      last,
      size: this.stated.size,
      shown: this.shown,
      hidden: this.hidden,
      bodies: this.bodies,
      disposed: this.disposed,
      withheld: this.withheld,
      first_time: this.firstTime,
      last_time: this.lastTime,
      signed_by: signedBy,
      given: signedBy.filter((line) => this.trusted.some((key) => key.line === line)),
      own_key_only: this.ownKeyOnly,
      cosigned_by: cosignedBy,
      handovers: this.handovers.length,
      last_handover: this.handovers.at(-1)?.size ?? null,
      not_compared: this.handovers.map(({ size }) => size).filter((size) => !this.roots.has(size)),
      against,
      kept,
      documents: documents.filter((digest) => this.references.has(digest)).length,
      unnamed_documents: documents.filter((digest) => !this.references.has(digest)).length,
      missing_documents: missing.sort(),
      backwards: this.backwards,
      findings: this.findings,
      findings_left_out: this.leftOut,
    };
    return { status: statusOf(report), lines: linesOf(report), ...report };
  }

  async open() {
    this.archive = await Archive.open(this.file);
    await this.archive.take("README.txt");
    await this.archive.take("verify.html");
    this.manifest = parseManifest(await this.archive.takeText("bundle.json"));
    this.note = await this.archive.takeText("checkpoint.txt");
    const ownKeys = parseOwnKeys(await this.archive.takeText("keys.txt"));
    this.keptNote = this.manifest.kept_proof ? await this.archive.takeText("kept-checkpoint.txt") : null;
    const notes = [];
    for (let number = 1; number <= this.manifest.handovers; number += 1) {
      notes.push(await this.archive.takeText(`handovers/${String(number).padStart(4, "0")}.txt`, 2 ** 16));
    }
    this.ownKeyOnly = !this.trusted.length;
    await this.follow(this.ownKeyOnly ? ownKeys : this.trusted, notes);
    this.stated = stated(this.note);
    this.against =
      this.againstNote === null
        ? null
        : stated(this.againstNote, "What you gave as the checkpoint you kept is no signed checkpoint. Give that file.");
  }

  async follow(keys, notes) {
    this.keys = keys;
    this.handovers = [];
    try {
      const chain = await openChain(notes);
      this.keys = resolveKeys(keys, chain);
      this.handovers = chain;
    } catch (error) {
      if (!(error instanceof HandoverError)) throw error;
      this.add("key hand-overs", error.message);
    }
  }

  async checkSignatures() {
    let opened;
    try {
      opened = await openCheckpoint(this.note, this.keys);
    } catch (error) {
      if (!(error instanceof NoteError)) throw error;
      const whose = this.ownKeyOnly ? "the keys that it brings itself" : "the keys you gave";
      this.add("checkpoint", `The bundle's checkpoint is not genuine by ${whose}. ${error.message}`);
      return [[], []];
    }
    let genuine = [];
    try {
      genuine = await cosignaturesOf(this.note, this.witnesses);
    } catch (error) {
      if (!(error instanceof NoteError)) throw error;
      this.add("checkpoint", "A signature by a witness whose key you gave does not fit the checkpoint.");
    }
    const known = new Set([...opened.allSigners, ...this.witnesses].map((key) => key.id));
    const cosignedBy = [
      ...genuine.map(({ key, time }) => ({ name: key.name, at: dayAndTime(time) })),
      ...opened.lines.filter((line) => !known.has(line.id)).map((line) => ({ name: line.name, at: null })),
    ];
    return [opened.signers.map((signer) => signer.line), cosignedBy];
  }

  checkThatItIsCurrent() {
    try {
      requireCurrent(this.handovers, this.stated);
    } catch (error) {
      if (!(error instanceof HandoverError)) throw error;
      this.add("checkpoint", error.message);
    }
  }

  async checkDocuments() {
    for (const digest of this.manifest.documents) {
      const content = await this.archive.take(`documents/${digest}`, LARGE);
      if (toHex(await browserDigest(content)) !== digest) {
        this.add("documents", `The document ${digest.slice(0, 16)}… is not the one that its digest names.`);
      }
    }
  }

  async checkEvents() {
    const { first, last, left } = this.manifest;
    const wanted = new Set(this.handovers.map((handover) => handover.size));
    if (this.against) wanted.add(this.against.size);
    if (this.keptNote !== null) wanted.add(stated(this.keptNote).size);
    let frontier;
    try {
      frontier = new Frontier(first, left.map(fromHex));
    } catch (error) {
      if (!(error instanceof ProofError)) throw error;
      this.add("proof", error.message);
      frontier = new Frontier(0, []);
    }
    let expected = first;
    let inOrder = true;
    let number = 1;
    this.firstPart = this.archive.next;
    while (number === 1 || !this.archive.isAtEnd) {
      const part = await this.archive.take(`events/${String(number).padStart(6, "0")}.txt`, LARGE);
      for (const leaf of parsePart(part)) {
        if (wanted.has(expected)) this.roots.set(expected, frontier.root());
        if (inOrder && leaf.seq !== expected) {
          this.add("events", outOfOrder(expected, leaf.seq), expected);
          inOrder = false;
        }
        this.checkLeaf(leaf);
        frontier.add(leaf.hash);
        expected = leaf.seq + 1;
      }
      number += 1;
      this.progress(expected - first, last - first + 1);
      await new Promise((resolve) => setTimeout(resolve));
    }
    if (inOrder && expected !== last + 1) {
      this.add("events", `The events end here, and should go on to ${spoken(last)}.`, expected);
      inOrder = false;
    }
    if (wanted.has(expected)) this.roots.set(expected, frontier.root());
    if (inOrder) {
      this.checkRoot(frontier);
    } else {
      this.roots.clear();
      this.reportChangedHeaders(false);
    }
  }

  checkRoot(frontier) {
    if (this.stated.size !== this.manifest.size) {
      this.add("checkpoint", "The checkpoint is not of the size that the bundle speaks of.");
    }
    let holds = false;
    try {
      frontier.complete(this.manifest.right.map(fromHex), this.manifest.size);
      holds = frontier.size === this.stated.size && sameBytes(frontier.root(), this.stated.root);
    } catch (error) {
      if (!(error instanceof ProofError)) throw error;
      this.add("proof", error.message);
    }
    if (!holds) {
      this.add("events", "These events do not lead to the checkpoint's root: one was changed, removed, inserted or moved.");
      this.roots.clear();
    } else if (!this.roots.has(this.stated.size)) {
      this.roots.set(this.stated.size, this.stated.root);
    }
    this.reportChangedHeaders(holds);
  }

  reportChangedHeaders(recorded) {
    for (const seq of this.changedHeaders) {
      this.add(
        "events",
        recorded
          ? "The event was changed after it was recorded: the log has another hash."
          : "The event and its hash do not fit each other: one of them was changed.",
        seq,
      );
    }
  }

  checkLeaf(leaf) {
    if (!leaf.header) {
      this.hidden += 1;
      return;
    }
    this.shown += 1;
    if (!sameBytes(sha256(0, leaf.header), leaf.hash)) {
      if (this.changedHeaders.length < MAX_FINDINGS) this.changedHeaders.push(leaf.seq);
      else this.leftOut += 1;
      return;
    }
    let header;
    try {
      header = parseHeader(leaf.header);
    } catch (error) {
      if (!(error instanceof HeaderError)) throw error;
      this.add("events", "The event's header is not one that this product writes.", leaf.seq);
      return;
    }
    this.checkBody(leaf, header.body_hash);
    this.checkTime(leaf.seq, header.time);
    this.noteReferences(header);
  }

  checkBody(leaf, expected) {
    if (leaf.disposed) {
      this.disposed += 1;
      if (!expected) this.add("events", "A body is said to be disposed of that the event never had.", leaf.seq);
    } else if (leaf.withheld) {
      this.withheld += 1;
      if (!expected) this.add("events", "A body is said to be withheld that the event never had.", leaf.seq);
    } else if (leaf.body) {
      this.bodies += 1;
      if (!expected) {
        this.add("events", "The event has a body that its header does not know of.", leaf.seq);
      } else if (toHex(sha256(0, leaf.salt, leaf.body)) !== expected) {
        this.add("events", "The event's body or its salt was changed after it was recorded.", leaf.seq);
      }
    } else if (expected) {
      this.add("events", "The event's body is missing, and nothing says that it was disposed of.", leaf.seq);
    }
  }

  checkTime(seq, time) {
    this.firstTime ??= time;
    this.lastTime = time;
    if (this.against && seq + 1 === this.against.size) this.timeAt.set(seq + 1, time);
    if (time >= this.newest) {
      this.newest = time;
      return;
    }
    const by = secondsBetween(time, this.newest);
    const before = this.backwards ?? { count: 0, first_seq: seq, most_seconds: 0 };
    this.backwards = {
      count: before.count + 1,
      first_seq: before.first_seq,
      most_seconds: Math.max(before.most_seconds, by),
    };
  }

  noteReferences({ agreement, decision }) {
    if (this.references.size >= MAX_REFERENCES) return;
    if (agreement && !this.references.has(agreement.digest)) {
      this.references.set(agreement.digest, `agreement ${agreement.ref}, version ${agreement.version}`);
    }
    if (decision && !this.references.has(decision.policy_digest)) {
      this.references.set(decision.policy_digest, `the policy text ${[...decision.policy_digest].slice(0, 16).join("")}…`);
    }
  }

  async compare(note, where) {
    let older;
    try {
      older = (await openCheckpoint(note, this.keys)).checkpoint;
    } catch (error) {
      if (!(error instanceof NoteError)) throw error;
      this.add(where, `It is not genuine by the keys that this bundle is checked with. ${error.message}`);
      return { size: stated(note).size, continued: false, last_event_at: null };
    }
    return {
      size: older.size,
      continued: this.continues(older, where),
      last_event_at: this.timeAt.get(older.size) ?? null,
    };
  }

  continues(older, where) {
    if (older.origin !== this.stated.origin) {
      this.add(where, "It is of another log.");
      return false;
    }
    if (older.size > this.stated.size) {
      this.add(
        where,
        `It speaks of ${spoken(older.size)} events and the bundle's checkpoint of ${spoken(this.stated.size)}: the bundle ` +
          "is older, or the log was cut. Ask for a new one; if that is shorter too, raise the alarm.",
      );
      return false;
    }
    const root = older.size === 0 ? EMPTY_ROOT : this.roots.get(older.size);
    if (root) {
      if (sameBytes(root, older.root)) return true;
      this.add(where, "The events before it are not those that it vouches for: history was rewritten.");
      return false;
    }
    if (this.keptNote === null || stated(this.keptNote).size !== older.size) return null;
    try {
      verifyConsistency(
        older.size, older.root, this.stated.size, this.stated.root, this.manifest.kept_proof.map(fromHex),
      );
    } catch (error) {
      if (!(error instanceof ProofError)) throw error;
      this.add(where, error.message);
      return false;
    }
    return true;
  }

  add(where, what, seq = null) {
    if (this.findings.length < MAX_FINDINGS) this.findings.push({ where, seq, what });
    else this.leftOut += 1;
  }
}

function outOfOrder(expected, found) {
  if (found === expected + 1) return "The event is missing.";
  if (found > expected) return `The events from here to ${spoken(found - 1)} are missing.`;
  return `Event ${spoken(found)} stands here, out of order.`;
}

function parseOwnKeys(text) {
  try {
    const lines = text.split("\n");
    if (lines.pop() !== "" || !lines.length) throw new NoteError("No line.");
    return lines.map((line) => parseKey(line));
  } catch (error) {
    if (!(error instanceof NoteError)) throw error;
    throw new Unreadable("The keys in the bundle cannot be read. They were damaged.");
  }
}

function dayAndTime(seconds) {
  if (seconds > 253_402_300_799) return "a time beyond any calendar";
  return `${new Date(1000 * seconds).toISOString().slice(0, 19)}.000000Z`;
}

function secondsBetween(earlier, later) {
  const whole = (Date.parse(`${later.slice(0, 19)}Z`) - Date.parse(`${earlier.slice(0, 19)}Z`)) / 1000;
  return whole + (Number(later.slice(20, 26)) - Number(earlier.slice(20, 26))) / 1e6;
}
