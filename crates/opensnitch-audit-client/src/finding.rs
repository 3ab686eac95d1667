//! What `Diagnose` finds.

use serde::{Deserialize, Deserializer};

use crate::dictionary::{self, dictionary};

dictionary! {
    /// A reason why events may not arrive, or not be seen by the caller. Texts are English sentences.
    pub struct Finding {
        /// Which one it is, for programs: `socket-missing`, [`caller-not-in-group`](Self::CALLER_NOT_IN_GROUP), …
        "Id" id: String,
        /// `error`: events do not arrive; `warning`: some may not; `info`: good to know.
        "Severity" severity: String,
        /// What is the matter.
        "Message" message: String,
        /// What to do.
        "Remedy" remedy: String,
    }
}

/// Reads a finding; a key that is not known is left out.
impl<'de> Deserialize<'de> for Finding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        dictionary::deserialize(deserializer)
    }
}

impl Finding {
    /// Id of the finding that signals do not reach the caller, since it is neither root nor a member of the
    /// [group](crate::GROUP).
    pub const CALLER_NOT_IN_GROUP: &'static str = "caller-not-in-group";
}
