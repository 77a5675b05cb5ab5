//! The roster while the node runs: its files, its metrics, and the manifest.

use std::sync::Arc;

use archipel_kit::reload::Reload;

use crate::app::{Parts, StartError};
use crate::config::ConfigSource;
use crate::egress::Egress;
use crate::federation::files::PeerFiles;
use crate::federation::manifest::keeper::{Keeper, KeeperPorts};
use crate::federation::upkeep;
use crate::metrics::RosterMetrics;

/// Takes the peers of the folder in, and goes on looking until the node stops.
pub(super) fn start(parts: &Parts, source: ConfigSource) -> Result<(), StartError> {
    let settings = &parts.settings;
    let federation = Arc::clone(&parts.federation);
    let folder = source.resolve(&settings.federation.peers_dir);
    let configured = settings.peers.clone();
    let files = PeerFiles::start(Arc::clone(&federation), source, folder, configured)
        .map_err(StartError::Settings)?;
    let reload = Reload::listen("peers").map_err(StartError::Server)?;
    let metrics = RosterMetrics::new(&parts.telemetry.meter());
    let every = settings.federation.peers_reload;
    let watched = upkeep::watch_files(files, reload, every, metrics.clone());
    let reported = upkeep::report(federation, metrics, Arc::clone(&parts.clock));
    start_manifest(parts)?;
    let drain = parts.drain.clone();
    actix_rt::spawn(async move {
        let both = async { tokio::join!(watched, reported) };
        drain.run_until_cancelled(both).await
    });
    Ok(())
}

/// Keeps the manifest of peers, where there is to be one, until the node stops.
fn start_manifest(parts: &Parts) -> Result<(), StartError> {
    let Some(place) = parts.federation.manifest() else {
        return Ok(());
    };
    let ports = KeeperPorts {
        federation: Arc::clone(&parts.federation),
        egress: Arc::new(Egress::new(&parts.settings.egress)),
        store: Arc::clone(&parts.stores.peers),
        clock: Arc::clone(&parts.clock),
    };
    let keeper = Keeper::new(place.clone(), ports);
    let reload = Reload::listen("manifest").map_err(StartError::Server)?;
    let drain = parts.drain.clone();
    actix_rt::spawn(async move { drain.run_until_cancelled(keeper.run(reload)).await });
    Ok(())
}
