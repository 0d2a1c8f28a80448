import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { addressOf, namingPath } from "./address";
import { InvitationPage } from "./InvitationPage";
import { NamingPage } from "./naming/NamingPage";
import { openNaming } from "./naming/opening";
import { StudiesPage } from "./owner/StudiesPage";
import { StudyPage } from "./owner/StudyPage";
import "./styles.css";

function Page() {
  const [address, setAddress] = useState(() => addressOf(location));
  useEffect(() => {
    // A link that was corrected in the address bar loads nothing by itself.
    const onHashChange = () => setAddress(addressOf(location));
    window.addEventListener("hashchange", onHashChange);
    return () => window.removeEventListener("hashchange", onHashChange);
  }, []);
  switch (address.page) {
    case "studies":
      return <StudiesPage />;
    case "study":
      return <StudyPage studyId={address.studyId} />;
    case "invitation":
      return (
        <InvitationPage
          token={address.token}
          onAccepted={(studyId, annotatorId) => {
            // The token leaves the address bar, and so the history.
            history.replaceState(null, "", namingPath(studyId, annotatorId));
            // Before the page is drawn: the server lists the examples meanwhile.
            void openNaming(studyId, annotatorId, null);
            setAddress({ page: "naming", studyId, annotatorId, category: null });
          }}
        />
      );
    case "naming":
      return <NamingPage {...address} />;
    case "unknown":
      return (
        <main className="empty-page">
          <h1>There is no such page</h1>
          <p>
            Links to a naming come from the study's owner; follow yours again, or copy all of it.
            The owner finds everything from <a href="/">the studies of this server</a>.
          </p>
        </main>
      );
  }
}

const root = document.getElementById("root");
if (!root) throw new Error("index.html has lost its root element");
createRoot(root).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
