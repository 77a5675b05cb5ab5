//! What is done about the roster while the node runs: files are looked at, and what an operator should know is told.

use std::sync::Arc;
use std::time::Duration;

use actix_rt::time::sleep;
use archipel_kit::clock::Clock;
use archipel_kit::reload::{Look, Reload};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::federation::Federation;
use crate::federation::files::PeerFiles;
use crate::federation::manifest::{ManifestFault, ManifestIssue, ManifestStatus};
use crate::federation::peers::{Peer, PeerSource};
use crate::federation::rules::unix_seconds;
use crate::metrics::{FilesLooked, RosterMetrics};

/// How often the metrics are brought up to date.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Looks at the files every so often, and at SIGHUP, without end.
pub async fn watch_files(
    mut files: PeerFiles,
    mut reload: Reload,
    every: Duration,
    metrics: RosterMetrics,
) {
    loop {
        let asked = reload.due(every).await;
        let found = files.look().await;
        let is_news = reload.tell(&found, asked);
        match found {
            Look::Taken => metrics.files.count(FilesLooked::Taken),
            Look::Refused(_) if is_news => metrics.files.count(FilesLooked::Refused),
            Look::Same | Look::Refused(_) => {}
        }
    }
}

/// Keeps the metrics of the roster, ends what came with a key that is over, and warns once a day of peers that somebody
/// should look at again; without end.
pub async fn report(federation: Arc<Federation>, metrics: RosterMetrics, clock: Arc<dyn Clock>) {
    let mut warned = None;
    let mut looked = unix_seconds(clock.now_ms());
    loop {
        let now = unix_seconds(clock.now_ms());
        if let Err(error) = federation.end_keys(looked, now) {
            tracing::error!(%error, "what came with a key that is over cannot be ended");
        }
        looked = now;
        let today = day_of(clock.now_ms());
        let roster = federation.roster();
        for source in PeerSource::ALL {
            let of_source = roster.peers().iter().filter(|peer| peer.source == source);
            let count = i64::try_from(of_source.count()).unwrap_or(i64::MAX);
            metrics.peers.set(count, source.into());
        }
        report_manifest(&federation.manifest_status(), &metrics, clock.now_ms());
        let overdue = overdue(roster.peers(), today);
        let count = i64::try_from(overdue.len()).unwrap_or(i64::MAX);
        metrics.overdue.set(count, ());
        if !overdue.is_empty() && warned != Some(today) {
            let peers = overdue.join(", ");
            tracing::warn!(peers, "peers wait for their review (review_by)");
            warned = Some(today);
        }
        sleep(REPORT_EVERY).await;
    }
}

fn report_manifest(status: &ManifestStatus, metrics: &RosterMetrics, now_ms: u64) {
    let age_ms = status.good_ms.map_or(0, |good| now_ms.saturating_sub(good));
    let age = i64::try_from(age_ms / 1000).unwrap_or(i64::MAX);
    metrics.manifest_age.set(age, ());
    let present = status.fault.as_ref().map(ManifestFault::issue);
    for issue in ManifestIssue::ALL {
        let value = i64::from(present == Some(issue));
        metrics.manifest_trouble.set(value, issue.into());
    }
}

fn overdue(peers: &[Arc<Peer>], today: Date) -> Vec<&str> {
    let is_overdue = |peer: &&Arc<Peer>| peer.review_by.is_some_and(|day| day <= today);
    let overdue = peers.iter().filter(is_overdue);
    overdue.map(|peer| &*peer.name).collect()
}

fn day_of(now_ms: u64) -> Date {
    let now = i64::try_from(now_ms).ok();
    let now = now.and_then(|now| Timestamp::from_millisecond(now).ok());
    TimeZone::UTC
        .to_datetime(now.unwrap_or(Timestamp::MAX))
        .date()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_protocol::ids::Origin;

    use super::*;

    #[test]
    fn a_peer_is_overdue_from_its_day_on() {
        let peer = |name: &str, day: Option<&str>| {
            let origin = Origin::parse("https://a.example").unwrap();
            Arc::new(Peer {
                review_by: day.map(|day| day.parse().unwrap()),
                ..Peer::new(name, origin, PeerSource::Configured)
            })
        };
        let peers = [
            peer("never", None),
            peer("later", Some("1970-01-03")),
            peer("today", Some("1970-01-02")),
            peer("before", Some("1970-01-01")),
        ];
        let just_after_midnight = day_of(24 * 3600 * 1000);
        assert_eq!(overdue(&peers, just_after_midnight), ["today", "before"]);
    }
}
