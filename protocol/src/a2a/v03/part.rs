//! Parts: 0.3 has `text`, `file` and `data` by `kind`, and knows media type and file name of files only.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::a2a::message::{Content, Part};
use crate::a2a::v03::foreign::{Foreign, Names, aside, is_one_of, kept, members};
use crate::object::{Extra, Fields, Invalid, Json, text};

/// Marks a data part whose data is no object: 0.3 has objects only. The official SDKs use the same mark.
const DATA_PART_COMPAT: &str = "data_part_compat";

const TEXT: Names = Names {
    only_v03: &["kind", "file"],
    only_v10: &["raw", "url", "data"],
};
const DATA: Names = Names {
    only_v03: &["kind", "file"],
    only_v10: &["text", "raw", "url"],
};
const FILE: Names = Names {
    only_v03: &["kind", "file"],
    only_v10: &["text", "raw", "url", "data", "mediaType", "filename"],
};
/// What a file object of 0.3 knows.
const OF_A_FILE: [&str; 4] = ["bytes", "uri", "name", "mimeType"];

/// A part of 1.0 to be written as 0.3.
pub(super) struct Part03<'a>(pub(super) &'a Part);

impl Serialize for Part03<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let part = self.0;
        let (names, metadata) = write_content(part, &mut map)?;
        if names.only_v10 != FILE.only_v10 {
            // 0.3 has these for files only; to its clients they are members of an extension here.
            write_some("filename", part.filename.as_ref(), &mut map)?;
            write_some("mediaType", part.media_type.as_ref(), &mut map)?;
        }
        write_some("metadata", metadata.as_ref(), &mut map)?;
        let extra = &part.extra;
        Foreign { extra, names }.write(&mut map)?;
        map.end()
    }
}

/// Writes kind and content; what the names of the other members mean then, and the metadata that is left to write.
fn write_content<'a, M: SerializeMap>(
    part: &'a Part,
    map: &mut M,
) -> Result<(Names, Option<Cow<'a, Json>>), M::Error> {
    let metadata = part.metadata.as_ref().map(Cow::Borrowed);
    match &part.content {
        Content::Text(text) => {
            map.serialize_entry("kind", "text")?;
            map.serialize_entry("text", text)?;
            Ok((TEXT, metadata))
        }
        Content::Data(data) => {
            map.serialize_entry("kind", "data")?;
            if data.is_object() {
                map.serialize_entry("data", data)?;
                return Ok((DATA, metadata));
            }
            let mut wrapped = Extra::default();
            wrapped.push("value", data.clone());
            map.serialize_entry("data", &wrapped)?;
            Ok((DATA, marked(part.metadata.as_ref()).map(Cow::Owned)))
        }
        Content::Raw(bytes) => {
            map.serialize_entry("kind", "file")?;
            map.serialize_entry("file", &file("bytes", bytes, part))?;
            Ok((FILE, metadata))
        }
        Content::Url(uri) => {
            map.serialize_entry("kind", "file")?;
            map.serialize_entry("file", &file("uri", uri, part))?;
            Ok((FILE, metadata))
        }
    }
}

/// The inner object of a file part.
fn file<'a>(content: &'static str, value: &'a str, part: &'a Part) -> impl Serialize {
    struct File<'a>(&'static str, &'a str, &'a Part);
    impl Serialize for File<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self(content, value, part) = self;
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry(content, value)?;
            write_some("name", part.filename.as_ref(), &mut map)?;
            write_some("mimeType", part.media_type.as_ref(), &mut map)?;
            for (name, value) in aside(&part.extra, "file").iter().flat_map(members) {
                if !is_one_of(&name, &OF_A_FILE) {
                    map.serialize_entry(&name, &value)?;
                }
            }
            map.end()
        }
    }
    File(content, value, part)
}

/// The metadata of a part whose data is wrapped.
fn marked(metadata: Option<&Json>) -> Option<Json> {
    let mut marked = Extra::default();
    for (name, value) in metadata.into_iter().flat_map(members) {
        if name != DATA_PART_COMPAT {
            marked.push(name, value);
        }
    }
    marked.push(DATA_PART_COMPAT, Json::flag(true));
    Json::of(&marked).ok()
}

fn write_some<M: SerializeMap>(
    name: &'static str,
    value: Option<&impl Serialize>,
    map: &mut M,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, value),
        None => Ok(()),
    }
}

/// Reads a part of 0.3. Where `kind` is missing, the content tells it, as it does to the SDKs.
pub(super) fn read_part(raw: &RawValue) -> Result<Part, Invalid> {
    let mut fields = Fields::open(raw)?;
    let kind = fields.text("kind")?;
    match kind.as_deref() {
        Some("text") => read_text(fields),
        Some("data") => read_data(fields),
        Some("file") => read_file(fields),
        Some(_) => Err(Invalid::new("kind", "must be text, file or data")),
        None if fields.has("text") => read_text(fields),
        None if fields.has("file") => read_file(fields),
        None if fields.has("data") => read_data(fields),
        None => Err(Invalid::new("kind", "is required and must not be empty")),
    }
}

fn read_text(mut fields: Fields<'_>) -> Result<Part, Invalid> {
    let content = Content::Text(fields.require("text", text)?);
    finish(fields, content, TEXT)
}

fn read_data(mut fields: Fields<'_>) -> Result<Part, Invalid> {
    let data = fields.require("data", |raw| {
        Some(Json::capture(raw))
            .filter(Json::is_object)
            .ok_or_else(|| Invalid::new("", "must be an object"))
    })?;
    let mut part = finish(fields, Content::Data(data.clone()), DATA)?;
    if let Some((value, metadata)) = unwrapped(&data, part.metadata.as_ref()) {
        part.content = Content::Data(value);
        part.metadata = metadata;
    }
    Ok(part)
}

/// The value that was no object, and the metadata without the mark; `None` when the data is not wrapped.
fn unwrapped(data: &Json, metadata: Option<&Json>) -> Option<(Json, Option<Json>)> {
    let mut unmarked = Extra::default();
    let mut is_marked = false;
    for (name, value) in members(metadata?) {
        if name == DATA_PART_COMPAT {
            is_marked = value.text() == "true";
        } else {
            unmarked.push(name, value);
        }
    }
    let mut inside = members(data).into_iter();
    let (Some((name, value)), None) = (inside.next(), inside.next()) else {
        return None;
    };
    if !is_marked || name != "value" {
        return None;
    }
    let metadata = Json::of(&unmarked).ok().filter(|_| !unmarked.is_empty());
    Some((value, metadata))
}

fn read_file(mut fields: Fields<'_>) -> Result<Part, Invalid> {
    let (content, filename, media_type, others) = fields.require("file", |raw| {
        let mut file = Fields::open(raw)?;
        let content = match (file.parse("bytes", text)?, file.parse("uri", text)?) {
            (Some(bytes), None) => Content::Raw(bytes),
            (None, Some(uri)) => Content::Url(uri),
            _ => return Err(Invalid::new("", "must have exactly one of bytes, uri")),
        };
        let (name, mime_type) = (file.text("name")?, file.text("mimeType")?);
        Ok((content, name, mime_type, file.rest()))
    })?;
    let mut put_aside = Extra::default();
    if !others.is_empty()
        && let Ok(others) = Json::of(&others)
    {
        put_aside.push("file", others);
    }
    Ok(Part {
        metadata: fields.object("metadata")?,
        filename,
        media_type,
        extra: kept(fields.rest(), FILE, put_aside),
        ..Part::of(content)
    })
}

/// The members that a text part and a data part have alike.
fn finish(mut fields: Fields<'_>, content: Content, names: Names) -> Result<Part, Invalid> {
    Ok(Part {
        metadata: fields.object("metadata")?,
        filename: fields.text("filename")?,
        media_type: fields.text("mediaType")?,
        extra: kept(fields.rest(), names, Extra::default()),
        ..Part::of(content)
    })
}
