//! What all workers of a gateway share: one configuration in force at a time, and what outlives it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use archipel_kit::{
    admission::ClientRules,
    clock::Clock,
    settings::Environment,
    telemetry::{Telemetry, metrics::NamedHistogram},
    tls::ListenerTls,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    StartError,
    access::AccessLog,
    body::Bounds,
    config::{GatewaySettings, RouteSettings},
    cors::Cors,
    limiter::{Limiter, SharedLimit},
    metrics::{self, GatewayMetrics},
    server::Crowd,
    tls,
    upstream::Fleet,
};

/// Where a configuration comes from, for it to be read again.
#[derive(Debug, Clone, Default)]
pub struct ConfigSource {
    /// The file; `None`: the environment alone.
    pub file: Option<PathBuf>,
    /// The environment as it was when the process started.
    pub environment: Environment,
}

/// Shared by all workers; changed only through its own atomics and locks.
#[derive(Debug)]
pub(crate) struct Shared {
    current: Arc<ArcSwap<Current>>,
    /// Grows with each change of `current`, so that workers see one without touching it.
    generation: AtomicU64,
    /// Woken at each change.
    pub(crate) reloaded: Notify,
    pub(crate) source: ConfigSource,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: GatewayMetrics,
    upstream_time: NamedHistogram,
    /// Connections by address.
    pub(crate) connections: Crowd,
    /// Requests by client.
    pub(crate) requests: Crowd,
    /// Requests under way.
    pub(crate) in_flight: AtomicUsize,
    /// Closed by the operator, whatever the configuration says.
    pub(crate) is_closed: AtomicBool,
    /// Cancelled when the gateway begins to end: `/readyz` fails from then on.
    pub(crate) leaving: CancellationToken,
    /// Cancelled when connections are closed: event streams end.
    pub(crate) draining: CancellationToken,
}

/// One configuration in force, and what was made from it.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) settings: GatewaySettings,
    pub(crate) fleet: Fleet,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) tls: Option<ListenerTls>,
    /// What the files of `upstream_tls` held.
    pub(crate) upstream_files: Vec<[u8; 32]>,
    pub(crate) client_rules: ClientRules,
    /// Lower-case words; see `block_user_agents`.
    pub(crate) blocked_agents: Vec<String>,
    /// Lower-case media types; see `content_types`.
    pub(crate) content_types: Vec<String>,
    pub(crate) cors: Option<Cors>,
    pub(crate) access: Option<AccessLog>,
    pub(crate) body_time: Duration,
}

impl Shared {
    pub(crate) fn start(
        settings: GatewaySettings,
        source: ConfigSource,
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StartError> {
        let meter = telemetry.meter();
        let metrics = GatewayMetrics::new(&meter);
        let upstream_time = NamedHistogram::new(
            &meter,
            "archipel_gateway_upstream_first_byte_seconds",
            "Time from sending a request to the node to the head of its answer.",
            "upstream",
        );
        let parts = Parts {
            clock: &clock,
            metrics: &metrics,
            upstream_time: &upstream_time,
        };
        let current = Current::new(settings, None, &parts)?;
        let current = Arc::new(ArcSwap::from_pointee(current));
        metrics::observe(&meter, &current, &clock);
        Ok(Arc::new(Self {
            current,
            generation: AtomicU64::new(1),
            reloaded: Notify::new(),
            source,
            telemetry,
            clock,
            metrics,
            upstream_time,
            connections: Crowd::new(),
            requests: Crowd::new(),
            in_flight: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            leaving: CancellationToken::new(),
            draining: CancellationToken::new(),
        }))
    }

    /// The configuration in force.
    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// A number that changes with it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts another configuration in force. Requests under way end under the one they began with.
    pub(crate) fn replace(&self, settings: GatewaySettings) -> Result<(), StartError> {
        let parts = Parts {
            clock: &self.clock,
            metrics: &self.metrics,
            upstream_time: &self.upstream_time,
        };
        let next = Current::new(settings, Some(&self.current()), &parts)?;
        self.current.store(Arc::new(next));
        self.generation.fetch_add(1, Ordering::Release);
        self.reloaded.notify_waiters();
        Ok(())
    }
}

/// What a configuration is made with.
struct Parts<'a> {
    clock: &'a Arc<dyn Clock>,
    metrics: &'a GatewayMetrics,
    upstream_time: &'a NamedHistogram,
}

impl Current {
    fn new(
        settings: GatewaySettings,
        before: Option<&Self>,
        parts: &Parts<'_>,
    ) -> Result<Self, StartError> {
        let fleet_before = before.map(|before| &before.fleet);
        let limiter_before = before.and_then(|before| before.limiter.as_ref());
        let lower = |words: &[String]| words.iter().map(|word| word.to_lowercase()).collect();
        let current = Self {
            fleet: Fleet::new(&settings, fleet_before, parts.upstream_time)?,
            limiter: Limiter::new(
                &settings,
                limiter_before,
                Arc::clone(parts.clock),
                parts.metrics.clone(),
            ),
            tls: tls::listener(&settings.tls)?,
            upstream_files: upstream_files(&settings),
            client_rules: settings.client_rules(),
            blocked_agents: lower(&settings.block_user_agents),
            content_types: lower(&settings.content_types),
            cors: Cors::new(&settings.cors),
            access: AccessLog::new(&settings.access_log),
            body_time: body_time(settings.request_timeout),
            settings,
        };
        // What a worker makes for itself is tried here once, so that a worker cannot fail at it.
        current.shared_limit()?;
        Ok(current)
    }

    /// A connection to the Redis that shares the limits, if they are shared; for one worker.
    pub(crate) fn shared_limit(&self) -> Result<Option<SharedLimit>, StartError> {
        let settings = &self.settings;
        let (Some(_), Some(url)) = (&self.limiter, &settings.rate_limit_redis_url) else {
            return Ok(None);
        };
        let connected = SharedLimit::connect(
            url,
            &settings.rate_limit_redis_prefix,
            settings.rate_limit_redis_timeout,
        );
        connected
            .map(Some)
            .map_err(|error| StartError::Redis(error.to_string()))
    }

    /// What a body may be, at a place.
    pub(crate) fn bounds(&self, policy: Option<&RouteSettings>) -> Bounds {
        let settings = &self.settings;
        Bounds {
            size: settings.max_body.bytes(),
            time: self.body_time,
            depth: settings.max_json_depth,
            is_looked_at: self.fleet.members().len() > 1
                || policy.is_some_and(|policy| !policy.rpc_methods.is_empty()),
        }
    }

    /// What holds at a path: the longest one that fits.
    pub(crate) fn route(&self, path: &str) -> Option<&RouteSettings> {
        let routes = self.settings.routes.iter();
        routes
            .filter(|route| route.holds(path))
            .max_by_key(|route| route.path.len())
    }
}

/// What the files hold that are named for TLS to nodes.
pub(crate) fn upstream_files(settings: &GatewaySettings) -> Vec<[u8; 32]> {
    let own = settings.upstreams.iter().map(|one| &one.tls);
    own.chain([&settings.upstream_tls])
        .map(tls::fingerprint_of)
        .collect()
}

/// 0 means no limit; a century is none.
fn body_time(setting: Duration) -> Duration {
    if setting.is_zero() {
        Duration::from_secs(100 * 365 * 86_400)
    } else {
        setting
    }
}
