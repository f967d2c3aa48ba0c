//! Docker's JSON, as types that are read and written: what a request carries, and what an answer says.
//!
//! Names, nesting and the meaning of null are those of the Engine API (1.41 to 1.50). A field that skep never writes is
//! there all the same: a request that carries it must be understood, and refused where skep cannot do what it asks.
//!
//! Invariants:
//! - **What was read is written back unchanged**: a null stays a null, and what is missing stays missing.
//! - What a request carries beyond the fields here is kept by name (`other`), for `refuse` to look at.
#![allow(missing_docs)] // The fields' documentation is docker's: https://docs.docker.com/reference/api/engine/

pub mod container;
pub mod create;
pub mod image;
pub mod info;
pub mod mount;
pub mod network;
pub mod node;
pub mod service;
pub mod swarm;
pub mod task;
pub mod volume;

use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::{Error, Result};

/// Docker writes a time that never was so: Go's zero time.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Go's zero time in seconds since 1970.
pub const NEVER_SECONDS: i64 = -62_135_596_800;

/// A moment as the JSON has it; `None` for one that never was.
pub fn moment(text: &str) -> Option<Timestamp> {
    (text != NEVER).then(|| text.parse().ok()).flatten()
}

/// A field that is missing, null, or has a value.
pub type Maybe<T> = Option<Option<T>>;

/// Reads a [`Maybe`].
pub(crate) fn maybe<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Maybe<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Reads words: a list, or one text, which is a list of one.
pub(crate) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(Option::deserialize(deserializer)?.map(|words| match words {
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    }))
}

/// The value of a key of Go's sets: `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Values by name, in the order in which they came: users find their ports and networks as they wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<V>(pub Vec<(String, V)>);

impl<V> Default for Named<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Named<V> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// The value of a name, which is added at the end when it is not there.
    pub fn entry(&mut self, name: &str) -> &mut V
    where
        V: Default,
    {
        if let Some(index) = self.0.iter().position(|(other, _)| other == name) {
            return &mut self.0[index].1;
        }
        self.0.push((name.to_owned(), V::default()));
        let last = self.0.len() - 1;
        &mut self.0[last].1
    }

    /// Sets the value of a name.
    pub fn set(&mut self, name: &str, value: V)
    where
        V: Default,
    {
        *self.entry(name) = value;
    }
}

impl<V> FromIterator<(String, V)> for Named<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl<V: Serialize> Serialize for Named<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de, V: Deserialize<'de> + Default> Deserialize<'de> for Named<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de> + Default> Visitor<'de> for Entries<V> {
            type Value = Named<V>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut named = Named::default();
                while let Some((name, value)) = entries.next_entry::<String, V>()? {
                    named.set(&name, value);
                }
                Ok(named)
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Whether a value asks for nothing: null, no, nought, nothing.
fn asks_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.iter().all(asks_nothing),
        Value::Object(fields) => fields.values().all(asks_nothing),
    }
}

/// Refuses a field of a request that asks for what skep cannot do.
///
/// # Errors
/// [`crate::ErrorKind::NotSupported`].
pub(crate) fn refuse(name: &str, value: &impl Serialize) -> Result<()> {
    let asked = serde_json::to_value(value).unwrap_or(Value::Null);
    match asks_nothing(&asked) {
        true => Ok(()),
        false => Err(Error::new(crate::ErrorKind::NotSupported, format!("{name} is not supported: {asked}"))),
    }
}

/// Refuses the fields of a request that skep does not know, where they ask for something.
///
/// # Errors
/// [`crate::ErrorKind::NotSupported`].
pub(crate) fn refuse_all(fields: &serde_json::Map<String, Value>) -> Result<()> {
    fields.iter().try_for_each(|(name, value)| refuse(name, value))
}
