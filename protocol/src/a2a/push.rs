//! Webhooks (A2A 1.0 §3.1.7 - 3.1.10, 4.3): where the events of a task are posted, and how to ask for that.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;

use crate::a2a::list::page_token;
use crate::a2a::message::{bounded_id, optional_id};
use crate::a2a::params::tenant;
use crate::a2a::v03;
use crate::a2a::version::Version;
use crate::object::{Extra, Fields, Invalid};

/// Longest URL of a webhook, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// Longest token, scheme or credentials, in bytes: each becomes part of one header.
const MAX_SECRET_BYTES: usize = 4096;

/// A webhook (`TaskPushNotificationConfig`). Its secrets are never printed by `Debug`.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PushConfig {
    /// The version it was asked for in: deliveries have the shape of that version.
    #[serde(skip)]
    pub version: Version,
    /// Opaque routing word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Chosen by the client or made by the server; unique inside the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whose events; absent inside `SendMessage`, whose task it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Where to, an absolute http or https URL as it came.
    pub url: String,
    /// Sent back as `X-A2A-Notification-Token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Sent as `Authorization`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How the receiver knows us (`AuthenticationInfo`).
#[derive(Clone, PartialEq, Serialize)]
pub struct Authentication {
    /// Of the IANA registry: `Bearer`, `Basic`, ..
    pub scheme: String,
    /// In the form that the scheme asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// Members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl PushConfig {
    /// Reads a webhook in the shape of `version`: in 0.3 the inner object, `PushNotificationConfig`.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(version: Version, raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        let tenant = tenant(version, &mut fields)?;
        let task_id = match version {
            Version::V1 => optional_id(&mut fields, "taskId")?,
            Version::V03 => None,
        };
        Ok(Self {
            version,
            tenant,
            id: optional_id(&mut fields, "id")?,
            task_id,
            url: fields.require("url", url)?,
            token: secret(&mut fields, "token")?,
            authentication: match version {
                Version::V1 => fields.parse("authentication", Authentication::parse)?,
                Version::V03 => fields
                    .parse("authentication", v03::push::read_authentication)?
                    .flatten(),
            },
            extra: fields.rest(),
        })
    }

    /// Reads the parameters of `CreateTaskPushNotificationConfig` in the shape of `version`.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse_create(version: Version, raw: &RawValue) -> Result<Self, Invalid> {
        match version {
            Version::V1 => {
                let config = Self::parse(version, raw)?;
                if config.task_id.is_none() {
                    return Err(Invalid::new("taskId", "is required and must not be empty"));
                }
                Ok(config)
            }
            Version::V03 => v03::push::read_set(raw),
        }
    }
}

impl Authentication {
    fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            scheme: fields.require("scheme", scheme)?,
            credentials: secret(&mut fields, "credentials")?,
            extra: fields.rest(),
        })
    }
}

impl fmt::Debug for PushConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushConfig")
            .field("version", &self.version)
            .field("id", &self.id)
            .field("task_id", &self.task_id)
            .field("has_token", &self.token.is_some())
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// `GetTaskPushNotificationConfig` and `DeleteTaskPushNotificationConfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfigParams {
    /// Opaque routing word.
    pub tenant: Option<String>,
    /// Which task.
    pub task_id: String,
    /// Which webhook. 0.3 may leave it open when it reads: then the task's first is meant.
    pub id: Option<String>,
}

impl PushConfigParams {
    /// Reads the parameters of the reading operation in the shape of `version`.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse_get(version: Version, raw: &RawValue) -> Result<Self, Invalid> {
        match version {
            Version::V1 => Self::parse_delete(version, raw),
            Version::V03 => {
                let mut fields = Fields::open(raw)?;
                Ok(Self {
                    tenant: None,
                    task_id: bounded_id(fields.require_text("id")?, "id")?,
                    id: optional_id(&mut fields, "pushNotificationConfigId")?,
                })
            }
        }
    }

    /// Reads the parameters of the deleting operation in the shape of `version`.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse_delete(version: Version, raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        let (task, config) = match version {
            Version::V1 => ("taskId", "id"),
            Version::V03 => ("id", "pushNotificationConfigId"),
        };
        Ok(Self {
            tenant: tenant(version, &mut fields)?,
            task_id: bounded_id(fields.require_text(task)?, task)?,
            id: Some(bounded_id(fields.require_text(config)?, config)?),
        })
    }
}

/// `ListTaskPushNotificationConfigs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPushConfigsParams {
    /// Opaque routing word.
    pub tenant: Option<String>,
    /// Which task.
    pub task_id: String,
    /// Most webhooks on the page.
    pub page_size: Option<u32>,
    /// Where the page before ended.
    pub page_token: Option<String>,
}

impl ListPushConfigsParams {
    /// Reads the parameters in the shape of `version`.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(version: Version, raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        let task = match version {
            Version::V1 => "taskId",
            Version::V03 => "id",
        };
        Ok(Self {
            tenant: tenant(version, &mut fields)?,
            task_id: bounded_id(fields.require_text(task)?, task)?,
            // ProtoJSON's default value, which some clients write out, means that nothing was said.
            page_size: fields.count("pageSize")?.filter(|size| *size > 0),
            page_token: page_token(&mut fields)?,
        })
    }
}

/// The webhooks of a task (`ListTaskPushNotificationConfigsResponse`).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PushConfigList {
    /// In the order of their ids.
    pub configs: Vec<PushConfig>,
    /// Asks for the next page; empty when there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next_page_token: String,
}

/// A member that becomes part of a header.
pub(super) fn secret(
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Result<Option<String>, Invalid> {
    let value = fields.text(name)?;
    match &value {
        Some(text) if !fits_in_header(text) => Err(Invalid::new(
            name,
            format!("must be printable ASCII of at most {MAX_SECRET_BYTES} bytes"),
        )),
        _ => Ok(value),
    }
}

/// The name of an authentication scheme: a token of RFC 9110, section 5.6.2.
pub(super) fn scheme(raw: &RawValue) -> Result<String, Invalid> {
    let name = crate::object::text(raw)?;
    let is_token = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if is_token {
        Ok(name)
    } else {
        Err(Invalid::new(
            "",
            "must be the name of an HTTP authentication scheme",
        ))
    }
}

fn url(raw: &RawValue) -> Result<String, Invalid> {
    let text = crate::object::text(raw)?;
    if text.len() > MAX_URL_BYTES {
        return Err(Invalid::new(
            "",
            format!("must not be longer than {MAX_URL_BYTES} bytes"),
        ));
    }
    let is_usable = Url::parse(&text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if is_usable {
        Ok(text)
    } else {
        Err(Invalid::new(
            "",
            "must be an absolute http or https URL without credentials",
        ))
    }
}

fn fits_in_header(text: &str) -> bool {
    text.len() <= MAX_SECRET_BYTES && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
