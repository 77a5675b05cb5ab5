//! The limits that gateways share: one atomic script, on Redis's own clock, for all requests that wait at the moment.
//!
//! A worker asks once for many: while one question is under way, requests gather for the next. Under load Redis and the
//! worker then do the work of one question for dozens of requests, and nobody waits longer than for two answers.

use std::{cell::RefCell, rc::Rc, time::Duration};

use archipel_kit::{
    admission::{Decision, Rule},
    settings::Secret,
};
use redis::{
    RedisError, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::sync::oneshot;

use super::Key;

/// Requests that are asked for at once, at most: what a script does in about a millisecond.
const MOST_AT_ONCE: usize = 256;

/// GCRA, as in `archipel_kit::admission`, for several requests with several limits each. A key expires with its state; a
/// request that one limit denies is counted by none. Gives for each request whether it is allowed, which limit decided
/// (the one that denied, else the one with the least left), how many more could pass, and the microseconds until one may
/// and until all may. A state that lies further ahead than it can is that of a clock which was set back: it is cut.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local states, dirty, answers = {}, {}, {}
local key, arg = 1, 2
for request = 1, tonumber(ARGV[1]) do
  local count = tonumber(ARGV[arg])
  local allowed, which, left, retry, reset = 1, 0, 0, 0, 0
  local next = {}
  for check = 1, count do
    local name = KEYS[key + check - 1]
    local emission = tonumber(ARGV[arg + check * 2 - 1])
    local burst = tonumber(ARGV[arg + check * 2])
    local full_at = states[name] or tonumber(redis.call('GET', name) or now)
    if full_at < now then full_at = now end
    if full_at > now + burst then full_at = now + burst end
    states[name] = full_at
    local ahead = full_at + emission - now
    if ahead > burst then
      allowed, which, left, retry, reset = 0, check, 0, ahead - burst, full_at - now
      break
    end
    local remaining = math.floor((burst - ahead) / emission)
    if which == 0 or remaining < left then
      which, left, reset = check, remaining, ahead
    end
    next[name] = (next[name] or full_at) + emission
  end
  if allowed == 1 then
    for name, state in pairs(next) do
      states[name] = state
      dirty[name] = true
    end
  end
  answers[#answers + 1] = allowed
  answers[#answers + 1] = which
  answers[#answers + 1] = left
  answers[#answers + 1] = retry
  answers[#answers + 1] = reset
  key = key + count
  arg = arg + 1 + count * 2
end
for name in pairs(dirty) do
  redis.call('SET', name, string.format('%.0f', states[name]), 'PX', math.ceil((states[name] - now) / 1000) + 1)
end
return answers
";

/// What Redis says of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    /// Which of its limits decided.
    pub(crate) index: usize,
    pub(crate) decision: Decision,
}

/// One request that waits: its limits as Redis needs them, and where the answer goes.
struct Waiting {
    checks: Vec<(String, Rule)>,
    answer: oneshot::Sender<Verdict>,
}

/// One worker's connection to the shared limits.
#[derive(Clone)]
pub(crate) struct SharedLimit(Rc<Inner>);

struct Inner {
    connection: ConnectionManager,
    script: Script,
    /// `{archipel:gw:rl}:`; the part in braces decides the slot of a cluster.
    prefix: String,
    queue: RefCell<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Whether a question is under way.
    is_asked: bool,
}

impl SharedLimit {
    /// Connects at the first call, and again by itself. Must be made on the worker that uses it.
    pub(crate) fn connect(
        url: &Secret,
        prefix: &str,
        patience: Duration,
    ) -> Result<Self, RedisError> {
        let client = redis::Client::open(url.expose())?;
        // The client's own defaults wait 9 s while Redis is away.
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience))
            .set_number_of_retries(0);
        Ok(Self(Rc::new(Inner {
            connection: ConnectionManager::new_lazy_with_config(client, config)?,
            script: Script::new(SCRIPT),
            prefix: format!("{{{prefix}}}:"),
            queue: RefCell::default(),
        })))
    }

    /// Counts one request against all its limits, or against none. `None`: Redis did not answer.
    pub(crate) async fn decide(&self, checks: &[(Key, Rule)]) -> Option<Verdict> {
        let named = checks
            .iter()
            .map(|(key, rule)| (format!("{}{key}", self.0.prefix), *rule));
        let (answer, told) = oneshot::channel();
        let must_ask = {
            let mut queue = self.0.queue.borrow_mut();
            queue.waiting.push(Waiting {
                checks: named.collect(),
                answer,
            });
            !std::mem::replace(&mut queue.is_asked, true)
        };
        if must_ask {
            let inner = Rc::clone(&self.0);
            actix_rt::spawn(async move { inner.ask_while_any_wait().await });
        }
        told.await.ok()
    }

    /// Where a key stands in Redis: the microseconds until its allowance is full again.
    pub(crate) async fn standing(&self, key: &Key) -> Result<Option<u64>, RedisError> {
        let name = format!("{}{key}", self.0.prefix);
        let mut connection = self.0.connection.clone();
        let (state, (seconds, microseconds)): (Option<u64>, (u64, u64)) = redis::pipe()
            .cmd("GET")
            .arg(name)
            .cmd("TIME")
            .query_async(&mut connection)
            .await?;
        let now = seconds * 1_000_000 + microseconds;
        Ok(state.map(|state| state.saturating_sub(now)))
    }
}

impl Inner {
    async fn ask_while_any_wait(&self) {
        loop {
            let batch = {
                let mut queue = self.queue.borrow_mut();
                if queue.waiting.is_empty() {
                    queue.is_asked = false;
                    return;
                }
                let most = queue.waiting.len().min(MOST_AT_ONCE);
                queue.waiting.drain(..most).collect::<Vec<_>>()
            };
            match self.ask(&batch).await {
                Ok(verdicts) => {
                    for (waiting, verdict) in batch.into_iter().zip(verdicts) {
                        // A client that left needs no answer.
                        let _ = waiting.answer.send(verdict);
                    }
                }
                Err(error) => {
                    tracing::debug!(error.kind = ?error.kind(), "redis did not decide");
                    // Whoever came meanwhile would wait as long for nothing: they are told at once too.
                    self.queue.borrow_mut().waiting.clear();
                }
            }
        }
    }

    async fn ask(&self, batch: &[Waiting]) -> Result<Vec<Verdict>, RedisError> {
        let mut invocation = self.script.prepare_invoke();
        invocation.arg(batch.len());
        for waiting in batch {
            invocation.arg(waiting.checks.len());
            for (name, rule) in &waiting.checks {
                invocation
                    .key(name)
                    .arg(rule.emission_us)
                    .arg(rule.burst_us);
            }
        }
        let mut connection = self.connection.clone();
        let answers: Vec<u64> = invocation.invoke_async(&mut connection).await?;
        let verdicts = answers.as_chunks::<5>().0.iter();
        Ok(verdicts
            .map(|[allowed, which, left, retry, reset]| Verdict {
                index: usize::try_from(*which).map_or(usize::MAX, |which| which.wrapping_sub(1)),
                decision: Decision {
                    allowed: *allowed == 1,
                    remaining: *left,
                    retry_after_us: *retry,
                    reset_us: *reset,
                },
            })
            .collect())
    }
}
