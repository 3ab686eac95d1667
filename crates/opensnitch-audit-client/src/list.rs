//! Events in the bytes that D-Bus has for them.

use serde::ser::{Serialize, Serializer};
use zbus::Type;
use zbus::wire::Signature;

use crate::Event;
use crate::dictionary::{Dictionary, Entries, Key, Value};

/// A list of events as the body of a message begins with it, `aa{sv}`: for whoever answers with thousands of them.
///
/// An event has some thirty values. zbus writes each through serde, looks at its signature anew, and wants all events at
/// hand. Here each is written as soon as it is known, and forgotten.
#[derive(Clone, Debug, Default)]
pub struct EventList {
    elements: Wire,
}

impl EventList {
    /// Adds an event, unless the list would be longer than so many bytes then; whether it did.
    pub fn push_within(&mut self, most: usize, event: &Event) -> bool {
        let before = self.elements.bytes.len();
        self.elements.dictionary(event);
        let fits = self.elements.bytes.len() <= most;
        if !fits {
            self.elements.bytes.truncate(before);
        }
        fits
    }

    /// Its elements. In the body of a message the length of these bytes stands before them, as a `u32` of this machine's.
    #[must_use]
    pub fn elements(&self) -> &[u8] {
        &self.elements.bytes
    }
}

impl Serialize for EventList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Bytes are what zbus writes as an array in one piece: their length, and then they themselves.
        serializer.serialize_bytes(&self.elements.bytes)
    }
}

impl Type for EventList {
    const SIGNATURE: &'static Signature = <Vec<Event>>::SIGNATURE;
}

/// How far from the beginning of a message's body the first element of its first array stands: behind the array's length.
const FIRST: usize = 4;

/// What D-Bus calls marshalling: the elements of an array with which a body begins, in this machine's byte order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    bytes: Vec<u8>,
}

impl Wire {
    /// Fills up to a multiple of so many bytes, at most eight.
    fn align(&mut self, to: usize) {
        let at = FIRST + self.bytes.len();
        self.beginning(&[0; 8], at.next_multiple_of(to) - at);
    }

    /// So many bytes of an array, which is written whole first: that is quicker than to look how many.
    fn beginning<const N: usize>(&mut self, array: &[u8; N], length: usize) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(array);
        self.bytes.truncate(start + length);
    }

    /// A number, which stands at a multiple of its size.
    pub(crate) fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.bytes.extend_from_slice(&bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.number(length(text.len()));
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// An array of what is `written`, which begins at a multiple of `align`.
    pub(crate) fn array(&mut self, align: usize, written: impl FnOnce(&mut Self)) {
        self.number(length(0));
        let behind = self.bytes.len();
        // This does not count as part of the array.
        self.align(align);
        let start = self.bytes.len();
        written(self);
        let length = length(self.bytes.len() - start);
        if let Some(slot) = self.bytes.get_mut(behind - length.len()..behind) {
            slot.copy_from_slice(&length);
        }
    }

    /// So many bytes side by side.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Something with several parts, as an entry of a dictionary is.
    pub(crate) fn begin_struct(&mut self) {
        self.align(8);
    }

    /// Not less than what a dictionary takes, wherever it stands.
    pub(crate) fn size_of(dictionary: &impl Dictionary) -> usize {
        // Elsewhere up to three bytes stand before its length, and four behind it.
        const ELSEWHERE: usize = 3 + 4;
        let mut wire = Self::default();
        wire.dictionary(dictionary);
        wire.bytes.len() + ELSEWHERE
    }

    fn dictionary(&mut self, dictionary: &impl Dictionary) {
        self.array(8, |entries| {
            let Ok(()) = dictionary.write(entries);
        });
    }
}

impl Entries for Wire {
    type Error = std::convert::Infallible;

    fn entry<T: Value>(&mut self, key: &'static Key, value: &T) -> Result<(), Self::Error> {
        self.begin_struct();
        self.beginning(&key.head, key.head_length);
        value.write(self);
        Ok(())
    }
}

/// The length of a text or an array. No message is as long as u32 counts.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes()
}
