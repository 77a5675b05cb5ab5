//! Webhooks: 0.3 nests them (`{taskId, pushNotificationConfig}`) and names a list of schemes.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::a2a::message::bounded_id;
use crate::a2a::push::{Authentication, PushConfig, PushConfigList, scheme, secret};
use crate::a2a::v03::foreign::{Foreign, Names, aside, kept};
use crate::a2a::version::Version;
use crate::object::{Extra, Fields, Invalid, Json, text};

/// What 0.3 has in its authentication beyond 1.0.
const AUTHENTICATION: Names = Names {
    only_v03: &["schemes"],
    only_v10: &["scheme"],
};

/// A webhook as the operations of 0.3 answer with it (`TaskPushNotificationConfig`).
pub fn push_config(config: &PushConfig) -> impl Serialize {
    TaskConfig03 {
        task_id: config.task_id.as_deref().unwrap_or_default(),
        push_notification_config: Config03(config),
    }
}

/// The webhooks of a task as 0.3 lists them: no page, all of them.
pub fn push_config_list(list: &PushConfigList) -> impl Serialize {
    list.configs.iter().map(push_config).collect::<Vec<_>>()
}

/// Reads the parameters of `tasks/pushNotificationConfig/set`. A webhook without an id has its task's, which is what
/// the SDKs of 0.3 do: setting it again replaces it.
pub(in crate::a2a) fn read_set(raw: &RawValue) -> Result<PushConfig, Invalid> {
    let mut fields = Fields::open(raw)?;
    let task_id = bounded_id(fields.require_text("taskId")?, "taskId")?;
    let config = fields.require("pushNotificationConfig", |raw| {
        PushConfig::parse(Version::V03, raw)
    })?;
    Ok(PushConfig {
        id: config.id.or_else(|| Some(task_id.clone())),
        task_id: Some(task_id),
        ..config
    })
}

/// `None` when nothing is named that we could send. Where credentials come without a scheme, they are a bearer's.
pub(in crate::a2a) fn read_authentication(
    raw: &RawValue,
) -> Result<Option<Authentication>, Invalid> {
    let mut fields = Fields::open(raw)?;
    let schemes = fields.take("schemes");
    let named = match schemes {
        Some(raw) => Fields::items(raw, scheme).map_err(|invalid| invalid.within("schemes"))?,
        None => Vec::new(),
    };
    let credentials = secret(&mut fields, "credentials")?;
    let mut put_aside = Extra::default();
    if let Some(schemes) = schemes.filter(|_| named.len() != 1) {
        put_aside.push("schemes", Json::capture(schemes));
    }
    let first = named
        .into_iter()
        .next()
        .or_else(|| credentials.is_some().then(|| "Bearer".to_owned()));
    Ok(first.map(|scheme| Authentication {
        scheme,
        credentials,
        extra: kept(fields.rest(), AUTHENTICATION, put_aside),
    }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskConfig03<'a> {
    task_id: &'a str,
    push_notification_config: Config03<'a>,
}

/// The inner object, also in the configuration of a message.
pub(super) struct Config03<'a>(pub(super) &'a PushConfig);

impl Serialize for Config03<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Config<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            url: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            token: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            authentication: Option<Authentication03<'a>>,
            #[serde(flatten)]
            extra: Foreign<'a>,
        }
        let config = self.0;
        Config {
            id: config.id.as_deref(),
            url: &config.url,
            token: config.token.as_deref(),
            authentication: config.authentication.as_ref().map(Authentication03::of),
            extra: Foreign {
                extra: &config.extra,
                names: Names::SAME,
            },
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
struct Authentication03<'a> {
    schemes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<&'a str>,
    #[serde(flatten)]
    extra: Foreign<'a>,
}

impl<'a> Authentication03<'a> {
    fn of(authentication: &'a Authentication) -> Self {
        let given = aside(&authentication.extra, "schemes")
            .and_then(|schemes| Fields::items(schemes.raw(), text).ok());
        Self {
            schemes: given.unwrap_or_else(|| vec![authentication.scheme.clone()]),
            credentials: authentication.credentials.as_deref(),
            extra: Foreign {
                extra: &authentication.extra,
                names: AUTHENTICATION,
            },
        }
    }
}
