// A form with data-passkey asks for a challenge, lets the authenticator answer it, and is then sent as a plain form.
(() => {
  "use strict";

  const ask = async (form) => {
    const begun = await fetch(form.dataset.passkey, {
      method: "POST", headers: { accept: "application/json" }, body: new URLSearchParams(new FormData(form)),
    });
    const told = await begun.json();
    if (!begun.ok) throw new Error(told.detail);
    const made = form.dataset.make
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(told.options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(told.options) });
    form.elements.nonce.value = told.nonce;
    form.elements.answer.value = JSON.stringify(made.toJSON());
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target.closest("form[data-passkey]");
    if (!form) return;
    event.preventDefault();
    const button = form.querySelector("button"), wrong = form.querySelector("[data-passkey-wrong]");
    button.disabled = true;
    wrong.hidden = true;
    try {
      await ask(form);
      form.submit();
    } catch (error) {
      wrong.textContent = error.name === "NotAllowedError" ? "The passkey was not used: nothing was sent." : `${error.message}`;
      wrong.hidden = false;
      button.disabled = false;
    }
  });
})();
