//! Names on the wire in their two spellings.
//!
//! Owns every name of the contract that differs between Hive and Pilox: what a node emits follows its
//! [`Dialect`], what it accepts is usually both (`contract/names.md`, "Advice for our node").

use serde::{Deserialize, Serialize};

/// Which spelling of the mesh's names is emitted (`contract/names.md`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The spelling of the documents and of the satellite services.
    #[default]
    Hive,
    /// The spelling of the renamed node code.
    Pilox,
}

impl Dialect {
    /// Both dialects, the default one first.
    pub const ALL: [Self; 2] = [Self::Hive, Self::Pilox];

    /// The dialect that this one is not.
    pub const fn other(self) -> Self {
        match self {
            Self::Hive => Self::Pilox,
            Self::Pilox => Self::Hive,
        }
    }

    /// `hive` or `pilox`, as in configuration.
    pub const fn as_str(self) -> &'static str {
        self.pick("hive", "pilox")
    }

    /// Header that carries a federation token, lower case.
    pub const fn federation_jwt_header(self) -> &'static str {
        self.pick("x-hive-federation-jwt", "x-pilox-federation-jwt")
    }

    /// Header that carries the shared secret of the old inbound method, lower case.
    pub const fn federation_secret_header(self) -> &'static str {
        self.pick("x-hive-federation-secret", "x-pilox-federation-secret")
    }

    /// Header by which a gateway proves itself to a node, lower case.
    pub const fn gateway_auth_header(self) -> &'static str {
        self.pick("x-hive-gateway-auth", "x-pilox-gateway-auth")
    }

    /// Header of the extra operator token of the federation proxy, lower case.
    pub const fn proxy_operator_token_header(self) -> &'static str {
        self.pick(
            "x-hive-federation-proxy-operator-token",
            "x-pilox-federation-proxy-operator-token",
        )
    }

    /// Header that carries a public tier API key, lower case.
    pub const fn public_key_header(self) -> &'static str {
        self.pick("x-hive-public-a2a-key", "x-pilox-public-a2a-key")
    }

    /// `iss` of a token signed with the shared secret (HS256).
    pub const fn hs256_issuer(self) -> &'static str {
        self.pick("hive-mesh-federation", "pilox-mesh-federation")
    }

    /// `sigVersion` inside the signed text of a bus message.
    pub const fn bus_signature_version(self) -> &'static str {
        self.pick("hive-mesh-hmac-v1", "pilox-mesh-hmac-v1")
    }

    /// `meshMeta.producer` of a bus message.
    pub const fn bus_producer(self) -> &'static str {
        self.pick("hive-core", "pilox-core")
    }

    /// Bus channel of the system events.
    pub const fn system_events_channel(self) -> &'static str {
        self.pick("hive:system:events", "pilox:system:events")
    }

    /// Bus channel of the agents' states.
    pub const fn agent_status_channel(self) -> &'static str {
        self.pick("hive:agent:status", "pilox:agent:status")
    }

    /// Path of the mesh descriptor.
    pub const fn mesh_descriptor_path(self) -> &'static str {
        self.pick(
            "/.well-known/hive-mesh.json",
            "/.well-known/pilox-mesh.json",
        )
    }

    /// `schema` of the mesh descriptor.
    pub const fn mesh_descriptor_schema(self) -> &'static str {
        self.pick("hive-mesh-descriptor-v1", "pilox-mesh-descriptor-v1")
    }

    /// `schema` of what the WAN worker brings to a webhook.
    pub const fn wan_delivery_schema(self) -> &'static str {
        self.pick("hive-mesh-wan-delivery-v1", "pilox-mesh-wan-delivery-v1")
    }

    /// `User-Agent` of outbound federation calls.
    pub const fn user_agent(self) -> &'static str {
        self.pick("Hive-Mesh-Federation/2.5", "Pilox-Mesh-Federation/2.5")
    }

    /// First part of metric names, without the separator.
    pub const fn metric_prefix(self) -> &'static str {
        self.as_str()
    }

    /// Identity of a caller that came through federation with the shared secret.
    pub const fn caller_federated(self) -> &'static str {
        self.pick("hive-federated", "pilox-federated")
    }

    /// Identity of a caller that holds the internal token.
    pub const fn caller_internal(self) -> &'static str {
        self.pick("hive-internal", "pilox-internal")
    }

    const fn pick(self, hive: &'static str, pilox: &'static str) -> &'static str {
        match self {
            Self::Hive => hive,
            Self::Pilox => pilox,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dialect;

    #[test]
    fn spells_every_name_in_both_dialects() {
        for name in [
            Dialect::as_str,
            Dialect::federation_jwt_header,
            Dialect::federation_secret_header,
            Dialect::gateway_auth_header,
            Dialect::proxy_operator_token_header,
            Dialect::public_key_header,
            Dialect::hs256_issuer,
            Dialect::bus_signature_version,
            Dialect::bus_producer,
            Dialect::system_events_channel,
            Dialect::agent_status_channel,
            Dialect::mesh_descriptor_path,
            Dialect::mesh_descriptor_schema,
            Dialect::user_agent,
            Dialect::metric_prefix,
            Dialect::caller_federated,
            Dialect::caller_internal,
        ] {
            let hive = name(Dialect::Hive);
            assert_eq!(
                hive.replace("hive", "pilox").replace("Hive", "Pilox"),
                name(Dialect::Pilox)
            );
            assert_ne!(hive, name(Dialect::Pilox));
        }
    }

    #[test]
    fn hive_is_the_default_and_the_other_is_the_other() {
        assert_eq!(Dialect::default(), Dialect::Hive);
        for dialect in Dialect::ALL {
            assert_ne!(dialect, dialect.other());
            assert_eq!(dialect, dialect.other().other());
        }
    }
}
