// A form with data-push subscribes this browser with the key it carries, and is then sent as a plain form.
(() => {
  "use strict";

  // the only script address that this page may make, and it is always this one
  const worker = window.trustedTypes
    ? window.trustedTypes.createPolicy("worker", { createScriptURL: () => "/sw.js" }).createScriptURL("")
    : "/sw.js";

  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));

  const subscribed = async (key) => {
    if (!("serviceWorker" in navigator && "PushManager" in window)) throw new Error("This browser can't be told.");
    if (await Notification.requestPermission() !== "granted") throw new Error("Notifications are off for this site: allow them first.");
    await navigator.serviceWorker.register(worker);
    const { pushManager } = await navigator.serviceWorker.ready;
    const held = await pushManager.getSubscription();
    if (held) await held.unsubscribe();  // it may hang on a key that the broker had before
    return pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(key) });
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target.closest("form[data-push]");
    if (!form) return;
    event.preventDefault();
    const button = form.querySelector("button"), wrong = form.querySelector("[data-push-wrong]");
    button.disabled = true;
    wrong.hidden = true;
    try {
      form.elements.subscription.value = JSON.stringify(await subscribed(form.dataset.push));
      form.submit();
    } catch (error) {
      wrong.textContent = `${error.message}`;
      wrong.hidden = false;
      button.disabled = false;
    }
  });
})();
