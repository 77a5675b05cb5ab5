//! Agent cards: 0.3 names one URL with its transport and lists others, has `security` for `securityRequirements`, and
//! says beside the capabilities whether there is more to read for the authenticated.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::card::{AgentCard, AgentInterface, Capabilities, JSONRPC_BINDING};
use crate::a2a::v03::{PROTOCOL_VERSION, security};
use crate::a2a::version::Version;
use crate::object::{Extra, Fields, Invalid, Json, text};

/// A card as 0.3 writes it, of an agent that is reached at `url` by JSON-RPC. Signatures are left out: they covered
/// other bytes.
pub fn card(card: &AgentCard, url: &str) -> impl Serialize {
    let mut extra = Extra::default();
    for (name, value) in card.extra.iter() {
        match name {
            "signatures" => {}
            "securitySchemes" => add(&mut extra, name, security::schemes(value)),
            "securityRequirements" => add(&mut extra, "security", security::requirements(value)),
            _ => extra.push(name, value.clone()),
        }
    }
    Card03 {
        protocol_version: PROTOCOL_VERSION,
        name: card.name.clone(),
        description: card.description.clone(),
        url: url.to_owned(),
        preferred_transport: JSONRPC_BINDING,
        version: card.version.clone(),
        capabilities: Capabilities {
            extended_agent_card: None,
            ..card.capabilities.clone()
        },
        default_input_modes: card.default_input_modes.clone(),
        default_output_modes: card.default_output_modes.clone(),
        skills: card.skills.iter().map(skill).collect(),
        supports_authenticated_extended_card: card.capabilities.extended_agent_card,
        extra,
    }
}

/// Reads a card of 0.3.
///
/// # Errors
/// When a required member is missing or of the wrong kind.
pub fn read_card(json: &str) -> Result<AgentCard, Invalid> {
    let mut fields = Fields::read(json)?;
    let capabilities = fields
        .parse("capabilities", Capabilities::parse)?
        .unwrap_or_default();
    let extended = fields.optional_flag("supportsAuthenticatedExtendedCard")?;
    let supported_interfaces = read_interfaces(&mut fields)?;
    let schemes = fields.parse("securitySchemes", security::read_schemes)?;
    let requirements = fields.parse("security", security::read_requirements)?;
    let mut card = AgentCard {
        name: fields.require_text("name")?,
        description: fields.text("description")?.unwrap_or_default(),
        supported_interfaces,
        version: fields.text("version")?.unwrap_or_default(),
        capabilities: Capabilities {
            extended_agent_card: extended.or(capabilities.extended_agent_card),
            ..capabilities
        },
        default_input_modes: fields.list("defaultInputModes", text)?,
        default_output_modes: fields.list("defaultOutputModes", text)?,
        skills: fields.list("skills", read_skill)?,
        extra: fields.rest().without("signatures"),
    };
    add(&mut card.extra, "securitySchemes", schemes);
    add(&mut card.extra, "securityRequirements", requirements);
    Ok(card)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Card03 {
    protocol_version: &'static str,
    name: String,
    description: String,
    url: String,
    preferred_transport: &'static str,
    version: String,
    capabilities: Capabilities,
    default_input_modes: Vec<String>,
    default_output_modes: Vec<String>,
    skills: Vec<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supports_authenticated_extended_card: Option<bool>,
    #[serde(flatten)]
    extra: Extra,
}

/// The preferred interface first, and none twice: many cards repeat it among the others.
fn read_interfaces(fields: &mut Fields<'_>) -> Result<Vec<AgentInterface>, Invalid> {
    let version = fields.text("protocolVersion")?;
    let binding = fields.text("preferredTransport")?;
    let preferred = AgentInterface {
        protocol_binding: binding.unwrap_or_else(|| JSONRPC_BINDING.to_owned()),
        protocol_version: version.unwrap_or_else(|| Version::V03.as_str().to_owned()),
        ..AgentInterface::jsonrpc(fields.require_text("url")?)
    };
    let further = fields.list("additionalInterfaces", |raw| {
        let mut fields = Fields::open(raw)?;
        Ok(AgentInterface {
            url: fields.require_text("url")?,
            protocol_binding: fields.require_text("transport")?,
            tenant: None,
            protocol_version: preferred.protocol_version.clone(),
            extra: fields.rest(),
        })
    })?;
    let mut interfaces = vec![preferred];
    for interface in further {
        let is_known = interfaces.iter().any(|known| {
            known.url == interface.url && known.protocol_binding == interface.protocol_binding
        });
        if !is_known {
            interfaces.push(interface);
        }
    }
    Ok(interfaces)
}

fn skill(skill: &Json) -> Json {
    turned(skill.raw(), "securityRequirements", "security", |raw| {
        Ok(security::requirements(&Json::capture(raw)))
    })
    .unwrap_or_else(|_| skill.clone())
}

fn read_skill(raw: &RawValue) -> Result<Json, Invalid> {
    turned(raw, "security", "securityRequirements", |raw| {
        security::read_requirements(raw).map(Some)
    })
}

/// The object with its member `from`, if it has one, as member `to`.
fn turned(
    raw: &RawValue,
    from: &str,
    to: &str,
    turn: impl FnOnce(&RawValue) -> Result<Option<Json>, Invalid>,
) -> Result<Json, Invalid> {
    let mut fields = Fields::open(raw)?;
    let member = fields.parse(from, turn)?.flatten();
    let mut object = fields.rest();
    add(&mut object, to, member);
    Json::of(&object).map_err(|_| Invalid::new("", "has no JSON form"))
}

fn add(extra: &mut Extra, name: &str, value: Option<Json>) {
    if let Some(value) = value {
        extra.push(name, value);
    }
}
