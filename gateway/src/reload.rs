//! Another configuration while the gateway runs: when the file, or one that it names, has changed, and at SIGHUP.
//!
//! Everything is read again and compared with what is in force, by content: a touched file changes nothing, a replaced
//! link does. What has problems changes nothing and is told once.

use std::{sync::Arc, time::Duration};

use archipel_kit::settings::Problems;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::{
    config::GatewaySettings,
    metrics::Reload,
    state::{Current, Shared, upstream_files},
    tls,
};

/// What became of looking for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing differs.
    Same,
    /// Another configuration is in force; these keys wait for a restart.
    Taken(Vec<&'static str>),
    /// What was before still holds.
    Refused(String),
}

/// Looks for changes until the process ends. Must be called inside an actix system.
pub(crate) fn watch(shared: Arc<Shared>) {
    actix_rt::spawn(async move {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be awaited: the configuration is not reloaded");
                return;
            }
        };
        // A problem is told when it appears, not every time it is met.
        let mut told = None;
        loop {
            let interval = shared.current().settings.reload_interval;
            let must_tell = tokio::select! {
                _ = hangup.recv() => true,
                () = pause(interval) => false,
            };
            let outcome = look(&shared).await;
            match &outcome {
                Outcome::Refused(problems) => {
                    if must_tell || told.as_ref() != Some(problems) {
                        tracing::error!(problems, "configuration was not taken");
                        shared.metrics.reloads.count(Reload::Refused);
                    }
                    told = Some(problems.clone());
                }
                Outcome::Same => {
                    told = None;
                    if must_tell {
                        tracing::info!("configuration has not changed");
                    }
                }
                Outcome::Taken(_) => told = None,
            }
        }
    });
}

async fn pause(interval: Duration) {
    if interval.is_zero() {
        std::future::pending::<()>().await;
    }
    sleep(interval).await;
}

/// Reads the configuration again, and puts it in force if it differs.
pub(crate) async fn look(shared: &Arc<Shared>) -> Outcome {
    let for_thread = Arc::clone(shared);
    // Files are read on a thread that may wait for them.
    let read = tokio::task::spawn_blocking(move || read(&for_thread)).await;
    let settings = match read {
        Ok(Ok(Some(settings))) => settings,
        Ok(Ok(None)) => return Outcome::Same,
        Ok(Err(problems)) => return Outcome::Refused(problems.to_string()),
        Err(_) => return Outcome::Refused("the configuration could not be read".to_owned()),
    };
    let before = shared.current();
    let waiting = needs_restart(&before.settings, &settings);
    match shared.replace(settings) {
        Ok(()) => {
            shared.metrics.reloads.count(Reload::Taken);
            tracing::info!("configuration was taken");
            if !waiting.is_empty() {
                tracing::warn!(keys = ?waiting, "these keys wait for a restart");
            }
            Outcome::Taken(waiting)
        }
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

/// The configuration as it is now; `None` when it is the one in force.
fn read(shared: &Shared) -> Result<Option<GatewaySettings>, Problems> {
    let source = &shared.source;
    let settings = GatewaySettings::load(source.file.as_deref(), &source.environment)?;
    let current = shared.current();
    Ok((differs(&settings, &current)).then_some(settings))
}

fn differs(settings: &GatewaySettings, current: &Current) -> bool {
    // A certificate that cannot be read is a problem of the settings already.
    let tls = tls::listener(&settings.tls).ok().flatten();
    *settings != current.settings
        || tls != current.tls
        || upstream_files(settings) != current.upstream_files
}

/// Keys that differ but hold from the start to the end.
fn needs_restart(before: &GatewaySettings, after: &GatewaySettings) -> Vec<&'static str> {
    let keys = [
        ("listen", before.address() != after.address()),
        ("admin_listen", before.admin_listen != after.admin_listen),
        ("workers", before.workers != after.workers),
        (
            "max_connections",
            before.max_connections != after.max_connections,
        ),
        ("keep_alive", before.keep_alive != after.keep_alive),
        ("drain_timeout", before.drain_timeout != after.drain_timeout),
        ("telemetry", before.telemetry != after.telemetry),
    ];
    keys.into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
}
