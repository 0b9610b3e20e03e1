// Console lines, the latest last. Who reads at the end stays at the end as lines arrive;
// who scrolled up stays where they are.

const instances = new WeakMap();

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// 24 hours, and the date where the mouse rests.
function moment(milliseconds) {
  const time = new Date(milliseconds);
  const made = element("span", "time", time.toLocaleTimeString("en-GB"));
  made.title = time.toString();
  return made;
}

export default function ({ data, parentElement }) {
  let state = instances.get(parentElement);
  if (!state) {
    state = { box: element("pre"), text: "" };
    state.box.tabIndex = 0;
    state.box.setAttribute("role", "log");
    state.box.setAttribute("aria-label", "Console");
    parentElement.appendChild(state.box);
    instances.set(parentElement, state);
  }
  const { box } = state;
  const text = JSON.stringify(data);
  if (text !== state.text) {
    const atEnd = state.text === "" || box.scrollTop + box.clientHeight >= box.scrollHeight - 30;
    const lines = document.createDocumentFragment();
    for (const [time, stream, line] of data.lines) {
      const row = element("div", stream);
      row.append(moment(time), line === "" ? " " : line);
      lines.appendChild(row);
    }
    if (!data.lines.length) lines.appendChild(element("div", "none", data.empty));
    box.replaceChildren(lines);
    if (atEnd) box.scrollTop = box.scrollHeight;
  }
  state.text = text;
  return () => {
    box.remove();
    instances.delete(parentElement);
  };
}
