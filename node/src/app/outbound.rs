//! The way to peers, and what is told of them.

use std::sync::Arc;

use archipel_kit::clock::Clock;
use archipel_kit::telemetry::Telemetry;
use archipel_protocol::ids::Origin;

use super::gates::Counters;
use crate::config::NodeSettings;
use crate::edge::Mesh;
use crate::egress::Egress;
use crate::federation::Federation;
use crate::federation::acting::CallerNames;
use crate::federation::outbound::{Outbound, OutboundRules};
use crate::federation::views::MeshViews;

/// What is told of the mesh.
pub(super) fn mesh(
    settings: &NodeSettings,
    federation: &Arc<Federation>,
    counters: &Counters,
    origin: &Origin,
) -> Arc<Mesh> {
    let (federation, public) = (Arc::clone(federation), counters.public.clone());
    let views = MeshViews::new(settings, federation, public, origin.as_str().into());
    Arc::new(Mesh::new(views))
}

/// Calls peers.
pub(super) fn start(
    settings: &NodeSettings,
    federation: &Arc<Federation>,
    egress: &Arc<Egress>,
    clock: &Arc<dyn Clock>,
    telemetry: &Telemetry,
) -> Arc<Outbound> {
    let rules = OutboundRules {
        limits: settings.federation.outbound_limits(),
        breaker: settings.federation.breaker_rule(),
        names: CallerNames::from_settings(settings),
    };
    let (federation, egress) = (Arc::clone(federation), Arc::clone(egress));
    let (clock, meter) = (Arc::clone(clock), telemetry.meter());
    Arc::new(Outbound::new(federation, egress, clock, rules, &meter))
}
