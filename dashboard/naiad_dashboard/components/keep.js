// Keeps the reader's token in the browser, so that a reload need not ask for it again:
// for this tab, or for this browser if the reader said so. Storage is the origin's own; a
// cookie would go along to every other port of the host.

const NAME = "naiad token";

export default function ({ data, setStateValue }) {
  try {
    if (data.task === "ask") setStateValue("token", sessionStorage.getItem(NAME) || localStorage.getItem(NAME) || "");
    else {
      sessionStorage.removeItem(NAME);
      localStorage.removeItem(NAME);
      if (data.task === "keep") (data.long ? localStorage : sessionStorage).setItem(NAME, data.token);
    }
  } catch {
    // A browser that stores nothing asks each time.
    if (data.task === "ask") setStateValue("token", "");
  }
}
