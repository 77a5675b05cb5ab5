//! The members of a card as the schema has them (`specification/a2a.proto` 1.0.1): which must be there, which tell a
//! default from nothing. Only signatures need it: §8.4.1 leaves members out by these rules.

/// One message of the schema.
pub(super) type Shape = &'static [Member];

/// A member of a message.
pub(super) struct Member {
    /// In camelCase.
    pub(super) name: &'static str,
    pub(super) presence: Presence,
    pub(super) kind: Kind,
}

/// When a member is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// `REQUIRED`: whatever its value.
    Required,
    /// `optional`, or a message: when it was set, to a default too.
    Explicit,
    /// Only with a value that is not the default.
    Implicit,
}

/// What a member holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Nothing that the schema looks into: a text, a flag, a list of texts, a map of texts, any JSON.
    Plain,
    Object(Shape),
    List(Shape),
    Map(Shape),
}

use Kind::{List, Map, Object, Plain};
use Presence::{Explicit, Implicit, Required};

const fn member(name: &'static str, presence: Presence, kind: Kind) -> Member {
    Member {
        name,
        presence,
        kind,
    }
}

/// `AgentCard`, without `signatures`, which no signature covers.
pub(super) const CARD: Shape = &[
    member("name", Required, Plain),
    member("description", Required, Plain),
    member("supportedInterfaces", Required, List(INTERFACE)),
    member("provider", Explicit, Object(PROVIDER)),
    member("version", Required, Plain),
    member("documentationUrl", Explicit, Plain),
    member("capabilities", Required, Object(CAPABILITIES)),
    member("securitySchemes", Implicit, Map(SECURITY_SCHEME)),
    member("securityRequirements", Implicit, List(REQUIREMENT)),
    member("defaultInputModes", Required, Plain),
    member("defaultOutputModes", Required, Plain),
    member("skills", Required, List(SKILL)),
    member("iconUrl", Explicit, Plain),
];

const INTERFACE: Shape = &[
    member("url", Required, Plain),
    member("protocolBinding", Required, Plain),
    member("tenant", Implicit, Plain),
    member("protocolVersion", Required, Plain),
];

const PROVIDER: Shape = &[
    member("url", Required, Plain),
    member("organization", Required, Plain),
];

const CAPABILITIES: Shape = &[
    member("streaming", Explicit, Plain),
    member("pushNotifications", Explicit, Plain),
    member("extensions", Implicit, List(EXTENSION)),
    member("extendedAgentCard", Explicit, Plain),
];

const EXTENSION: Shape = &[
    member("uri", Implicit, Plain),
    member("description", Implicit, Plain),
    member("required", Implicit, Plain),
    member("params", Explicit, Plain),
];

const SKILL: Shape = &[
    member("id", Required, Plain),
    member("name", Required, Plain),
    member("description", Required, Plain),
    member("tags", Required, Plain),
    member("examples", Implicit, Plain),
    member("inputModes", Implicit, Plain),
    member("outputModes", Implicit, Plain),
    member("securityRequirements", Implicit, List(REQUIREMENT)),
];

const REQUIREMENT: Shape = &[member("schemes", Implicit, Map(SCOPES))];

const SCOPES: Shape = &[member("list", Implicit, Plain)];

const SECURITY_SCHEME: Shape = &[
    member("apiKeySecurityScheme", Explicit, Object(API_KEY)),
    member("httpAuthSecurityScheme", Explicit, Object(HTTP_AUTH)),
    member("oauth2SecurityScheme", Explicit, Object(OAUTH2)),
    member("openIdConnectSecurityScheme", Explicit, Object(OPEN_ID)),
    member("mtlsSecurityScheme", Explicit, Object(MUTUAL_TLS)),
];

const API_KEY: Shape = &[
    member("description", Implicit, Plain),
    member("location", Required, Plain),
    member("name", Required, Plain),
];

const HTTP_AUTH: Shape = &[
    member("description", Implicit, Plain),
    member("scheme", Required, Plain),
    member("bearerFormat", Implicit, Plain),
];

const OAUTH2: Shape = &[
    member("description", Implicit, Plain),
    member("flows", Required, Object(FLOWS)),
    member("oauth2MetadataUrl", Implicit, Plain),
];

const OPEN_ID: Shape = &[
    member("description", Implicit, Plain),
    member("openIdConnectUrl", Required, Plain),
];

const MUTUAL_TLS: Shape = &[member("description", Implicit, Plain)];

const FLOWS: Shape = &[
    member("authorizationCode", Explicit, Object(AUTHORIZATION_CODE)),
    member("clientCredentials", Explicit, Object(CLIENT_CREDENTIALS)),
    member("implicit", Explicit, Object(OLD_FLOW)),
    member("password", Explicit, Object(OLD_FLOW)),
    member("deviceCode", Explicit, Object(DEVICE_CODE)),
];

const AUTHORIZATION_CODE: Shape = &[
    member("authorizationUrl", Required, Plain),
    member("tokenUrl", Required, Plain),
    member("refreshUrl", Implicit, Plain),
    member("scopes", Required, Plain),
    member("pkceRequired", Implicit, Plain),
];

const CLIENT_CREDENTIALS: Shape = &[
    member("tokenUrl", Required, Plain),
    member("refreshUrl", Implicit, Plain),
    member("scopes", Required, Plain),
];

const DEVICE_CODE: Shape = &[
    member("deviceAuthorizationUrl", Required, Plain),
    member("tokenUrl", Required, Plain),
    member("refreshUrl", Implicit, Plain),
    member("scopes", Required, Plain),
];

/// Of the two flows that are out of use one has no `tokenUrl`, the other no `authorizationUrl`.
const OLD_FLOW: Shape = &[
    member("authorizationUrl", Implicit, Plain),
    member("tokenUrl", Implicit, Plain),
    member("refreshUrl", Implicit, Plain),
    member("scopes", Implicit, Plain),
];
