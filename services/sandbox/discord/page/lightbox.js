// A picture at full size, with the others of its message a key away.
import { byId } from "/page/elements.js";

const box = byId("lightbox");
let pictures = [];
let at = 0;

export function enlarge(files, index) {
  pictures = files;
  turn(index);
  box.showModal();
}

function turn(index) {
  at = (index + pictures.length) % pictures.length;
  const file = pictures[at];
  const image = byId("lightbox-image");
  image.src = file.url;
  image.alt = file.description ?? file.filename;
  byId("lightbox-link").href = file.url;
  byId("lightbox-name").textContent = `${at + 1} of ${pictures.length} · ${file.filename} · ${file.width} × ${file.height}`;
  byId("lightbox-previous").hidden = byId("lightbox-next").hidden = pictures.length < 2;
}

byId("lightbox-close").addEventListener("click", () => box.close());
byId("lightbox-previous").addEventListener("click", () => turn(at - 1));
byId("lightbox-next").addEventListener("click", () => turn(at + 1));
box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
box.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") turn(at - 1);
  if (event.key === "ArrowRight") turn(at + 1);
});
