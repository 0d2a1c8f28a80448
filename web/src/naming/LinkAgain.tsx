import { type FormEvent, useState } from "react";
import { messageOf } from "../api/client";
import { openLinkAgain } from "./opening";

/** Takes a pasted link, where following it elsewhere would leave this page. */
export function LinkAgain() {
  const [refusal, setRefusal] = useState<string | null>(null);

  async function open(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    try {
      await openLinkAgain(String(new FormData(event.currentTarget).get("link")));
      setRefusal(null);
    } catch (error) {
      setRefusal(messageOf(error));
    }
  }

  return (
    <form className="link-again" onSubmit={open}>
      <label>
        Your link <input name="link" required autoComplete="off" placeholder="paste it here" />
      </label>
      <button type="submit">Open</button>
      {refusal && <span role="alert">{refusal}</span>}
    </form>
  );
}
