// Light or dark, before anything is painted: what was chosen here, else what the system prefers.
// A plain script, not a module: those come after the first paint.
"use strict";

(() => {
  const KEY = "pgmux-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage is switched off
    }
  }

  function apply() {
    const theme = chosen() ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    dispatchEvent(new Event("themechange"));
  }

  window.switchTheme = () => {
    const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(KEY, other);
      apply();
    } catch {
      document.documentElement.dataset.theme = other;
      dispatchEvent(new Event("themechange"));
    }
  };

  dark.addEventListener("change", apply);
  apply();
})();
