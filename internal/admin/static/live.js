"use strict";
// Keeps the overview as new as the server's last sample. What the keyboard is in, and what
// a screen reader would read again without need, is left alone.
(() => {
  const live = document.getElementById("live");
  const state = document.getElementById("stream");
  const heard = document.getElementById("say");
  const tell = (where, text) => { if (where.textContent !== text) where.textContent = text; };

  const show = (html) => {
    const next = document.createElement("template");
    next.innerHTML = html;
    const sections = [...next.content.children];
    const present = new Map([...live.children].map((e) => [e.id, e]));
    const same = sections.length === present.size && sections.every((e) => present.has(e.id));
    if (!same) {
      if (!live.contains(document.activeElement)) live.replaceChildren(...sections);
      return;
    }
    for (const section of sections) {
      const old = present.get(section.id);
      if (old.contains(document.activeElement) || old.innerHTML === section.innerHTML) continue;
      const scrolled = [...old.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
      if (section.dataset.say) old.dataset.say = section.dataset.say;
      old.replaceChildren(...section.childNodes);
      old.querySelectorAll(".scroll").forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
    }
  };

  // A browser has six connections for a server, for all its tabs: one that is not seen
  // gives its own back, or a seventh tab, and each form, would wait for ever.
  let source, again;
  const connect = () => {
    clearTimeout(again);
    if (document.hidden || source && source.readyState !== EventSource.CLOSED) return;
    source = new EventSource("/events");
    source.onmessage = (event) => {
      show(event.data);
      tell(state, "Live.");
      tell(heard, live.querySelector("#health")?.dataset.say || "");
    };
    source.onerror = () => {
      tell(state, "Not connected to the worker; trying again.");
      if (source.readyState !== EventSource.CLOSED) return;
      again = setTimeout(connect, 5000 + Math.random() * 5000);
    };
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source?.close();
    else connect();
  });
  connect();
})();
