// Airflow shows this page in a frame without the rights to open a window or to leave it. What leads elsewhere is
// opened by Airflow's own page around it; without one, by the browser as ever.
const around = (() => { try { return parent !== window && parent.document; } catch { return null; } })();
addEventListener("click", (event) => {
  const link = event.target.closest("a[target]");
  if (!around || !link) return;
  event.preventDefault();
  const other = around.createElement("a");
  Object.assign(other, { href: link.href, target: link.target === "_top" ? "_self" : "_blank", rel: "noopener noreferrer" });
  around.body.append(other);
  other.click();
  other.remove();
});
// Airflow's own choice of light or dark.
const colours = () => { document.documentElement.style.colorScheme = around.documentElement.classList.contains("dark") ? "dark" : "light"; };
if (around) {
  colours();
  new MutationObserver(colours).observe(around.documentElement, { attributeFilter: ["class"] });
}
