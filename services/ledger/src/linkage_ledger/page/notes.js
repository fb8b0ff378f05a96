// C2SP signed notes, checkpoints and cosignatures, and the hand-over of a log's key from one to the next.

const LOG_KEY = 1;
const WITNESS_KEY = 4;
const SIGNATURE_PREFIX = "\u2014 ";

function requireKeyName(name) {
  if (!name || /[+\u0000-\u001f\p{White_Space}]/u.test(name)) {
    throw new NoteError("A key's name must be non-empty, without spaces, plus signs or control characters.");
  }
}

function keyIdOf(name, kind, publicBytes) {
  const text = encoder.encode(name + "\n");
  return toHex(sha256(text[0], text.subarray(1), Uint8Array.of(kind), publicBytes).subarray(0, 4));
}

function parseKey(line, kind = LOG_KEY) {
  const fields = /^([^+]*)\+([^+]*)\+(.*)$/su.exec(line);
  if (!fields) throw new NoteError("This is not a key: name, id and bytes joined by plus signs. Copy the whole line.");
  const [, name, id, encoded] = fields;
  const material = fromBase64(encoded);
  if (material[0] !== kind || material.length !== 33) {
    throw new NoteError(
      "This is not an Ed25519 key of the kind that is needed here: a log's begins with A after the second plus sign, a " +
        "witness's with B. Ask its owner for that one.",
    );
  }
  requireKeyName(name);
  const publicBytes = material.subarray(1);
  if (keyIdOf(name, kind, publicBytes) !== id) {
    throw new NoteError("The key's id does not fit its name and bytes: it was mistyped. Copy it again.");
  }
  return { name, id, publicBytes, line };
}

function parseKeyLines(text, kind = LOG_KEY) {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line)
    .map((line) => parseKey(line, kind));
}

function splitNote(note) {
  if (note.length > 1_000_000) throw new NoteError("The note is longer than any this log writes. Reject it.");
  if (/[\u0000-\u0009\u000b-\u001f]/.test(note)) {
    throw new NoteError("A note may hold no control characters but newlines. It was damaged.");
  }
  const blank = note.lastIndexOf("\n\n");
  if (blank < 1 || !note.endsWith("\n") || blank + 2 === note.length) {
    throw new NoteError("This is not a signed note: a text, an empty line, then signatures. It was cut or never signed.");
  }
  const lines = note.slice(blank + 2, -1).split("\n");
  if (lines.length > 100) throw new NoteError("The note has more than 100 signatures. No log of ours writes that: reject it.");
  return { text: note.slice(0, blank + 1), lines: lines.map(parseSignatureLine) };
}

function parseSignatureLine(line) {
  if (!line.startsWith(SIGNATURE_PREFIX)) {
    throw new NoteError("A line below the note's text is not a signature line. The note was damaged.");
  }
  const rest = line.slice(SIGNATURE_PREFIX.length);
  const space = rest.indexOf(" ");
  const name = space < 0 ? rest : rest.slice(0, space);
  requireKeyName(name);
  const raw = fromBase64(space < 0 ? "" : rest.slice(space + 1));
  if (raw.length <= 4) throw new NoteError("A signature line is too short to hold a signature. The note was damaged.");
  return { name, id: toHex(raw.subarray(0, 4)), signature: raw.subarray(4) };
}

function isSameKey(one, other) {
  return one.name === other.name && sameBytes(one.publicBytes, other.publicBytes);
}

function findKey(line, keys) {
  const matching = keys.filter((key) => key.name === line.name && key.id === line.id);
  if (matching.some((key) => !isSameKey(key, matching[0]))) {
    throw new NoteError("Two different trusted keys share one name and id. Remove the one you did not mean to trust.");
  }
  return matching[0];
}

// Signatures by unknown keys are ignored, and one wrong signature by a known key condemns the note.
async function openSigned(note, keys) {
  const { text, lines } = splitNote(note);
  const signers = [];
  for (const line of lines) {
    const key = findKey(line, keys);
    if (!key) continue;
    if (line.signature.length !== 64) {
      throw new NoteError("A signature by a trusted key has the wrong length. The note was damaged: reject it.");
    }
    if (!(await isSignedBy(key.publicBytes, line.signature, encoder.encode(text)))) {
      throw new NoteError("A signature by a trusted key does not fit the text. The note was altered: reject it.");
    }
    signers.push(key);
  }
  if (!signers.length) {
    throw new NoteError("None of the keys you trust signed this note. Check that you hold the right log's key.");
  }
  return { text, lines, signers };
}

function parseSize(text) {
  const size = Number(text);
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text) || !Number.isSafeInteger(size)) {
    throw new NoteError("The size or the root of the checkpoint cannot be read. It was damaged.");
  }
  return size;
}

function parseRoot(text) {
  const root = fromBase64(text);
  if (root.length !== 32) throw new NoteError("A checkpoint needs a size of zero or more and a 32-byte root.");
  return root;
}

function parseCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.length !== 4 || lines[3] || !lines[0]) {
    throw new NoteError("A checkpoint is three lines: origin, size, root. This text is something else.");
  }
  const [origin, size, root] = [lines[0], parseSize(lines[1]), parseRoot(lines[2])];
  if (size === 0 && !sameBytes(root, EMPTY_ROOT)) {
    throw new NoteError("A checkpoint of an empty log must carry the root of the empty tree.");
  }
  return { origin, size, root };
}

// What a note says, before anybody has checked who says it.
function stated(note, words = "A checkpoint in the bundle cannot be read. It was damaged.") {
  try {
    return parseCheckpoint(splitNote(note).text);
  } catch (error) {
    if (error instanceof NoteError) throw new Unreadable(words);
    throw error;
  }
}

// `keys` may carry the sizes that they speak for: first, and last or null.
async function openCheckpoint(note, keys) {
  const opened = await openSigned(note, keys);
  const checkpoint = parseCheckpoint(opened.text);
  const signers = opened.signers.filter((signer) => signer.name === checkpoint.origin);
  if (!signers.length) {
    throw new NoteError("The note speaks for a log whose key you do not hold. Check which log it came from.");
  }
  if (signers.every((signer) => isOutOfOffice(signer, checkpoint.size, keys))) {
    throw new NoteError(
      "The checkpoint is signed with a key that does not speak for a log of this size: the key was handed over. If it " +
        "is new, somebody used the old key: treat this as an alarm.",
    );
  }
  return { checkpoint, signers, allSigners: opened.signers, lines: opened.lines };
}

function isOutOfOffice(signer, size, keys) {
  const own = keys.filter((key) => key.first !== undefined && isSameKey(key, signer));
  return own.length > 0 && !own.some((key) => key.first <= size && (key.last === null || size <= key.last));
}

async function cosignaturesOf(note, witnesses) {
  const { text, lines } = splitNote(note);
  const found = new Map();
  for (const line of lines) {
    const key = witnesses.find((witness) => witness.name === line.name && witness.id === line.id);
    if (!key) continue;
    if (line.signature.length !== 72) {
      throw new NoteError("A witness's signature has the wrong length. The note was damaged: reject it.");
    }
    const time = new DataView(line.signature.slice(0, 8).buffer).getBigUint64(0);
    if (time > 2n ** 63n - 1n) {
      throw new NoteError("A witness's signature names a time that cannot be. Reject the note.");
    }
    const message = encoder.encode(`cosignature/v1\ntime ${time}\n${text}`);
    if (!(await isSignedBy(key.publicBytes, line.signature.subarray(8), message))) {
      throw new NoteError("A witness's signature does not fit the checkpoint. The note was altered: reject it.");
    }
    if (!found.has(key) || found.get(key) < time) found.set(key, time);
  }
  return witnesses.filter((key) => found.has(key)).map((key) => ({ key, time: Number(found.get(key)) }));
}

async function openHandover(note) {
  let handover, opened;
  try {
    const lines = splitNote(note).text.split("\n");
    if (lines.length !== 7 || lines[6] || lines[0] !== "linkage-ledger/key-handover/v1") {
      throw new HandoverError("This is not a key hand-over: it does not begin as one, or was cut. Fetch it again.");
    }
    const [, origin, size, root, old, next] = lines;
    handover = { origin, size: parseSize(size), root: parseRoot(root), old: parseKey(old), next: parseKey(next) };
    if (handover.size < 1 || handover.old.name !== origin || handover.next.name !== origin) {
      throw new HandoverError("Both keys of a hand-over bear the log's name. These are keys of something else.");
    }
    if (handover.old.id === handover.next.id) {
      throw new HandoverError("A hand-over goes from one key to another, with another id. Make another new key.");
    }
    opened = await openSigned(note, [handover.old, handover.next]);
  } catch (error) {
    if (!(error instanceof NoteError) || error instanceof HandoverError) throw error;
    throw new HandoverError("The key hand-over's signatures do not fit. It was altered: trust neither it nor the new key.");
  }
  if (![handover.old, handover.next].every((key) => opened.signers.some((signer) => isSameKey(signer, key)))) {
    throw new HandoverError("A key hand-over needs the signatures of both keys; this one lacks one. Do not accept it.");
  }
  return handover;
}

async function openChain(notes) {
  const chain = [];
  for (const note of notes) chain.push(await openHandover(note));
  for (let at = 1; at < chain.length; at += 1) {
    if (!isSameKey(chain[at].old, chain[at - 1].next) || chain[at].size <= chain[at - 1].size) {
      throw new HandoverError(
        "The key hand-overs do not follow on each other: one was left out, or belongs to another history. Ask for all of " +
          "them, in their order.",
      );
    }
  }
  if (chain.length && new Set(keysOfChain(chain).map((key) => key.id)).size !== chain.length + 1) {
    throw new HandoverError("The key hand-overs come back to an earlier key, which no longer counts. Do not accept them.");
  }
  return chain;
}

function keysOfChain(chain) {
  return [chain[0].old, ...chain.map((handover) => handover.next)];
}

// Each key of the chain with the sizes that it speaks for, then the trusted keys of other logs.
function resolveKeys(trusted, chain) {
  const keys = chain.length ? keysOfChain(chain) : [];
  const isInChain = (key) => keys.some((one) => isSameKey(one, key));
  const isOneOfTwo = (key) => trusted.some((other) => other.name === key.name && !isSameKey(other, key));
  if (trusted.some((key) => isOneOfTwo(key) && !isInChain(key))) {
    throw new HandoverError(
      "You hold two keys of one log, and no hand-over here says which of them speaks. Use the key that speaks now, and " +
        "none beside it: if it was handed over, the hand-over leads to the others.",
    );
  }
  if (!chain.length) return trusted;
  if (!trusted.some(isInChain)) {
    throw new HandoverError(
      "The key hand-overs are about keys of which you trust none. Check that you hold this log's key; if you do, " +
        "somebody put another in its place: treat this as an alarm.",
    );
  }
  const spans = keys.map((key, at) => ({
    ...key,
    first: at ? chain[at - 1].size + 1 : 0,
    last: at < chain.length ? chain[at].size : null,
  }));
  return [...spans, ...trusted.filter((key) => !isInChain(key))];
}

// Whoever still holds a retired key can sign a log that ends before its hand-over.
function requireCurrent(chain, checkpoint) {
  if (!chain.length) return;
  const { size, root } = chain.at(-1);
  if (checkpoint.size < size) {
    throw new HandoverError(
      `The checkpoint is older than the last hand-over of the log's key: it is of ${spoken(checkpoint.size)} events, the ` +
        `hand-over at ${spoken(size)}. The key that signed it no longer counts: ask for a newer one.`,
    );
  }
  if (checkpoint.size === size && !sameBytes(checkpoint.root, root)) {
    throw new HandoverError(
      `The checkpoint contradicts the hand-over of the log's key at ${spoken(size)} events: both keys signed another root ` +
        "there. Somebody shows another history: treat this as an alarm.",
    );
  }
}
