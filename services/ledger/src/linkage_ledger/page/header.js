// The header of an event: canonical JSON with known members, and no other spelling of it.

const TEXT = (value) =>
  typeof value === "string" &&
  value.length > 0 &&
  (value.length <= 1024 || [...value].length <= 1024) &&
  !/[\u0000-\u001f\u007f]/.test(value) &&
  isWellFormed(value);
const WHOLE = (value) => Number.isSafeInteger(value) && value >= 0;
const LIKE = (pattern) => (value) => typeof value === "string" && value.length <= 1024 && pattern.test(value);
const ONE_OF = (...choices) => (value) => choices.includes(value);
const NAME = LIKE(/^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$/);
const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$/;
const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

function isWellFormed(value) {
  return !/\p{Surrogate}/u.test(value);
}

function isTime(value) {
  if (!LIKE(TIME)(value) || value < "0001") return false;
  const at = new Date(`${value.slice(0, 19)}.000Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().slice(0, 19) === value.slice(0, 19);
}

// A check of every member: those that must be there, then those that may.
function shape(required, optional = {}) {
  const needed = Object.keys(required);
  const known = new Map(Object.entries({ ...required, ...optional }));
  return (value) => {
    if (!isObject(value)) return false;
    if (!needed.every((name) => Object.hasOwn(value, name))) return false;
    return Object.keys(value).every((name) => known.has(name) && known.get(name)(value[name]));
  };
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCounts(value) {
  if (!isObject(value)) return false;
  const entries = Object.entries(value);
  return entries.length <= 256 && entries.every(([name, count]) => NAME(name) && WHOLE(count));
}

function isPolicies(value) {
  return Array.isArray(value) && value.length <= 256 && value.every(TEXT);
}

const isAuthn = shape({ method: TEXT }, { key_thumbprint: TEXT, session: TEXT });

const isHeader = shape(
  {
    v: (value) => value === 1,
    id: LIKE(UUID7),
    time: isTime,
    type: NAME,
    actor: shape({ kind: ONE_OF("client", "person", "system", "unknown") }, { id: TEXT, org: TEXT }),
    resource: shape({ type: TEXT }, { id: TEXT }),
    action: TEXT,
    outcome: shape({ status: ONE_OF("success", "refused", "failed"), code: TEXT }),
    request_id: TEXT,
    source: TEXT,
  },
  {
    authn: (value) => isAuthn(value) && !("key_thumbprint" in value && "session" in value),
    agreement: shape({ ref: TEXT, version: WHOLE, digest: TEXT }),
    project: TEXT,
    purpose: TEXT,
    decision: shape({
      effect: ONE_OF("allow", "deny"),
      policies: isPolicies,
      policy_digest: TEXT,
      entities_digest: TEXT,
    }),
    counts: isCounts,
    body_hash: LIKE(/^[0-9a-f]{64}$/),
  },
);

// RFC 8785, for what passed as a header or a manifest: names are ASCII there and numbers whole, which the browser spells
// as RFC 8785 does, and in the order in which they were read. A name that is there twice comes out once.
function isCanonical(value, text) {
  return JSON.stringify(value) === text && isInOrder(value);
}

function isInOrder(value) {
  if (typeof value !== "object") return true;
  if (Array.isArray(value)) return value.every(isInOrder);
  const names = Object.keys(value);
  for (let at = 0; at < names.length; at += 1) {
    if ((at > 0 && names[at - 1] >= names[at]) || !isInOrder(value[names[at]])) return false;
  }
  return true;
}

function parseHeader(bytes) {
  let text, header;
  try {
    text = decodeText(bytes);
    header = JSON.parse(text);
  } catch {
    throw new HeaderError("not JSON");
  }
  if (bytes.length > 65_536 || !isHeader(header) || !isCanonical(header, text)) throw new HeaderError("no header");
  return header;
}
