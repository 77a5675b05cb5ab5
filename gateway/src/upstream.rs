//! The nodes behind the gateway: which one a request goes to, what happens when it fails there, and what comes back.
//!
//! Read `node` (what is known of one), `breaker` (when it is left out), `choice` (which one), `placement` (which one has a
//! task), `budget` (how much may be sent again), `form` (what a request looks like), `lane` (one worker's way to one
//! node), `health` (asking nodes how they are).

mod breaker;
mod budget;
mod choice;
mod form;
mod health;
mod lane;
mod node;
mod placement;

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use actix_http::Request as Received;
use archipel_kit::{
    client::{CarriedAnswer, ClientError, RequestBody, Timeouts},
    clock::Clock,
    telemetry::metrics::NamedHistogram,
    tls::BadTls,
};
use bytes::Bytes;
use http::HeaderValue;
use rustls::ClientConfig;
use url::Url;

use crate::{
    config::{Balance, BreakerSettings, GatewaySettings, UpstreamSettings},
    metrics::GatewayMetrics,
    peek::Glance,
    route::Route,
    tls,
};

pub(crate) use breaker::State as BreakerState;
pub(crate) use choice::key_of;
pub(crate) use health::{is_there, is_up, watch};
pub(crate) use lane::Lane;
pub(crate) use node::{Node, Turn};
pub(crate) use placement::Placement;

use budget::RetryBudget;
use choice::Candidate;
use form::Form;

/// The settings of the upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadUpstream {
    /// URL and paths make no URL together.
    #[error("the upstream's URL and path do not fit together: {0}")]
    Url(#[from] http::Error),
    /// Its certificates or keys cannot be read.
    #[error("TLS to {0}: {1}")]
    Tls(String, BadTls),
}

/// One request of a client on its way to a node.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) route: Route,
    pub(crate) received: &'a Received,
    /// Who asks.
    pub(crate) client: IpAddr,
    /// Whom the connection comes from: the client, or a proxy before this gateway.
    pub(crate) socket: IpAddr,
    /// Which certificate the client showed.
    pub(crate) certificate: Option<&'a HeaderValue>,
    /// The gateway's own span, where there is one; else what the client sent is passed on.
    pub(crate) traceparent: Option<HeaderValue>,
    /// What a glance at the body told.
    pub(crate) glance: Glance<'a>,
}

/// The body of a request to a node.
#[derive(Debug)]
pub(crate) enum Load {
    /// All of it; it can be sent again.
    Whole(Bytes),
    /// What is still arriving.
    Arriving(RequestBody),
}

/// Why no node answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// None can be asked now.
    #[error("no node can be asked now")]
    NoNode,
    /// Each takes as much as it may.
    #[error("every node is busy")]
    Busy,
    /// The one that was asked failed.
    #[error(transparent)]
    Failed(#[from] ClientError),
}

/// The nodes of one configuration.
#[derive(Debug)]
pub(crate) struct Fleet {
    members: Vec<Member>,
    form: Arc<Form>,
    /// Only where nodes keep their own tasks.
    placement: Option<Arc<Placement>>,
    budget: RetryBudget,
    breaker: BreakerSettings,
    slow_start: Duration,
    retries: u32,
    /// Requests that one node gets at once; 0 is no bound.
    most_per_node: usize,
    limits: Timeouts,
    connect: Duration,
}

/// A node and what this configuration says of it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) node: Arc<Node>,
    pub(crate) weight: u32,
    tls: Option<ClientConfig>,
    settings: UpstreamSettings,
}

impl Fleet {
    /// The nodes that the settings name. What is known of those that were there before is kept.
    pub(crate) fn new(
        settings: &GatewaySettings,
        before: Option<&Self>,
        first_byte: &NamedHistogram,
    ) -> Result<Self, BadUpstream> {
        let mut members = Vec::new();
        for one in settings.all_upstreams() {
            members.push(Member::new(one, settings, before, first_byte)?);
        }
        let fleet = Self {
            members,
            form: Arc::new(Form::new(settings)?),
            placement: (settings.balance == Balance::Task).then(|| {
                let known = before.and_then(|before| before.placement.clone());
                known.unwrap_or_else(|| Arc::new(Placement::new(settings.remembered_tasks)))
            }),
            budget: RetryBudget::new(settings.retry_budget_percent),
            breaker: settings.breaker.clone(),
            slow_start: settings.slow_start,
            retries: settings.retries,
            most_per_node: settings.max_requests_per_upstream,
            limits: Timeouts {
                first_byte: Some(settings.first_byte_timeout),
                idle: Some(settings.idle_timeout),
                total: Some(settings.total_timeout).filter(|total| !total.is_zero()),
            },
            connect: settings.connect_timeout,
        };
        for member in &fleet.members {
            Lane::make(member, &fleet, None)?;
        }
        Ok(fleet)
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// One worker's ways to all nodes; those of `before` that still lead to the same place are kept, with their
    /// connections.
    pub(crate) fn lanes(&self, before: &[Rc<Lane>]) -> Vec<Rc<Lane>> {
        // Each was made once when the configuration was read, so none can fail here.
        let lanes = self
            .members
            .iter()
            .map(|member| Lane::make(member, self, Some(before)));
        lanes.flatten().collect()
    }

    /// Whether any node can be asked now.
    pub(crate) fn can_serve(&self, now: Duration) -> bool {
        self.members
            .iter()
            .any(|member| member.weight > 0 && member.node.may_be_asked(now))
    }

    /// Remembers which node has the task that an answer speaks of.
    pub(crate) fn learn(&self, answer: &[u8], node: &Node) {
        if let Some(placement) = &self.placement {
            let glance = crate::peek::answer(answer);
            for id in [glance.task, glance.context].into_iter().flatten() {
                placement.learn(id, node.key());
            }
        }
    }

    /// Whether answers tell where tasks are.
    pub(crate) const fn learns(&self) -> bool {
        self.placement.is_some()
    }

    /// Sends a request of a client on, and waits for the head of the answer. What failed is sent elsewhere when that is
    /// safe: nothing was sent, or asking twice changes nothing.
    pub(crate) async fn send(
        &self,
        lanes: &[Rc<Lane>],
        call: &Call<'_>,
        load: Load,
        worker: (&dyn Clock, &GatewayMetrics),
    ) -> Result<(CarriedAnswer, Turn), Unanswered> {
        let (clock, metrics) = worker;
        self.budget.earn();
        let (mut load, whole) = match load {
            Load::Whole(bytes) => (Some(bytes.clone().into()), Some(bytes)),
            Load::Arriving(body) => (Some(body), None),
        };
        let mut tried = 0_u64;
        for attempt in 0.. {
            let now = clock.monotonic();
            let index = self.choose(call, tried, now)?;
            let Some((lane, body)) = lanes.get(index).zip(load.take()) else {
                return Err(Unanswered::NoNode);
            };
            let turn = lane.node().enter(now, &self.breaker);
            let outcome = lane.exchange(&self.form, call, body, self.limits).await;
            let then = clock.monotonic();
            lane.node().first_byte.record(then.saturating_sub(now));
            let error = match outcome {
                Ok(answer) => {
                    lane.node().succeeded(then, &self.breaker);
                    return Ok((answer, turn));
                }
                Err(error) => error,
            };
            lane.node().failed(then, &self.breaker);
            tried |= 1 << index;
            let is_safe = error.nothing_was_sent() || call.changes_nothing();
            let again = whole.as_ref().filter(|_| {
                is_safe
                    && attempt < self.retries
                    && self.choose(call, tried, then).is_ok()
                    && self.budget.spend()
            });
            let Some(bytes) = again else {
                return Err(error.into());
            };
            tracing::debug!(upstream = lane.node().name(), %error, "request is sent elsewhere");
            metrics.retries.count(());
            load = Some(bytes.clone().into());
        }
        Err(Unanswered::NoNode)
    }

    /// The node for a request, among those that were not tried.
    fn choose(&self, call: &Call<'_>, tried: u64, now: Duration) -> Result<usize, Unanswered> {
        if let [only] = self.members.as_slice() {
            // The usual case needs no list.
            let free = tried == 0 && only.node.may_be_asked(now);
            return match free {
                true if self.is_busy(&only.node) => Err(Unanswered::Busy),
                true => Ok(0),
                false => Err(Unanswered::NoNode),
            };
        }
        if let Some(index) = self.placed(call) {
            // Another node would say that there is no such task, which is not so.
            let member = self.members.get(index);
            let free = member.is_some_and(|member| member.node.may_be_asked(now));
            return if free && tried & (1 << index) == 0 {
                Ok(index)
            } else {
                Err(Unanswered::NoNode)
            };
        }
        let mut any_busy = false;
        let mut candidates: Vec<Candidate> = Vec::with_capacity(self.members.len());
        for (index, member) in self.members.iter().enumerate() {
            if member.weight == 0 || tried & (1 << index) != 0 || !member.node.may_be_asked(now) {
                continue;
            }
            if self.is_busy(&member.node) {
                any_busy = true;
                continue;
            }
            candidates.push(
                member
                    .node
                    .candidate(index, member.weight, now, self.slow_start),
            );
        }
        let chosen = match (&self.placement, call.place_id()) {
            (Some(_), Some(id)) => choice::by_key(&candidates, key_of(id)),
            _ => choice::least_loaded(&candidates, now.subsec_nanos() as usize / 1000),
        };
        chosen.ok_or(if any_busy {
            Unanswered::Busy
        } else {
            Unanswered::NoNode
        })
    }

    fn is_busy(&self, node: &Node) -> bool {
        self.most_per_node > 0 && node.in_flight() >= self.most_per_node
    }

    /// The node that is known to have the task or conversation of a request.
    fn placed(&self, call: &Call<'_>) -> Option<usize> {
        let placement = self.placement.as_ref()?;
        let ids = [call.task_of_path(), call.glance.task, call.glance.context];
        let node = ids
            .into_iter()
            .flatten()
            .find_map(|id| placement.find(id))?;
        self.members
            .iter()
            .position(|member| member.node.key() == node)
    }
}

impl Member {
    fn new(
        settings: UpstreamSettings,
        all: &GatewaySettings,
        before: Option<&Fleet>,
        first_byte: &NamedHistogram,
    ) -> Result<Self, BadUpstream> {
        let name = Node::name_of(&settings);
        let known = before.and_then(|before| {
            let mut members = before.members.iter();
            members.find(|member| member.node.name() == name && *member.node.url() == settings.url)
        });
        let node = known.map_or_else(
            || {
                let series = first_byte.series(&name);
                Arc::new(Node::new(name.clone(), settings.url.clone(), series))
            },
            |known| Arc::clone(&known.node),
        );
        let own = Some(&settings.tls).filter(|own| own.is_set());
        let wanted = own.unwrap_or(&all.upstream_tls);
        let tls = (settings.url.scheme() == "https" && wanted.is_set())
            .then(|| tls::client_config(wanted))
            .transpose()
            .map_err(|error| BadUpstream::Tls(name, error))?;
        Ok(Self {
            node,
            weight: settings.weight,
            tls,
            settings,
        })
    }
}

impl<'a> Call<'a> {
    /// Whether it may be asked twice: it only reads.
    fn changes_nothing(&self) -> bool {
        const READS: [&[u8]; 12] = [
            b"GetTask",
            b"ListTasks",
            b"SubscribeToTask",
            b"GetExtendedAgentCard",
            b"GetTaskPushNotificationConfig",
            b"ListTaskPushNotificationConfigs",
            b"ListTaskPushNotificationConfig",
            b"tasks/get",
            b"tasks/list",
            b"tasks/resubscribe",
            b"tasks/pushNotificationConfig/get",
            b"agent/getAuthenticatedExtendedCard",
        ];
        let method = self.received.method();
        *method == actix_http::Method::GET
            || *method == actix_http::Method::HEAD
            || (!self.glance.is_odd
                && self
                    .glance
                    .method
                    .is_some_and(|method| READS.contains(&method)))
    }

    /// What leads to a node by hash when nobody knows better.
    fn place_id(&self) -> Option<&'a [u8]> {
        self.glance
            .context
            .or(self.glance.task)
            .or_else(|| self.task_of_path())
    }

    /// The task of a REST call: `/agents/echo/tasks/ID`, perhaps with `:cancel` behind it.
    fn task_of_path(&self) -> Option<&'a [u8]> {
        let mut segments = self.received.path().split('/');
        segments.find(|segment| *segment == "tasks")?;
        let id = segments.next()?.split(':').next()?;
        (!id.is_empty()).then_some(id.as_bytes())
    }
}

/// The path of a base URL, to be put before every other; empty for most.
fn base_path(base: &Url) -> &str {
    base.path().trim_end_matches('/')
}
