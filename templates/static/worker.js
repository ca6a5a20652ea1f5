// Shows that something waits, and opens it. What is told is an id and a severity; everything else is on the page.
"use strict";

const WORDS = { low: "Low", medium: "Medium", high: "High", critical: "Critical" };

const told = (event) => {
  try {
    const { id, severity } = event.data.json();
    return { id: /^apr_[0-9]+_[0-9a-z]+$/.test(id) ? id : "", severity: WORDS[severity] ?? "" };
  } catch {
    return { id: "", severity: "" };
  }
};

self.addEventListener("push", (event) => {
  const { id, severity } = told(event);
  event.waitUntil(self.registration.showNotification("Approval needed", {
    body: severity ? `Severity: ${severity}` : "", tag: id || "inbox", icon: "/static/icon-192.png", data: { path: id ? `/r/${id}` : "/" },
    requireInteraction: severity === "Critical",
  }));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const { path } = event.notification.data;
  event.waitUntil((async () => {
    const tabs = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    const open = tabs.find((tab) => new URL(tab.url).pathname === path);
    return open ? open.focus() : self.clients.openWindow(path);
  })());
});
