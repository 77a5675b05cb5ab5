//! Artifacts: the same members in both versions, parts apart.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::message::bounded_id;
use crate::a2a::task::Artifact;
use crate::a2a::v03::foreign::{Foreign, Names, kept};
use crate::a2a::v03::part::{Part03, read_part};
use crate::object::{Extra, Fields, Invalid, Json, text};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Artifact03<'a> {
    artifact_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parts: Vec<Part03<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Json>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    extensions: &'a [String],
    #[serde(flatten)]
    extra: Foreign<'a>,
}

impl<'a> Artifact03<'a> {
    pub(super) fn of(artifact: &'a Artifact) -> Self {
        Self {
            artifact_id: &artifact.artifact_id,
            name: artifact.name.as_deref(),
            description: artifact.description.as_deref(),
            parts: artifact.parts.iter().map(Part03).collect(),
            metadata: artifact.metadata.as_ref(),
            extensions: &artifact.extensions,
            extra: Foreign {
                extra: &artifact.extra,
                names: Names::SAME,
            },
        }
    }
}

pub(super) fn read_artifact(raw: &RawValue) -> Result<Artifact, Invalid> {
    let mut fields = Fields::open(raw)?;
    Ok(Artifact {
        artifact_id: bounded_id(fields.require_text("artifactId")?, "artifactId")?,
        name: fields.text("name")?,
        description: fields.text("description")?,
        parts: fields.list("parts", read_part)?,
        metadata: fields.object("metadata")?,
        extensions: fields.list("extensions", text)?,
        extra: kept(fields.rest(), Names::SAME, Extra::default()),
    })
}
