/** Amounts, times and places in words. */

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** `9.8 kB`, `340 bytes`. */
export function bytes(amount) {
  const power = amount < 1000 ? 0 : Math.min(Math.floor(Math.log10(amount) / 3), UNITS.length - 1);
  const value = amount / 1000 ** power;
  return `${power && value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[power]}`;
}

/** How long something takes: `8.2 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const DAY = { day: "numeric", month: "long", year: "numeric" };

/** When a picture was taken, as its camera's clock had it: `3 May 2024, 14:05`. */
export function taken(time) {
  const [, date, clock] = /^(\d{4}-\d\d-\d\d)T?(\d\d:\d\d)?/.exec(time) ?? [];
  if (!date) return time;
  const said = new Date(`${date}T00:00:00`).toLocaleDateString("en-GB", DAY);
  return clock ? `${said}, ${clock}` : said;
}

/** A moment in this place's time: `today at 14:05`, `3 May at 14:05`. */
export function moment(time) {
  const when = new Date(time);
  const now = new Date();
  const clock = when.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (when.toDateString() === now.toDateString()) return `today at ${clock}`;
  const short = { day: "numeric", month: "long" };
  return `${when.toLocaleDateString("en-GB", when.getFullYear() === now.getFullYear() ? short : DAY)} at ${clock}`;
}

/** The folder of a path, with either kind of slash. */
export const folderOf = (path) => path.replace(/[\\/][^\\/]*$/, "") || "/";
