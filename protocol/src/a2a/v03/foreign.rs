//! Members that one version knows and the other does not, on their way through the other.
//!
//! What neither version knows is carried under its own name. A member whose name the other version uses for something
//! else is put into an object named [`V03`] (on a 1.0 object) or [`V10`] (on a 0.3 object), and taken out on the way back.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::object::{Extra, Fields, Json, same_name};

/// On an object of 1.0: what it held as an object of 0.3 and has no place for.
pub(super) const V03: &str = "v03";

/// On an object of 0.3: what it held as an object of 1.0 and has no place for.
const V10: &str = "v10";

/// Which names mean what for one kind of object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// Members of 0.3 that 1.0 does not have.
    pub(super) only_v03: &'static [&'static str],
    /// Members of 1.0 that 0.3 does not have.
    pub(super) only_v10: &'static [&'static str],
}

impl Names {
    /// For objects that 0.3 marks with `kind` and that are the same otherwise.
    pub(super) const KIND: Self = Self {
        only_v03: &["kind"],
        only_v10: &[],
    };

    /// For objects that are the same in both versions.
    pub(super) const SAME: Self = Self {
        only_v03: &[],
        only_v10: &[],
    };
}

/// The members that a 1.0 object does not know, as members of the 0.3 object.
pub(super) struct Foreign<'a> {
    pub(super) extra: &'a Extra,
    pub(super) names: Names,
}

impl Foreign<'_> {
    /// Writes the members into the object that is being written.
    pub(super) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let mut set_aside = Extra::default();
        for (name, value) in self.extra.iter() {
            if name == V03 && value.is_object() {
                for (name, value) in members(value) {
                    if is_one_of(&name, self.names.only_v10) {
                        map.serialize_entry(&name, &value)?;
                    }
                }
            } else if is_one_of(name, self.names.only_v03) {
                set_aside.push(name, value.clone());
            } else {
                map.serialize_entry(name, value)?;
            }
        }
        if !set_aside.is_empty() {
            map.serialize_entry(V10, &set_aside)?;
        }
        Ok(())
    }
}

impl Serialize for Foreign<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write(&mut map)?;
        map.end()
    }
}

/// The members that a 0.3 object does not know, as members of the 1.0 object. `aside` is what the reader of the object
/// has put aside by itself.
pub(super) fn kept(rest: Extra, names: Names, aside: Extra) -> Extra {
    let mut extra = Extra::default();
    let mut set_aside = aside;
    for (name, value) in rest {
        if name == V10 && value.is_object() {
            for (name, value) in members(&value) {
                if is_one_of(&name, names.only_v03) {
                    extra.push(name, value);
                }
            }
        } else if is_one_of(&name, names.only_v10) {
            set_aside.push(name, value);
        } else {
            extra.push(name, value);
        }
    }
    if !set_aside.is_empty() {
        // An object of JSON values always has a JSON form.
        if let Ok(object) = Json::of(&set_aside) {
            extra.push(V03, object);
        }
    }
    extra
}

/// What the reader of a 0.3 object put aside under `name`.
pub(super) fn aside(extra: &Extra, name: &str) -> Option<Json> {
    extra
        .get(V03)
        .and_then(|object| members(object).get(name).cloned())
}

/// The members of an object; none of anything else.
pub(super) fn members(object: &Json) -> Extra {
    Fields::open(object.raw())
        .map(Fields::rest)
        .unwrap_or_default()
}

/// Whether `name` is one of `names` in either spelling.
pub(super) fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| same_name(name, known))
}
