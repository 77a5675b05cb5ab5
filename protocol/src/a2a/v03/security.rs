//! Security schemes and requirements of cards: 0.3 has them as OpenAPI does (`type`, a map from scheme to scopes), 1.0 as
//! its proto does (one member named after the kind, a `list` around scopes).

use serde_json::value::RawValue;

use crate::a2a::v03::foreign::members;
use crate::object::{Extra, Fields, Invalid, Json, text};

/// `type` in 0.3, member in 1.0.
const KINDS: [(&str, &str); 5] = [
    ("apiKey", API_KEY),
    ("http", "httpAuthSecurityScheme"),
    ("oauth2", "oauth2SecurityScheme"),
    ("openIdConnect", "openIdConnectSecurityScheme"),
    ("mutualTLS", "mtlsSecurityScheme"),
];
const API_KEY: &str = "apiKeySecurityScheme";

/// `securitySchemes` of 0.3 as 1.0 has them. A scheme of a kind that 1.0 does not have stays as it is.
pub(super) fn read_schemes(raw: &RawValue) -> Result<Json, Invalid> {
    each_member(raw, |scheme| {
        let mut fields = Fields::open(scheme.raw())?;
        let named = fields.text("type")?;
        let Some((_, member)) = KINDS
            .iter()
            .find(|(kind, _)| Some(*kind) == named.as_deref())
        else {
            return Ok(scheme);
        };
        let mut body = fields.rest();
        if *member == API_KEY {
            body = renamed(body, "in", "location");
        }
        let mut outer = Extra::default();
        outer.push(*member, written(&body)?);
        written(&outer)
    })
}

/// `securitySchemes` of 1.0 as 0.3 has them.
pub(super) fn schemes(schemes: &Json) -> Option<Json> {
    let told = each_member(schemes.raw(), |scheme| {
        let known = members(&scheme).into_iter().find_map(|(name, body)| {
            let (kind, member) = KINDS.iter().find(|(_, member)| *member == name)?;
            Some((*kind, *member, members(&body)))
        });
        let Some((kind, member, body)) = known else {
            return Ok(scheme);
        };
        let mut flat = Extra::default();
        flat.push("type", written(&kind)?);
        let body = if member == API_KEY {
            renamed(body, "location", "in")
        } else {
            body
        };
        for (name, value) in body {
            flat.push(name, value);
        }
        written(&flat)
    });
    told.ok()
}

/// `security` of 0.3 as the `securityRequirements` of 1.0.
pub(super) fn read_requirements(raw: &RawValue) -> Result<Json, Invalid> {
    let requirements = Fields::items(raw, |requirement| {
        let schemes = each_member(requirement, |scopes| {
            let names = Fields::items(scopes.raw(), text)?;
            let mut list = Extra::default();
            list.push("list", written(&names)?);
            written(&list)
        })?;
        let mut outer = Extra::default();
        outer.push("schemes", schemes);
        Ok(outer)
    })?;
    written(&requirements)
}

/// `securityRequirements` of 1.0 as the `security` of 0.3.
pub(super) fn requirements(requirements: &Json) -> Option<Json> {
    let told = Fields::items(requirements.raw(), |requirement| {
        let schemes = Fields::open(requirement)?.take("schemes");
        match schemes {
            None => written(&Extra::default()),
            Some(schemes) => each_member(schemes, |scopes| {
                let names = Fields::open(scopes.raw())?.list("list", text)?;
                written(&names)
            }),
        }
    });
    written(&told.ok()?).ok()
}

/// The object with each of its values turned by `turn`.
fn each_member(
    raw: &RawValue,
    turn: impl Fn(Json) -> Result<Json, Invalid>,
) -> Result<Json, Invalid> {
    let mut turned = Extra::default();
    for (name, value) in Fields::open(raw)?.rest() {
        let value = turn(value).map_err(|invalid| invalid.within(&name))?;
        turned.push(name, value);
    }
    written(&turned)
}

fn renamed(object: Extra, from: &str, to: &str) -> Extra {
    let mut renamed = Extra::default();
    for (name, value) in object {
        let name = if name == from { to.to_owned() } else { name };
        renamed.push(name, value);
    }
    renamed
}

/// Objects, lists and texts always have a JSON form.
fn written(value: &impl serde::Serialize) -> Result<Json, Invalid> {
    Json::of(value).map_err(|_| Invalid::new("", "has no JSON form"))
}
