/**
 * Elements of the page, by id.
 * @module
 */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page lacks #${id}`);
  return found;
}

/**
 * Put texts into a list of terms, where they changed.
 * @param {HTMLElement} list
 * @param {[string, string][]} entries
 */
export function setTerms(list, entries) {
  while (list.children.length > 2 * entries.length) list.lastElementChild?.remove();
  while (list.children.length < 2 * entries.length) {
    list.append(document.createElement("dt"), document.createElement("dd"));
  }
  entries.forEach(([term, text], place) => {
    setText(/** @type {HTMLElement} */ (list.children[2 * place]), term);
    setText(/** @type {HTMLElement} */ (list.children[2 * place + 1]), text);
  });
}

/**
 * @param {HTMLElement} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Give a list of choices these options, and keep what is chosen.
 * @param {HTMLSelectElement} list
 * @param {[string, string][]} options value and text
 */
export function setOptions(list, options) {
  const wanted = JSON.stringify(options);
  if (list.dataset.options === wanted) return;
  const chosen = list.value;
  list.dataset.options = wanted;
  list.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === chosen)) list.value = chosen;
}
