// Before the first paint, so that a page in the dark never flashes white.
(() => {
  const chosen = localStorage.getItem("agentserve.theme") ?? "system";
  if (chosen !== "system") document.documentElement.dataset.theme = chosen;
})();
