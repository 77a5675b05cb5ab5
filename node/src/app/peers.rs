//! Who is trusted, and how peers come and go: the owner of that, and each worker's way to it.

use std::sync::Arc;

use actix::{Actor, Addr};
use archipel_kit::clock::Clock;
use archipel_protocol::ids::Origin;

use super::stores::Stores;
use super::{StartError, audit};
use crate::config::NodeSettings;
use crate::edge::peers_admin::{Guests, PeerDesk};
use crate::egress::Egress;
use crate::federation::Federation;
use crate::pairing::{Pairing, PairingPorts};
use crate::replay::ReplayGuard;
use crate::store::peers::PeerRows;

pub(super) struct Started {
    pub(super) pairing: Addr<Pairing>,
    /// What requests need.
    pub(super) desk: PeerDesk,
}

pub(super) fn start(
    stores: &Stores,
    kept: &PeerRows,
    federation: &Arc<Federation>,
    (replay, audit): (&Addr<ReplayGuard>, &audit::Started),
    egress: &Arc<Egress>,
    clock: &Arc<dyn Clock>,
) -> Started {
    let ports = PairingPorts {
        federation: Arc::clone(federation),
        store: Arc::clone(&stores.peers),
        claims: replay.clone().recipient(),
        audit: audit.desk.clone(),
        egress: Arc::clone(egress),
        clock: Arc::clone(clock),
        seed: federation.own_keys().map(|keys| keys.seed),
    };
    let pairing = Pairing::new(ports, kept).start();
    Started {
        desk: PeerDesk {
            pairing: pairing.clone().recipient(),
            federation: Arc::clone(federation),
            clock: Arc::clone(clock),
            guests: Guests::default(),
        },
        pairing,
    }
}

/// Who is trusted, told with what is hardly meant so.
pub(super) fn federation(
    settings: &NodeSettings,
    origin: &Origin,
) -> Result<Arc<Federation>, StartError> {
    let federation = Federation::from_settings(
        origin,
        settings.dialect.into(),
        &settings.federation,
        &settings.peers,
        settings.trust.cards,
    );
    let federation = federation.map_err(StartError::Settings)?;
    for warning in federation.warnings() {
        tracing::warn!(warning, "federation");
    }
    Ok(Arc::new(federation))
}
