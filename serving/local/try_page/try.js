const byId = (id) => document.getElementById(id);
const MIB = 2 ** 20;
const MOST_OTHERS = 4;  // classes that are shown beside the answer

/** What went wrong, in words for the person at the browser. */
class Problem extends Error {}

let served = { models: [], grpc: null };  // as /try/served said last
let given = null;                         // the file that is asked about, and whether it was pasted
let shown = null;                         // the address of its preview
let turn = 0;                             // an answer to an older question is dropped

// --- what is asked ---

async function fetched(path, options = {}) {
  let response, text;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
    text = await response.text();
  } catch {
    throw new Problem(`The server at ${location.host} does not answer. Has it been stopped? `
      + "Start it again with make serve, then give the picture once more.");
  }
  let body;
  try {
    body = parsed(text);
  } catch {
    body = { error: text.trim().slice(0, 300) || "no text" };
    if (response.ok) throw new Problem(`Expected JSON from ${path}. Received: ${body.error}`);
  }
  if (!response.ok) throw new Problem(`The server refuses it (${response.status}): ${body.error}`);
  return body;
}

/** JSON as TensorFlow Serving writes it: with NaN and Infinity, which become null. */
function parsed(text) {
  const bare = /("(?:[^"\\]|\\.)*")|-?\b(?:NaN|Infinity)\b/g;
  return JSON.parse(text.replace(bare, (_, string) => string ?? "null"));
}

/** Asks what is served, and offers it; a choice that is still there stays. */
async function refresh() {
  served = await fetched("/try/served");
  if (!served.models.length) throw new Problem("This server has no models: look at its models.config.");
  fill(byId("model"), served.models.map(({ name }) => [name, name]), served.models[0].name);
  offerVersions();
}

function offerVersions() {
  const { labels, versions } = served.models.find(({ name }) => name === byId("model").value);
  const names = Object.keys(labels).sort((a, b) => (b === CONTRACT.first) - (a === CONTRACT.first));
  fill(byId("which"), [
    ...names.map((label) => [`label ${label}`, `${label} (version ${labels[label]})`]),
    ...versions.map((version) => [`version ${version}`, `version ${version}`]),
  ], names.includes(CONTRACT.first) ? `label ${CONTRACT.first}` : `version ${versions[0]}`);
}

function fill(select, choices, first) {
  const before = select.value;
  select.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
  const stays = choices.some(([value]) => value === before);
  select.value = stays ? before : first;
}

/** Which model, and which version of it, as the two lists say. */
function choice() {
  const [kind, ...name] = byId("which").value.split(" ");
  const chosen = { model: byId("model").value, kind, name: name.join(" ") };
  if (!chosen.name) throw new Problem(`Model ${chosen.model} has no version that can answer yet. Try again in a moment.`);
  chosen.path = `/v1/models/${encodeURIComponent(chosen.model)}/${kind}s/${encodeURIComponent(chosen.name)}`;
  return chosen;
}

/** The version that answers for a path, if it takes pictures. */
async function answering({ path, model }) {
  const { model_spec: spec, metadata } = await fetched(`${path}/metadata`);
  const { inputs = {}, outputs = {} } = metadata.signature_def.signature_def[CONTRACT.signature] ?? {};
  const missing = [CONTRACT.label, CONTRACT.probability, CONTRACT.review, CONTRACT.valid].filter((name) => !outputs[name]);
  if (inputs[CONTRACT.input]?.dtype !== "DT_STRING" || Object.keys(inputs).length > 1 || missing.length) {
    throw new Problem(`Expected a model whose signature ${CONTRACT.signature} takes picture files as ${CONTRACT.input}. `
      + `Received: ${model}, version ${spec.version}, which takes ${Object.keys(inputs).join(", ") || "nothing"} and answers `
      + `${Object.keys(outputs).join(", ") || "nothing"}. Choose another model, or ask this one with tfs predict --inputs.`);
  }
  return spec.version;
}

/** The model's answer. A predict answer names no version, so the version is asked before and after. */
async function answered(chosen, file) {
  const body = JSON.stringify({ instances: [{ b64: await base64(file) }] });
  for (let attempt = 0; ; attempt++) {
    const version = await answering(chosen);
    const began = performance.now();
    const { predictions: [row] } = await fetched(`${chosen.path}:predict`, { method: "POST", body });
    const took = performance.now() - began;
    if (await answering(chosen) === version) return { row, version, took };
    if (attempt === 2) throw new Problem(`${chosen.kind} ${chosen.name} moved three times while the model was asked. Try again.`);
  }
}

// --- the picture ---

const STARTS = [["JPEG", /^\xff\xd8\xff/], ["PNG", /^\x89PNG\r\n\x1a\n/], ["GIF", /^GIF8/], ["BMP", /^BM/]];
const OTHERS = [
  ["WebP", /^RIFF[^]{4}WEBP/], ["TIFF", /^(II[*+]\0|MM\0[*+])/], ["AVIF", /^[^]{4}ftypavi[fs]/],
  ["HEIC", /^[^]{4}ftyp(hei|hev|mif1)/], ["a video", /^[^]{4}ftyp/], ["PDF", /^%PDF/], ["ZIP", /^PK\x03\x04/],
  ["SVG", /^\s*(<\?xml[^]*)?<svg/i], ["HTML", /^\s*<(!doctype html|html)/i], ["text", /^[\t\n\r\x20-\x7e]+$/],
];

/** A file's format by its first bytes, as the model looks at it, and how many pixels it claims. */
async function inspected(file) {
  const told = `${file.name || "a file"}, ${bytes(file.size)}`;
  if (file.size > MOST_BYTES) throw new Problem(`Expected a picture of at most ${MOST_BYTES / MIB} MiB. Received: ${told}. Save it smaller.`);
  let head, start;
  try {
    head = await file.slice(0, 64).arrayBuffer();
    start = String.fromCharCode(...new Uint8Array(head));
  } catch {
    throw new Problem(`Expected a file that can be read. Received: ${told}. Is it a folder, or was it moved?`);
  }
  const known = STARTS.find(([, pattern]) => pattern.test(start));
  if (known) return { kind: known[0], claimed: claimedBy(known[0], new DataView(head)) };
  const other = OTHERS.find(([, pattern]) => pattern.test(start));
  const begins = !file.size ? "which is empty" : other ? `which begins as ${other[0]}` : "whose beginning is of no format that is known here";
  throw new Problem(`Expected a JPEG, PNG, GIF or BMP picture. Received: ${told}, ${begins}. Save it as PNG.`);
}

/** The size in a file's head; null where it stands elsewhere, or the head is cut off. */
function claimedBy(kind, head) {
  try {
    if (kind === "PNG") return { width: head.getUint32(16), height: head.getUint32(20) };
    if (kind === "GIF") return { width: head.getUint16(6, true), height: head.getUint16(8, true) };
    if (kind === "BMP") return { width: head.getInt32(18, true), height: Math.abs(head.getInt32(22, true)) };
  } catch { /* the head is cut off */ }
  return null;
}

function bytes(count) {
  if (count < 1024) return `${count} bytes`;
  return count < MIB ? `${(count / 1024).toFixed(1)} KiB` : `${(count / MIB).toFixed(1)} MiB`;
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Problem(`Expected a file that can be read. Received: ${file.name}, which changed since it was chosen.`));
    reader.readAsDataURL(file);
  });
}

/** Loads the picture; its size in pixels, or null where this browser cannot read it. */
async function previewed(file) {
  URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(file);
  const image = byId("picture");
  image.hidden = true;  // a small file may hold a huge picture: it is not decoded before its size is known
  const loaded = await new Promise((resolve) => {
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
    image.src = shown;
  });
  const size = { width: image.naturalWidth, height: image.naturalHeight };
  if (loaded && isHuge(size)) return size;
  try {
    await image.decode();
    return size;
  } catch {
    return null;
  }
}

function isHuge({ width, height }) {
  return width * height > MOST_PIXELS;
}

/** Why the model may not have been able to read a picture, as far as the file itself tells. */
async function whyInvalid(file, { kind, claimed }, size) {
  const end = String.fromCharCode(...new Uint8Array(await file.slice(-1024).arrayBuffer()));
  const last = { JPEG: /\xff\xd9/, PNG: /IEND/, GIF: /;/ }[kind];
  if (last && !last.test(end)) return `The file begins as ${kind}, but its end is missing: it is cut off. Copy or save it once more.`;
  const huge = [size, claimed].find((found) => found && isHuge(found));
  if (huge) {
    return `It has ${huge.width} × ${huge.height} pixels. A model takes ${MOST_PIXELS / 1e6} megapixels, unless it was trained with `
      + "another --max-megapixels. Save it smaller.";
  }
  if (!size) return `The file begins as ${kind}, but this browser cannot read it either: it is damaged. Save it once more.`;
  return `This browser shows it, but may pass over damage, or it is a kind of ${kind} that the model does not take: `
    + "more passes than a picture needs, say, or a rare encoding. Save it as PNG.";
}

// --- what is shown ---

async function ask() {
  if (!given) return;
  const mine = ++turn, { file, pasted, note } = given;
  byId("problem").hidden = byId("answer").hidden = byId("again").hidden = true;
  byId("progress").textContent = "Asking the model …";
  let looked, size, answer, problem = null;
  try {
    looked = await inspected(file);
    await refresh();
    const chosen = choice();
    if (mine !== turn) return;
    offerAgain(chosen, file, pasted);
    [size, answer] = await Promise.all([previewed(file), answered(chosen, file)]);
    answer.as = chosen;
    if (!answer.row[CONTRACT.valid]) answer.why = await whyInvalid(file, looked, size);
  } catch (error) {
    problem = error instanceof Problem ? error.message : `This page has failed: ${error}`;
  }
  if (mine !== turn) return;
  byId("progress").textContent = problem ? "" : note;
  if (problem) complain(problem);
  else show(file, looked.kind, size, answer);
}

function show(file, kind, size, { row, version, took, as, why }) {
  const valid = row[CONTRACT.valid], probability = row[CONTRACT.probability];
  byId("about").textContent = [file.name, kind, bytes(file.size), size && `${size.width} × ${size.height} pixels`].filter(Boolean).join(", ");
  byId("picture").hidden = !size || isHuge(size);
  byId("label").textContent = valid ? row[CONTRACT.label] : "none";
  byId("probability").textContent = probability === null ? "none" : `${probability.toFixed(4)} of ${ofWhat(row)}`;
  byId("track").hidden = probability === null;
  byId("bar").style.width = `${100 * Math.min(1, Math.max(0, probability ?? 0))}%`;
  byId("others").textContent = others(row);
  for (const part of document.getElementsByClassName("others")) part.hidden = !others(row);
  byId("review").textContent = row[CONTRACT.review] ? "yes: a person should decide" : "no";
  byId("version").textContent = as.kind === "label" ? `${version} (${as.name})` : version;
  byId("took").textContent = `${took.toFixed(1)} ms in this browser`;
  byId("answer").hidden = false;
  if (why) complain(`The model cannot read the picture (valid=false). ${why}`);
}

/** Whose probability it is: of two classes the positive one's, of more the label's. */
function ofWhat(row) {
  const classes = row[CONTRACT.classes];
  return !classes ? "the positive class" : classes.length === 2 ? classes[1] : row[CONTRACT.label];
}

/** The likeliest classes of more than two, and how likely they are. */
function others(row) {
  const classes = row[CONTRACT.classes], scores = row[CONTRACT.scores];
  if (!row[CONTRACT.valid] || !classes || classes.length === 2) return "";
  const ranked = classes.map((name, place) => [name, scores[place]]).sort(([, one], [, other]) => other - one);
  const told = ranked.slice(1, 1 + MOST_OTHERS).map(([name, score]) => `${name} ${score.toFixed(4)}`);
  return told.join(", ") + (ranked.length > 1 + MOST_OTHERS ? ", …" : "");
}

function complain(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = false;
}

function offerAgain(chosen, file, pasted) {
  const name = file.name || "picture.png", quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  byId("where").textContent = `Both read ${name} from the folder in which they run. `;
  if (pasted) {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: name });
    link.textContent = "Save the pasted picture there first.";
    byId("where").append(link);
  }
  byId("curl").textContent = `(printf '{"instances": [{"b64": "'; base64 < ${quote(name)} | tr -d '\\n'\n`
    + ` printf '"}]}') | curl -sS --data-binary @- \\\n ${quote(`${location.origin}${chosen.path}:predict`)}`;
  const servable = `model=${JSON.stringify(chosen.model)}, ${chosen.kind}=${chosen.kind === "label" ? JSON.stringify(chosen.name) : chosen.name}`;
  byId("python").textContent = served.grpc ? [
    "# pip install ./serving/client",
    "from tfs_client import Client, ImageClassifier",
    `client = Client(${JSON.stringify(served.grpc)})`,
    `classifier = ImageClassifier(client, ${servable})`,
    `answer = classifier.predict(${JSON.stringify(name)})`,
    "print(answer.label, answer.probability, answer.needs_review, answer.model_version)",
    "client.close()",
  ].join("\n") : "# tfs_client speaks gRPC, which this server offers only with TLS or not by TCP: see serving/client/README.md";
  byId("again").hidden = false;
}

// --- how a picture comes ---

function give(files, pasted = false) {
  if (!files.length) return;
  given = { file: files[0], pasted, note: files.length > 1 ? `This is the first of ${files.length} files; the others were not asked about.` : "" };
  ask();
}

byId("file").addEventListener("change", ({ target }) => {
  give([...target.files]);
  target.value = "";  // so that the same file can be chosen once more
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("zone").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("zone").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();  // else the browser would leave this page for the file
  byId("zone").classList.remove("over");
  const files = [...event.dataTransfer.files];
  if (files.length) give(files);
  else refused("Expected a file. Received: something else, such as the address of a picture on a page. Save the picture first.");
});
document.addEventListener("paste", ({ clipboardData }) => {
  const files = [...clipboardData.files];
  if (files.length) give(files, true);
  else refused("Expected a picture on the clipboard. Received: text, or nothing. Copy the picture itself.");
});

/** Says why there is nothing to ask, in the place of the last answer. */
function refused(text) {
  turn++;
  given = null;
  byId("answer").hidden = byId("again").hidden = true;
  byId("progress").textContent = "";
  complain(text);
}

byId("model").addEventListener("change", () => { offerVersions(); ask(); });
byId("which").addEventListener("change", ask);
for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(byId(button.dataset.copies).textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(byId(button.dataset.copies));
      button.textContent = "Selected: copy it by key";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
refresh().catch((error) => complain(error.message));
