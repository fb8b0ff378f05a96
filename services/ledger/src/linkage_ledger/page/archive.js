// Reads the one kind of zip file a bundle may be: stored members in a fixed order, and not a byte that is free to choose.

const FORMAT = "linkage-ledger/bundle@v1";
const SMALL = 2 ** 20;
const LARGE = 16 * 2 ** 20;
const MAX_NAME = 100;

function localHeader(member) {
  const bytes = new Uint8Array(30 + member.name.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x504b0304);
  view.setUint16(4, 10, true);
  view.setUint16(12, 0x21, true);
  view.setUint32(14, member.crc, true);
  view.setUint32(18, member.size, true);
  view.setUint32(22, member.size, true);
  view.setUint16(26, member.name.length, true);
  bytes.set(encoder.encode(member.name), 30);
  return bytes;
}

function directoryEntry(member) {
  const bytes = new Uint8Array(46 + member.name.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x504b0102);
  view.setUint16(4, 10, true);
  view.setUint16(6, 10, true);
  view.setUint16(14, 0x21, true);
  view.setUint32(16, member.crc, true);
  view.setUint32(20, member.size, true);
  view.setUint32(24, member.size, true);
  view.setUint16(28, member.name.length, true);
  view.setUint32(42, member.offset, true);
  bytes.set(encoder.encode(member.name), 46);
  return bytes;
}

function endOfDirectory(count, size, offset) {
  const bytes = new Uint8Array(22);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x504b0506);
  view.setUint16(8, count, true);
  view.setUint16(10, count, true);
  view.setUint32(12, size, true);
  view.setUint32(16, offset, true);
  return bytes;
}

async function bytesOf(file, start, end) {
  return new Uint8Array(await file.slice(start, end).arrayBuffer());
}

async function readMembers(file) {
  if (file.size < 22) throw new Unreadable("The file is too short to be a bundle. It was cut, or is something else.");
  const end = await bytesOf(file, file.size - 22, file.size);
  const view = new DataView(end.buffer);
  const count = view.getUint16(10, true);
  const size = view.getUint32(12, true);
  const offset = view.getUint32(16, true);
  if (!sameBytes(end, endOfDirectory(count, size, offset)) || offset + size + 22 !== file.size || count > 65_534) {
    throw new Unreadable("The file does not end as a bundle does. It was cut, packed again, or is something else.");
  }
  if (size > count * (46 + MAX_NAME)) {
    throw new Unreadable("The bundle's directory is larger than its members account for. It was altered.");
  }
  const directory = await bytesOf(file, offset, offset + size);
  const members = parseDirectory(directory, count);
  if (!sameBytes(directory, joined(...members.map(directoryEntry))) || (members.at(-1)?.end ?? 0) !== offset) {
    throw new Unreadable("The bundle's directory is not as this product writes it. It was altered or packed again.");
  }
  return members;
}

function parseDirectory(directory, count) {
  const members = [];
  const view = new DataView(directory.buffer);
  let place = 0;
  let end = 0;
  for (let number = 0; number < count; number += 1) {
    if (place + 46 > directory.length) throw new Unreadable("The bundle's directory is cut. Get the bundle again.");
    const nameSize = view.getUint16(place + 28, true);
    const encoded = directory.subarray(place + 46, place + 46 + nameSize);
    const member = {
      crc: view.getUint32(place + 16, true),
      size: view.getUint32(place + 20, true),
      offset: view.getUint32(place + 42, true),
      name: String.fromCharCode(...encoded.subarray(0, MAX_NAME)),
    };
    if (nameSize > MAX_NAME || encoded.some((byte) => byte > 127) || member.offset !== end) {
      throw new Unreadable("The bundle's directory names something no bundle holds. It was altered.");
    }
    place += 46 + nameSize;
    member.start = end + 30 + member.name.length;
    member.end = end = member.start + member.size;
    members.push(member);
  }
  return members;
}

// The members that a bundle must have, in their order, and none besides.
class Archive {
  constructor(file, members) {
    this.file = file;
    this.members = members;
    this.next = 0;
    this.changed = [];
  }

  static async open(file) {
    return new Archive(file, await readMembers(file));
  }

  get isAtEnd() {
    return this.next === this.members.length;
  }

  async take(name, atMost = SMALL) {
    const member = this.members[this.next];
    if (!member || member.name !== name) {
      throw new Unreadable("The bundle does not hold exactly what a bundle holds. It was altered or packed again.");
    }
    if (member.size > atMost) throw new Unreadable("A member of the bundle is larger than it can be. It was altered.");
    this.next += 1;
    const bytes = await bytesOf(this.file, member.offset, member.end);
    const head = localHeader(member);
    if (!sameBytes(bytes.subarray(0, head.length), head)) {
      throw new Unreadable("A member of the bundle does not begin as the directory says. It was damaged.");
    }
    const content = bytes.subarray(head.length);
    if (crc32(content) !== member.crc) this.changed.push(member.name);
    return content;
  }

  async takeText(name, atMost = SMALL) {
    try {
      return decodeText(await this.take(name, atMost));
    } catch (error) {
      if (error instanceof Unreadable) throw error;
      throw new Unreadable("A text of the bundle is not UTF-8. It was damaged.");
    }
  }
}

const HEX_HASH = /^[0-9a-f]{64}$/;
const isLine = (value) =>
  typeof value === "string" &&
  value.length > 0 &&
  [...value].length <= 1000 &&
  !/[\u0000-\u001f\u007f]/.test(value) &&
  isWellFormed(value);
const isProof = (value) =>
  Array.isArray(value) && value.length <= 106 && value.every((hash) => typeof hash === "string" && HEX_HASH.test(hash));
const isDigests = (value) =>
  Array.isArray(value) &&
  value.length <= 10_000 &&
  value.every(
    (digest, at) => typeof digest === "string" && HEX_HASH.test(digest) && (at === 0 || value[at - 1] < digest),
  );

const isManifest = shape(
  {
    format: (value) => value === FORMAT,
    question: isLine,
    made_at: LIKE(TIME),
    first: WHOLE,
    last: WHOLE,
    size: WHOLE,
    left: isProof,
    right: isProof,
    handovers: (value) => WHOLE(value) && value <= 1000,
    documents: isDigests,
  },
  { kept_proof: isProof },
);

function parseManifest(text) {
  let manifest;
  try {
    manifest = JSON.parse(text);
  } catch {
    throw new Unreadable("The bundle's manifest cannot be read. It was damaged.");
  }
  if (isObject(manifest) && typeof manifest.format === "string" && manifest.format !== FORMAT) {
    throw new Unreadable("The bundle is of a version that is not known here. Use a newer release to read it.");
  }
  if (!isManifest(manifest) || manifest.first > manifest.last || manifest.last >= manifest.size) {
    throw new Unreadable("The bundle's manifest cannot be read. It was damaged.");
  }
  if (!isCanonical(manifest, text)) {
    throw new Unreadable("The bundle's manifest is not in canonical form. It was rewritten.");
  }
  return manifest;
}

const NEWLINE = 10;
const SPACE = 32;
const KINDS = ["event ", "other ", "body ", "disposed", "withheld"].map((kind) => [kind.trim(), encoder.encode(kind)]);

// Gives the events of a part, as {seq, hash, header, salt, body, disposed, withheld}.
function* parsePart(part) {
  if (part.at(-1) !== NEWLINE) {
    throw new Unreadable("A part of the events does not end with a line. It was cut: get the bundle again.");
  }
  let pending = null;
  let start = 0;
  while (start < part.length) {
    const end = part.indexOf(NEWLINE, start);
    const { seq, kind, hash, text } = parseLine(part.subarray(start, end));
    start = end + 1;
    if (kind === "event" || kind === "other") {
      if (pending) yield pending;
      pending = { seq, hash, header: text, salt: null, body: null, disposed: false, withheld: false };
      continue;
    }
    if (!pending || pending.seq !== seq || !pending.header) throw unreadableLine();
    yield kind === "body" ? { ...pending, salt: hash, body: text } : { ...pending, [kind]: true };
    pending = null;
  }
  if (pending) yield pending;
}

function parseLine(line) {
  const space = line.indexOf(SPACE);
  const number = space > 0 && space <= 16 ? String.fromCharCode(...line.subarray(0, space)) : "";
  if (!/^(0|[1-9][0-9]*)$/.test(number)) throw unreadableLine();
  const seq = Number(number);
  const [kind, spelled] = KINDS.find(([, bytes]) => startsAt(line, space + 1, bytes)) ?? [];
  if (!kind) throw unreadableLine();
  const rest = space + 1 + spelled.length;
  if (kind === "disposed" || kind === "withheld") {
    if (rest !== line.length) throw unreadableLine();
    return { seq, kind, hash: null, text: null };
  }
  const hash = hashAt(line, rest);
  if (!hash) throw unreadableLine();
  if (kind === "other") {
    if (rest + 64 !== line.length) throw unreadableLine();
    return { seq, kind, hash, text: null };
  }
  if (line[rest + 64] !== SPACE || rest + 65 === line.length) throw unreadableLine();
  return { seq, kind, hash, text: line.subarray(rest + 65) };
}

function startsAt(bytes, start, wanted) {
  for (let at = 0; at < wanted.length; at += 1) if (bytes[start + at] !== wanted[at]) return false;
  return true;
}

function unreadableLine() {
  return new Unreadable("A line of the events cannot be read. It was damaged: get the bundle again.");
}
