//! Another configuration while the gateway runs: when the file, or one that it names, has changed, and at SIGHUP.
//!
//! Everything is read again and compared with what is in force, by content: a touched file changes nothing, a replaced
//! link does. What has problems changes nothing and is told once. Nobody says when a file has been written: part of one may
//! be a configuration too, one that opens what is closed, so without a SIGHUP a change counts when it is found twice.

use std::sync::Arc;

use archipel_kit::{
    reload::{Look, Reload},
    settings::Problems,
};

use crate::{
    config::GatewaySettings,
    metrics::Reload as Counted,
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
        let mut reload = match Reload::listen("gateway") {
            Ok(reload) => reload,
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be awaited: the configuration is not reloaded");
                return;
            }
        };
        let mut found_once = None;
        loop {
            let interval = shared.current().settings.reload_interval;
            let asked = reload.due(interval).await;
            let outcome = match changed(&shared).await {
                Ok(found) if asked => take(&shared, found),
                Ok(found) => take(&shared, found_twice(found, &mut found_once)),
                Err(problems) => {
                    found_once = None;
                    Outcome::Refused(problems)
                }
            };
            let found = match outcome {
                Outcome::Same => Look::Same,
                Outcome::Taken(_) => Look::Taken,
                Outcome::Refused(problems) => Look::Refused(problems),
            };
            if reload.tell(&found, asked) && matches!(found, Look::Refused(_)) {
                shared.metrics.reloads.count(Counted::Refused);
            }
        }
    });
}

/// Reads the configuration again, and puts it in force if it differs.
pub(crate) async fn look(shared: &Arc<Shared>) -> Outcome {
    match changed(shared).await {
        Ok(settings) => take(shared, settings),
        Err(problems) => Outcome::Refused(problems),
    }
}

/// The configuration as it is now, or `None` when it is the one in force; else its problems.
async fn changed(shared: &Arc<Shared>) -> Result<Option<GatewaySettings>, String> {
    let for_thread = Arc::clone(shared);
    // Files are read on a thread that may wait for them.
    match tokio::task::spawn_blocking(move || read(&for_thread)).await {
        Ok(read) => read.map_err(|problems| problems.to_string()),
        Err(_) => Err("the configuration could not be read".to_owned()),
    }
}

/// What was found now and the time before.
fn found_twice<T: PartialEq>(found: Option<T>, once: &mut Option<T>) -> Option<T> {
    if found == *once {
        *once = None;
        return found;
    }
    *once = found;
    None
}

fn take(shared: &Shared, settings: Option<GatewaySettings>) -> Outcome {
    let Some(settings) = settings else {
        return Outcome::Same;
    };
    let before = shared.current();
    let waiting = needs_restart(&before.settings, &settings);
    match shared.replace(settings) {
        Ok(()) => {
            shared.metrics.reloads.count(Counted::Taken);
            tracing::info!("configuration was taken");
            if !waiting.is_empty() {
                tracing::warn!(keys = ?waiting, "these keys wait for a restart");
            }
            Outcome::Taken(waiting)
        }
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_it_is_found_twice() {
        let mut once = None;
        for (found, counts) in [
            (None, None),
            (Some("part"), None),
            (Some("whole"), None),
            (Some("whole"), Some("whole")),
            (None, None),
            (Some("other"), None),
            (None, None),
            (Some("other"), None),
            (Some("other"), Some("other")),
        ] {
            assert_eq!(found_twice(found, &mut once), counts, "{found:?}");
        }
    }
}
