//! `message/send` and `message/stream`: `blocking` where 1.0 says `returnImmediately`, and a history length whose 0
//! means no limit.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::params::SendMessageParams;
use crate::a2a::push::PushConfig;
use crate::a2a::v03::message::{Message03, read_message};
use crate::a2a::v03::push::Config03;
use crate::a2a::version::Version;
use crate::object::{Fields, Invalid, Json, text};

/// The parameters of `message/send` and `message/stream`, for agents that speak 0.3.
pub fn send_params(params: &SendMessageParams) -> impl Serialize {
    Params03 {
        message: Message03::of(&params.message),
        configuration: Configuration03 {
            accepted_output_modes: &params.accepted_output_modes,
            push_notification_config: params.push_notification_config.as_ref().map(Config03),
            history_length: params.history_length,
            blocking: !params.return_immediately,
        },
        metadata: params.metadata.as_ref(),
    }
}

pub(in crate::a2a) fn read_send(raw: &RawValue) -> Result<SendMessageParams, Invalid> {
    let mut fields = Fields::open(raw)?;
    let mut params = SendMessageParams::new(fields.require("message", read_message)?);
    params.metadata = fields.object("metadata")?;
    fields.parse("configuration", |raw| configure(&mut params, raw))?;
    Ok(params)
}

/// How many messages of the history are asked for. The SDKs of 0.3 take 0 for no limit, and some send it unasked.
pub(in crate::a2a) fn history_length(fields: &mut Fields<'_>) -> Result<Option<u32>, Invalid> {
    Ok(fields.count("historyLength")?.filter(|limit| *limit > 0))
}

fn configure(params: &mut SendMessageParams, raw: &RawValue) -> Result<(), Invalid> {
    let mut fields = Fields::open(raw)?;
    params.accepted_output_modes = fields.list("acceptedOutputModes", text)?;
    params.push_notification_config = fields.parse("pushNotificationConfig", |raw| {
        PushConfig::parse(Version::V03, raw)
    })?;
    params.history_length = history_length(&mut fields)?;
    // Not said means blocking, as in the servers of the SDKs of 0.3.
    params.return_immediately = fields.optional_flag("blocking")? == Some(false);
    Ok(())
}

#[derive(Serialize)]
struct Params03<'a> {
    message: Message03<'a>,
    configuration: Configuration03<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Json>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Configuration03<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    accepted_output_modes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    push_notification_config: Option<Config03<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_length: Option<u32>,
    blocking: bool,
}
