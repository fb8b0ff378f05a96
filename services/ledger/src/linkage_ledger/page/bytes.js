// Bytes, hashes and encodings. SHA-256 is written out because a log asks for two hashes an event, and the browser's own
// answers each on another thread; the two are compared with each other before a bundle is opened (see selfTest).

class Unreadable extends Error {}
class NoteError extends Error {}
class HandoverError extends NoteError {}
class ProofError extends Error {}
class HeaderError extends Error {}

const encoder = new TextEncoder();

function decodeText(bytes) {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
}

const HEX_PAIRS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function toHex(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 1) text += HEX_PAIRS[bytes[at]];
  return text;
}

function fromHex(text) {
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = parseInt(text.substr(2 * at, 2), 16);
  return bytes;
}

const HEX_VALUES = new Int8Array(256).fill(-1);
for (let value = 0; value < 16; value += 1) HEX_VALUES[value.toString(16).charCodeAt(0)] = value;

// The 32 bytes that 64 lower-case hex digits stand for, read from where they begin; null where there are no such.
function hashAt(bytes, start) {
  if (start + 64 > bytes.length) return null;
  const hash = new Uint8Array(32);
  for (let at = 0; at < 32; at += 1) {
    const high = HEX_VALUES[bytes[start + 2 * at]];
    const low = HEX_VALUES[bytes[start + 2 * at + 1]];
    if (high < 0 || low < 0) return null;
    hash[at] = 16 * high + low;
  }
  return hash;
}

function fromBase64(text) {
  let raw;
  try {
    raw = atob(text);
  } catch {
    throw new NoteError("A line that should be base64 is not. The text was damaged.");
  }
  const bytes = Uint8Array.from(raw, (character) => character.charCodeAt(0));
  if (btoa(raw) !== text) throw new NoteError("A base64 line is not written the one way it can be. The text was altered.");
  return bytes;
}

function sameBytes(one, other) {
  if (one.length !== other.length) return false;
  for (let at = 0; at < one.length; at += 1) if (one[at] !== other[at]) return false;
  return true;
}

function joined(...pieces) {
  const whole = new Uint8Array(pieces.reduce((total, piece) => total + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, number) => {
  let value = number;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (let at = 0; at < bytes.length; at += 1) value = CRC_TABLE[(value ^ bytes[at]) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

// FIPS 180-4, section 4.2.2: the first 32 bits of the fractions of the cube roots of the first 64 primes.
const SHA_ROUNDS = Int32Array.of(
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
);
const shaWords = new Int32Array(64);
let shaInput = new Uint8Array(4096);

// Gives SHA-256(prefix byte, then the pieces).
function sha256(prefix, ...pieces) {
  let length = 1;
  for (const piece of pieces) length += piece.length;
  const padded = ((length + 72) >>> 6) << 6;
  if (shaInput.length < padded) shaInput = new Uint8Array(2 * padded);
  const input = shaInput;
  input[0] = prefix;
  let at = 1;
  for (const piece of pieces) {
    input.set(piece, at);
    at += piece.length;
  }
  input.fill(0, length, padded);
  input[length] = 0x80;
  const view = new DataView(input.buffer);
  view.setUint32(padded - 8, Math.floor(length / 0x20000000));
  view.setUint32(padded - 4, (length << 3) >>> 0);
  const state = Int32Array.of(
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  );
  for (let block = 0; block < padded; block += 64) shaBlock(state, view, block);
  const digest = new Uint8Array(32);
  const out = new DataView(digest.buffer);
  for (let word = 0; word < 8; word += 1) out.setInt32(4 * word, state[word]);
  return digest;
}

function shaBlock(state, view, block) {
  const w = shaWords;
  for (let t = 0; t < 16; t += 1) w[t] = view.getInt32(block + 4 * t);
  for (let t = 16; t < 64; t += 1) {
    const x = w[t - 15], y = w[t - 2];
    const small0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const small1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    w[t] = (w[t - 16] + small0 + w[t - 7] + small1) | 0;
  }
  let a = state[0], b = state[1], c = state[2], d = state[3];
  let e = state[4], f = state[5], g = state[6], h = state[7];
  for (let t = 0; t < 64; t += 1) {
    const big1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const one = (h + big1 + ((e & f) ^ (~e & g)) + SHA_ROUNDS[t] + w[t]) | 0;
    const big0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const two = (big0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + two) | 0;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

async function browserDigest(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

async function isSignedBy(publicBytes, signature, message) {
  try {
    const key = await crypto.subtle.importKey("raw", publicBytes, { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, key, signature, message);
  } catch {
    return false;
  }
}

// Test 2 of RFC 8032, section 7.1.
const ED25519_TEST = {
  key: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
  message: "72",
  signature:
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
};

// Says what this browser cannot do; null when it can do all.
async function selfTest() {
  if (!globalThis.crypto || !crypto.subtle || !Blob.prototype.arrayBuffer) {
    return "This browser cannot check hashes and signatures here. Use a newer one, or the command linkage-ledger verify.";
  }
  for (const length of [0, 1, 54, 55, 56, 63, 64, 65, 119, 1000]) {
    const content = Uint8Array.from({ length }, (_, at) => (at * 31 + length) & 255);
    if (!sameBytes(sha256(0, content), await browserDigest(joined(Uint8Array.of(0), content)))) {
      return "This page and the browser do not agree on SHA-256. The page was damaged: get it again.";
    }
  }
  const { key, message, signature } = ED25519_TEST;
  if (!(await isSignedBy(fromHex(key), fromHex(signature), fromHex(message)))) {
    return (
      "This browser does not know Ed25519 signatures. Use Chrome or Edge 137, Firefox 129, Safari 17 or later, or the " +
      "command linkage-ledger verify."
    );
  }
  if (await isSignedBy(fromHex(key), fromHex(signature), Uint8Array.of(0x73))) {
    return "This browser takes a wrong signature for a right one. Use another.";
  }
  return null;
}
