// A tree of paths with their values; a filter finds in paths and values.

const instances = new WeakMap();

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function matches(node, wanted) {
  return node.path.toLowerCase().includes(wanted) || (node.value !== null && node.value.toLowerCase().includes(wanted));
}

function draw(nodes, state, wanted) {
  const made = document.createDocumentFragment();
  for (const node of nodes) {
    const here = !wanted || matches(node, wanted);
    const below = node.children.length ? draw(node.children, state, here && wanted && node.path.toLowerCase().includes(wanted) ? "" : wanted) : null;
    const hasBelow = below && below.childNodes.length > 0;
    if (node.value !== null && here) {
      const leaf = element("div", "leaf");
      leaf.dataset.path = node.path;
      leaf.title = node.path;
      leaf.append(element("span", "name", node.name), element("span", "value", node.value), element("span", "type", node.type));
      made.appendChild(leaf);
    }
    if (hasBelow) {
      const details = element("details");
      details.open = wanted ? true : !state.closed.has(node.path);
      const summary = element("summary", "", node.name === "" ? "(empty)" : node.name);
      summary.addEventListener("click", () => (details.open ? state.closed.add(node.path) : state.closed.delete(node.path)));
      details.append(summary, below);
      made.appendChild(details);
    }
  }
  return made;
}

export default function ({ data, parentElement }) {
  let state = instances.get(parentElement);
  if (!state) {
    state = { closed: new Set(data.closed), root: element("div", "tree"), body: element("div"), find: element("input"), text: "" };
    state.find.placeholder = "Filter";
    state.find.setAttribute("aria-label", "Filter");
    state.root.append(state.find, state.body);
    parentElement.appendChild(state.root);
    instances.set(parentElement, state);
  }
  const show = () => {
    state.body.replaceChildren(draw(data.nodes, state, state.find.value.trim().toLowerCase()));
    if (!state.body.childNodes.length) state.body.appendChild(element("div", "none", "Nothing here matches."));
  };
  state.find.oninput = show;
  const text = JSON.stringify(data.nodes);
  // Nothing new: leave what the reader has opened, selected and scrolled.
  if (text !== state.text) show();
  state.text = text;
  return () => {
    state.root.remove();
    instances.delete(parentElement);
  };
}
