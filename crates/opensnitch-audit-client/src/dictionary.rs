//! Structs that are an `a{sv}` on the bus: each field stands beside its key once, and everything else follows from that.
//!
//! In formats for people (serde calls them human readable) the same structs are plain maps of the same keys, so that
//! `serde_json::to_string` of an event gives what `opensnitch-auditctl --json` prints.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use zbus::{Type, Variant};

use crate::list::Wire;

/// A struct made by [`dictionary!`].
pub(crate) trait Dictionary: Default {
    /// Writes each key that is there.
    fn write<M: Entries>(&self, map: &mut M) -> Result<(), M::Error>;

    /// Takes a value for a key.
    fn set(&mut self, key: &str, value: Variant<'_>) -> Result<(), Refused>;

    /// Takes a value for a key from a format for people.
    fn set_plain<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Why a key or value is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such key.
    Unknown,
    /// The value has another type than this D-Bus signature.
    Type(&'static str),
}

/// Where a dictionary is written to.
pub(crate) trait Entries {
    type Error;

    fn entry<T: Value>(&mut self, key: &'static Key, value: &T) -> Result<(), Self::Error>;
}

/// A key of a dictionary.
pub(crate) struct Key {
    name: &'static str,
    /// What D-Bus has of an entry before its value, in this machine's byte order: the key and the value's signature.
    pub(crate) head: [u8; MAX_HEAD],
    pub(crate) head_length: usize,
}

/// No key and signature here are longer: more would not compile.
const MAX_HEAD: usize = 32;

impl Key {
    /// Of a value of that signature.
    #[expect(clippy::indexing_slicing, reason = "the compiler runs it")]
    pub(crate) const fn new(name: &'static str, code: &str) -> Self {
        // A text and a signature differ in how long their length is.
        #[expect(clippy::cast_possible_truncation, reason = "more than MAX_HEAD would not compile")]
        let (name_length, code_length) = ((name.len() as u32).to_ne_bytes(), [code.len() as u8]);
        let parts: [&[u8]; 6] = [&name_length, name.as_bytes(), b"\0", &code_length, code.as_bytes(), b"\0"];
        let mut key = Self { name, head: [0; MAX_HEAD], head_length: 0 };
        let mut part = 0;
        while part < parts.len() {
            let (_, rest) = key.head.split_at_mut(key.head_length);
            let (place, _) = rest.split_at_mut(parts[part].len());
            place.copy_from_slice(parts[part]);
            key.head_length += place.len();
            part += 1;
        }
        key
    }
}

/// Of a map of serde's.
struct Map<M> {
    map: M,
    plain: bool,
}

impl<M: SerializeMap> Entries for Map<M> {
    type Error = M::Error;

    fn entry<T: Value>(&mut self, key: &'static Key, value: &T) -> Result<(), M::Error> {
        let name = key.name;
        if self.plain {
            self.map.serialize_entry(name, value)
        } else {
            self.map.serialize_entry(name, &AsVariant(value))
        }
    }
}

/// As zbus's `as_variant::Serialize`, which makes the text of the signature anew each time.
struct AsVariant<'a, T>(&'a T);

impl<T: Value> Serialize for AsVariant<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut variant = serializer.serialize_struct("Variant", 2)?;
        variant.serialize_field("signature", T::CODE)?;
        variant.serialize_field("value", self.0)?;
        variant.end()
    }
}

/// A word of the service's own, such as `connect`: it is sent without a copy.
pub type Word = Cow<'static, str>;

/// What a key can have as its value.
pub(crate) trait Value: Type + Serialize + for<'v> Deserialize<'v> {
    /// Its D-Bus signature, as text.
    const CODE: &'static str;

    /// What zbus makes of a variant.
    type Read: for<'v> TryFrom<Variant<'v>> + Into<Self>;

    /// As D-Bus has it.
    fn write(&self, wire: &mut Wire);
}

macro_rules! numbers {
    ($($number:ty: $signature:literal)*) => {$(
        impl Value for $number {
            const CODE: &'static str = $signature;
            type Read = Self;

            fn write(&self, wire: &mut Wire) {
                wire.number(self.to_ne_bytes());
            }
        }
    )*};
}

numbers! { u16: "q" i32: "i" u32: "u" i64: "x" u64: "t" }

impl Value for bool {
    const CODE: &'static str = "b";
    type Read = Self;

    fn write(&self, wire: &mut Wire) {
        u32::from(*self).write(wire);
    }
}

impl Value for String {
    const CODE: &'static str = "s";
    type Read = Self;

    fn write(&self, wire: &mut Wire) {
        wire.text(self);
    }
}

impl Value for Word {
    const CODE: &'static str = String::CODE;
    type Read = String;

    fn write(&self, wire: &mut Wire) {
        wire.text(self);
    }
}

impl Value for Vec<u8> {
    const CODE: &'static str = "ay";
    type Read = Self;

    fn write(&self, wire: &mut Wire) {
        wire.array(1, |elements| elements.bytes(self));
    }
}

impl Value for Vec<u32> {
    const CODE: &'static str = "au";
    type Read = Self;

    fn write(&self, wire: &mut Wire) {
        wire.array(4, |elements| self.iter().for_each(|one| one.write(elements)));
    }
}

impl Value for Vec<String> {
    const CODE: &'static str = "as";
    type Read = Self;

    fn write(&self, wire: &mut Wire) {
        wire.array(4, |elements| self.iter().for_each(|one| one.write(elements)));
    }
}

impl Value for Vec<(u32, String)> {
    const CODE: &'static str = "a(us)";
    type Read = Self;

    fn write(&self, wire: &mut Wire) {
        wire.array(8, |elements| {
            for (number, text) in self {
                elements.begin_struct();
                number.write(elements);
                text.write(elements);
            }
        });
    }
}

/// A field of a dictionary: a [`Value`] that can be absent.
pub(crate) trait Field: Sized {
    /// What is sent where it is there.
    type Value: Value;

    /// It, unless it is absent.
    fn get(&self) -> Option<&Self::Value>;

    fn from_value(value: Self::Value) -> Self;

    fn from_variant(variant: Variant<'_>) -> Option<Self> {
        <Self::Value as Value>::Read::try_from(variant).ok().map(|read| Self::from_value(read.into()))
    }
}

impl<T: Value> Field for Option<T> {
    type Value = T;

    fn get(&self) -> Option<&T> {
        self.as_ref()
    }

    fn from_value(value: T) -> Self {
        Some(value)
    }
}

impl Field for String {
    type Value = Self;

    fn get(&self) -> Option<&Self> {
        (!self.is_empty()).then_some(self)
    }

    fn from_value(value: Self) -> Self {
        value
    }
}

impl<T> Field for Vec<T>
where
    Self: Value,
    T: for<'v> TryFrom<Variant<'v>>,
{
    type Value = Self;

    fn get(&self) -> Option<&Self> {
        (!self.is_empty()).then_some(self)
    }

    fn from_value(value: Self) -> Self {
        value
    }

    /// One that stands alone is a list of one.
    fn from_variant(variant: Variant<'_>) -> Option<Self> {
        match variant {
            list @ Variant::Array(_) => <Self as Value>::Read::try_from(list).ok().map(Into::into),
            one => T::try_from(one).ok().map(|one| vec![one]),
        }
    }
}

/// A struct with public fields, each beside its key. Makes `KEYS`, and serde's and zbus's view of it; how strictly it is
/// read is the struct's own decision.
macro_rules! dictionary {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$doc:meta])* $key:literal $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $( $(#[$doc])* #[doc = concat!("\n\nKey `", $key, "`.")] pub $field: $type, )*
        }

        impl $name {
            /// Each key and the D-Bus signature of its value, in the order in which they are sent and shown.
            pub const KEYS: &'static [(&'static str, &'static str)] = &[
                $( ($key, <<$type as $crate::dictionary::Field>::Value as $crate::dictionary::Value>::CODE), )*
            ];
        }

        impl $crate::dictionary::Dictionary for $name {
            fn write<M: $crate::dictionary::Entries>(&self, map: &mut M) -> Result<(), M::Error> {
                $( if let Some(value) = $crate::dictionary::Field::get(&self.$field) {
                    type Value = <$type as $crate::dictionary::Field>::Value;
                    static KEY: $crate::dictionary::Key =
                        $crate::dictionary::Key::new($key, <Value as $crate::dictionary::Value>::CODE);
                    map.entry(&KEY, value)?;
                } )*
                Ok(())
            }

            fn set(&mut self, key: &str, value: zbus::Variant<'_>) -> Result<(), $crate::dictionary::Refused> {
                match key {
                    $( $key => match $crate::dictionary::Field::from_variant(value) {
                        Some(value) => self.$field = value,
                        None => {
                            type Value = <$type as $crate::dictionary::Field>::Value;
                            let signature = <Value as $crate::dictionary::Value>::CODE;
                            return Err($crate::dictionary::Refused::Type(signature));
                        }
                    }, )*
                    _ => return Err($crate::dictionary::Refused::Unknown),
                }
                Ok(())
            }

            fn set_plain<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Result<(), A::Error> {
                match key {
                    $( $key => self.$field = $crate::dictionary::Field::from_value(map.next_value()?), )*
                    _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                }
                Ok(())
            }
        }

        impl zbus::Type for $name {
            const SIGNATURE: &'static zbus::wire::Signature = $crate::dictionary::SIGNATURE;
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::dictionary::serialize(self, serializer)
            }
        }
    };
}
pub(crate) use dictionary;

/// `a{sv}`.
pub(crate) const SIGNATURE: &zbus::wire::Signature = <std::collections::HashMap<&str, Variant<'_>>>::SIGNATURE;

pub(crate) fn serialize<S: Serializer>(dictionary: &impl Dictionary, serializer: S) -> Result<S::Ok, S::Error> {
    let plain = serializer.is_human_readable();
    let mut map = Map { map: serializer.serialize_map(None)?, plain };
    dictionary.write(&mut map)?;
    map.map.end()
}

/// Reads a dictionary from a service that may be newer than this crate: a key that is not known, or whose value has
/// another type than here, is left out.
pub(crate) fn deserialize<'de, T: Dictionary, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let plain = deserializer.is_human_readable();
    deserializer.deserialize_map(Reader { plain, dictionary: T::default() })
}

struct Reader<T> {
    plain: bool,
    dictionary: T,
}

impl<'de, T: Dictionary> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a dictionary of keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<T, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if self.plain {
                self.dictionary.set_plain(&key, &mut map)?;
            } else {
                // Read as whatever it is first: after an error in the middle of a value nobody knows where the next begins.
                let value = map.next_value()?;
                let _left_out = self.dictionary.set(&key, value);
            }
        }
        Ok(self.dictionary)
    }
}
