// Numbers and names as text. What a console doesn't tell is null, and shown as a dash, never as 0.
// A number and its unit stay on one line (\u00a0).

export const NOTHING = "–";

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** A count: 12,345. */
export function count(value) {
  return value == null ? NOTHING : whole.format(value);
}

/** A number per second, three digits of it: 0.25, 1.3, 17, 12,345. */
export function rate(value) {
  if (value == null) return NOTHING;
  if (value === 0) return "0";
  if (value < 0.01) return "<0.01";
  if (value < 0.995) return value.toFixed(2);
  return value < 9.95 ? value.toFixed(1) : whole.format(value);
}

/** A time in µs: 85 µs, 1.2 ms, 340 ms, 2.4 s, 3 min 04 s, 2 h 05 min. */
export function duration(us) {
  if (us == null) return NOTHING;
  if (us <= 1) return "0"; // the smallest bucket of a histogram
  if (us < 1_000) return `${Math.round(us)}\u00a0µs`;
  if (us < 10_000) return `${(us / 1_000).toFixed(1)}\u00a0ms`;
  if (us < 999_500) return `${Math.round(us / 1_000)}\u00a0ms`;
  if (us < 59_950_000) return `${(us / 1_000_000).toFixed(1)}\u00a0s`;
  const seconds = Math.round(us / 1_000_000);
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}\u00a0min\u00a0${two(seconds % 60)}\u00a0s`;
  const minutes = Math.floor(seconds / 60);
  return `${Math.floor(minutes / 60)}\u00a0h\u00a0${two(minutes % 60)}\u00a0min`;
}

/** Bytes: 120 B, 3.4 kB, 56 MB. */
export function bytes(value) {
  if (value == null) return NOTHING;
  let unit = 0;
  while (value >= 999.5 && unit < 3) {
    value /= 1_000;
    unit += 1;
  }
  const digits = unit > 0 && value < 10 ? value.toFixed(1) : whole.format(value);
  return `${digits}\u00a0${["B", "kB", "MB", "GB"][unit]}`;
}

/** A share of 1: 32 %. */
export function percent(share) {
  return share == null || !Number.isFinite(share) ? NOTHING : `${Math.round(100 * share)}\u00a0%`;
}

// C0, C1, and what is invisible or turns the direction of writing.
const UNSEEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

/** A name that somebody chose, so that all of it can be seen: control characters as \u{1b}. */
export function visible(name) {
  if (name == null) return NOTHING;
  return String(name).replace(UNSEEN, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

/** host:port, the host in brackets where it has colons itself. */
export function place(host, port) {
  const text = visible(host);
  if (port == null || text.startsWith("/")) return text;
  return text.includes(":") ? `[${text}]:${port}` : `${text}:${port}`;
}
