//! The way in for fuzz targets (`fuzz/`); built only by cargo-fuzz.

use super::{Answer, Messages};

/// Hands the payloads of a datagram that answers a request of this kind to `each`.
pub fn answers(datagram: &[u8], kind: u16, mut each: impl FnMut(&[u8])) {
    for message in Messages(datagram) {
        if let Ok(Answer::Payload(payload)) = message.answer(kind) {
            each(payload);
        }
    }
}
