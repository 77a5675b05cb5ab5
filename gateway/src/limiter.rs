//! How often a client may call: limits for all gateways that share a Redis, else for one gateway.
//!
//! Read `caller` (which limits a request counts against), then `redis` for the shared ones; the arithmetic of both is
//! `archipel_kit::admission`, and `show` tells an operator where somebody stands. A request passes when every limit lets it, and a denied one is counted nowhere. A key that
//! was denied is denied here until its time has come, without asking Redis again: an attacker costs a hash lookup.

mod caller;
mod redis;
mod show;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use archipel_kit::{
    admission::{Decision, KeyTimes, Rule, decide},
    clock::Clock,
};

use crate::{
    config::{GatewaySettings, WithoutRedis},
    metrics::{GatewayMetrics, Limited},
    refusal::{Reason, Refusal},
};

pub(crate) use caller::{Asking, Key, Limits};
pub(crate) use redis::SharedLimit;
pub(crate) use show::show;

/// While Redis is away it is tried this often, by one request, so that the others do not wait for its time limit.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// The limits of one gateway process; all its workers share them.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    without_redis: WithoutRedis,
    /// Which part of a limit this gateway gives while Redis is away, in percent; all of it where there is no Redis.
    local_share: u64,
    states: Arc<States>,
    clock: Arc<dyn Clock>,
    metrics: GatewayMetrics,
}

/// What outlives a change of the settings.
#[derive(Debug)]
struct States {
    capacity: usize,
    local: KeyTimes<Key>,
    /// Until when Redis would refuse a key that it has just refused.
    denied: KeyTimes<Key>,
    /// When Redis may be asked again, on the monotonic clock; 0 while it answers.
    away_until_us: AtomicU64,
}

/// A request that may pass, and what is left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admitted {
    /// The limit with the least left, and where it stands.
    pub(crate) tightest: Option<(u64, Decision)>,
    /// Whether only this gateway counted it although limits are shared.
    pub(crate) is_local: bool,
}

impl Limiter {
    /// The limiter that the settings ask for, if they ask for one. What `before` has counted still counts.
    pub(crate) fn new(
        settings: &GatewaySettings,
        before: Option<&Self>,
        clock: Arc<dyn Clock>,
        metrics: GatewayMetrics,
    ) -> Option<Self> {
        let limits = Limits::new(settings)?;
        let capacity = settings.rate_limit_clients;
        let known = before.map(|before| Arc::clone(&before.states));
        let states = known.filter(|known| known.capacity == capacity);
        let is_shared = settings.rate_limit_redis_url.is_some();
        Some(Self {
            limits,
            without_redis: settings.rate_limit_without_redis,
            local_share: if is_shared {
                u64::from(settings.rate_limit_local_share)
            } else {
                100
            },
            states: states.unwrap_or_else(|| {
                Arc::new(States {
                    capacity,
                    local: KeyTimes::new(capacity),
                    denied: KeyTimes::new(capacity),
                    away_until_us: AtomicU64::new(0),
                })
            }),
            clock,
            metrics,
        })
    }

    /// Counts one request against every limit that holds for it, or refuses it.
    pub(crate) async fn admit(
        &self,
        asking: &Asking<'_>,
        shared: Option<&SharedLimit>,
    ) -> Result<Admitted, Refusal> {
        let checks = self.limits.of(asking);
        if checks.is_empty() {
            return Ok(Admitted {
                tightest: None,
                is_local: false,
            });
        }
        let now_us = self.now_us();
        let Some(shared) = shared else {
            return self.admit_locally(&checks, now_us, false);
        };
        if let Some(refusal) = self.denied_again(&checks, now_us) {
            return Err(refusal);
        }
        if !self.may_ask(now_us) {
            return self.admit_without_redis(&checks, now_us);
        }
        // Redis gets what it needs of them; the keys are needed again when it says no, or nothing.
        match shared.decide(&checks).await {
            Some(verdict) => {
                self.redis_answered();
                let Some((key, rule)) = checks.get(verdict.index) else {
                    return Err(Reason::LimiterUnavailable.into());
                };
                if !verdict.decision.allowed {
                    let until = now_us + verdict.decision.retry_after_us;
                    self.states.denied.set(key, until, now_us);
                }
                self.settle(rule.limit(), verdict.decision, Limited::Allowed, false)
            }
            None => {
                self.redis_failed(now_us);
                self.admit_without_redis(&checks, now_us)
            }
        }
    }

    /// Whether Redis could be asked the last time.
    pub(crate) fn redis_is_away(&self) -> bool {
        self.states.away_until_us.load(Ordering::Relaxed) != 0
    }

    /// Whether requests are refused because of that.
    pub(crate) fn refuses_all(&self) -> bool {
        self.redis_is_away() && self.without_redis == WithoutRedis::Deny
    }

    /// How many keys are held here, and how many can be.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.states.local.len(), self.states.capacity)
    }

    /// Where a key stands in this gateway: microseconds until its allowance is full, and until it is let through again.
    pub(crate) fn standing(&self, key: &Key) -> (Option<u64>, Option<u64>) {
        let now_us = self.now_us();
        let ahead = |times: &KeyTimes<Key>| times.get(key, now_us).map(|until| until - now_us);
        (ahead(&self.states.local), ahead(&self.states.denied))
    }

    /// Refuses what Redis refused a moment ago.
    fn denied_again(&self, checks: &[(Key, Rule)], now_us: u64) -> Option<Refusal> {
        let (until_us, rule) = checks.iter().find_map(|(key, rule)| {
            let until_us = self.states.denied.get(key, now_us)?;
            Some((until_us, rule))
        })?;
        self.metrics.limit.count(Limited::DeniedAgain);
        let wait = until_us - now_us;
        let decision = Decision {
            retry_after_us: wait,
            reset_us: wait,
            ..Decision::default()
        };
        Some(Refusal::rate_limited(rule.limit(), decision))
    }

    fn admit_without_redis(
        &self,
        checks: &[(Key, Rule)],
        now_us: u64,
    ) -> Result<Admitted, Refusal> {
        match self.without_redis {
            WithoutRedis::Local => self.admit_locally(checks, now_us, true),
            WithoutRedis::Deny => {
                self.metrics.limit.count(Limited::Undecided);
                Err(Reason::LimiterUnavailable.into())
            }
        }
    }

    /// Counts in this process. What an earlier limit counted is taken back when a later one says no.
    fn admit_locally(
        &self,
        checks: &[(Key, Rule)],
        now_us: u64,
        instead_of_redis: bool,
    ) -> Result<Admitted, Refusal> {
        let mut tightest: Option<(u64, Decision)> = None;
        for (index, (key, rule)) in checks.iter().enumerate() {
            let rule = if instead_of_redis {
                rule.part(self.local_share)
            } else {
                *rule
            };
            let decision = self
                .states
                .local
                .update(key, now_us, |state| decide(state, now_us, rule));
            if !decision.allowed {
                for (counted, its_rule) in checks.iter().take(index) {
                    let emission_us = its_rule.part(self.local_share).emission_us;
                    self.states.local.update(counted, now_us, |state| {
                        ((), state.saturating_sub(emission_us))
                    });
                }
                return self.settle(rule.limit(), decision, Limited::Allowed, instead_of_redis);
            }
            if tightest.is_none_or(|(_, least)| decision.remaining < least.remaining) {
                tightest = Some((rule.limit(), decision));
            }
        }
        let (limit, decision) = tightest.unwrap_or_default();
        let counted_as = if instead_of_redis {
            Limited::WithoutRedis
        } else {
            Limited::Allowed
        };
        self.settle(limit, decision, counted_as, instead_of_redis)
    }

    fn settle(
        &self,
        limit: u64,
        decision: Decision,
        allowed_as: Limited,
        is_local: bool,
    ) -> Result<Admitted, Refusal> {
        if decision.allowed {
            self.metrics.limit.count(allowed_as);
            return Ok(Admitted {
                tightest: Some((limit, decision)),
                is_local,
            });
        }
        self.metrics.limit.count(Limited::Denied);
        Err(Refusal::rate_limited(limit, decision))
    }

    /// Whether Redis answers, or it is this request's turn to try it again.
    fn may_ask(&self, now_us: u64) -> bool {
        let away_until_us = &self.states.away_until_us;
        let until_us = away_until_us.load(Ordering::Relaxed);
        if until_us == 0 {
            return true;
        }
        let next = now_us + TRY_AGAIN.as_micros() as u64;
        now_us >= until_us
            && away_until_us
                .compare_exchange(until_us, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn redis_answered(&self) {
        // A plain read first: the usual answer must not write to a line that all workers read.
        let away_until_us = &self.states.away_until_us;
        if away_until_us.load(Ordering::Relaxed) != 0
            && away_until_us.swap(0, Ordering::Relaxed) != 0
        {
            tracing::info!("rate limit is shared again: redis answers");
        }
        self.metrics.redis_up.set(1, ());
    }

    fn redis_failed(&self, now_us: u64) {
        let until_us = now_us + TRY_AGAIN.as_micros() as u64;
        if self.states.away_until_us.swap(until_us, Ordering::Relaxed) == 0 {
            let policy = self.without_redis.word();
            tracing::warn!(policy, "rate limit is not shared: redis does not answer");
        }
        self.metrics.redis_up.set(0, ());
    }

    fn now_us(&self) -> u64 {
        // Counted from one second on, so that no state is ever 0, which means "new".
        1_000_000 + u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX / 2)
    }
}
