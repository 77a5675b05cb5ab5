//! What a request passes, in order. This is the one page that says so; `guard` holds the checks, `body` takes the body.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use actix_http::{
    Error, HttpMessage as _, Method, Request, Response,
    body::BoxBody,
    header::{
        HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use archipel_kit::{admission::limiter_key, telemetry::trace};
use tracing::Instrument as _;

use crate::{
    access::Entry,
    body::{self, Arriving},
    config::{LimitHeaders, RouteSettings},
    exchange::{Outgoing, Passage, count_unanswered, respond},
    guard,
    limiter::{Admitted, Asking, SharedLimit},
    own,
    peek::Glance,
    refusal::{Reason, Refusal, limit_headers},
    route::{Route, is_plain},
    server::{Facts, Place},
    state::{Current, Shared},
    upstream::{Call, Lane},
};

/// Says that limits are shared, but this gateway alone counted this request.
const COUNTED_BY: HeaderName = HeaderName::from_static("x-ratelimit-counted-by");

/// What one worker serves with.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    /// Made anew when the configuration has changed.
    setup: RefCell<(u64, Rc<Setup>)>,
}

/// One configuration as one worker has it: with connections of its own.
pub(crate) struct Setup {
    pub(crate) shared: Arc<Shared>,
    pub(crate) current: Arc<Current>,
    pub(crate) lanes: Vec<Rc<Lane>>,
    pub(crate) limit: Option<SharedLimit>,
}

/// A request, and what was found out about it on the way.
pub(crate) struct Visit {
    pub(crate) setup: Rc<Setup>,
    pub(crate) route: Route,
    facts: Facts,
    /// Whom the connection comes from.
    socket: IpAddr,
    /// Who asks: that one, or whom a trusted proxy names.
    client: IpAddr,
    admitted: Option<Admitted>,
    entry: Option<Box<Entry>>,
    span: tracing::Span,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let generation = shared.generation();
        let setup = Rc::new(Setup::new(&shared, &[]));
        Self {
            shared,
            setup: RefCell::new((generation, setup)),
        }
    }

    /// The configuration in force.
    pub(crate) fn setup(&self) -> Rc<Setup> {
        let mut setup = self.setup.borrow_mut();
        let generation = self.shared.generation();
        if setup.0 != generation {
            *setup = (
                generation,
                Rc::new(Setup::new(&self.shared, &setup.1.lanes)),
            );
        }
        Rc::clone(&setup.1)
    }
}

impl Setup {
    fn new(shared: &Arc<Shared>, before: &[Rc<Lane>]) -> Self {
        let current = shared.current();
        Self {
            lanes: current.fleet.lanes(before),
            // It was tried when the configuration was read.
            limit: current.shared_limit().ok().flatten(),
            shared: Arc::clone(shared),
            current,
        }
    }
}

/// A client asks before it sends its body (`Expect: 100-continue`): what its head says is too large is refused now.
pub(crate) fn expect(request: Request, worker: &Worker) -> Result<Request, Response<BoxBody>> {
    let setup = worker.setup();
    let Err(refusal) = guard::check_length(request.headers(), &setup.current.settings) else {
        return Ok(request);
    };
    let route = Route::of(request.path());
    let answer = refusal.answer(route.speaks_a2a());
    let labels = (request.method().into(), route, answer.status().into());
    worker.shared.metrics.requests.count(labels);
    worker.shared.metrics.refusals.count(refusal.reason);
    Err(answer.map_into_boxed_body())
}

/// Serves one request, counts it and logs it.
pub(crate) async fn serve(
    mut request: Request,
    worker: Rc<Worker>,
) -> Result<Response<Outgoing>, Error> {
    let shared = &worker.shared;
    let began = shared.clock.monotonic();
    let mut visit = Visit::new(&request, worker.setup());
    let outcome = if visit.span.is_disabled() {
        pass(&mut visit, &mut request).await
    } else {
        let span = visit.span.clone();
        pass(&mut visit, &mut request).instrument(span).await
    };
    if outcome.is_err() {
        body::refuse(&mut request).await;
    }
    let mut response = outcome.unwrap_or_else(|refusal| {
        shared.metrics.refusals.count(refusal.reason);
        if let Some(entry) = &mut visit.entry {
            entry.line.refusal = format!("{:?}", refusal.reason);
        }
        let is_rpc = visit.route.speaks_a2a() && request.method() == Method::POST;
        refusal.answer(is_rpc)
    });
    visit.mark(&request, &mut response);
    let labels = (
        request.method().into(),
        visit.route,
        response.status().into(),
    );
    shared.metrics.requests.count(labels);
    let took = shared.clock.monotonic().saturating_sub(began);
    shared.metrics.request_time.record(took, visit.route);
    Ok(visit.log(response))
}

/// The order of everything.
async fn pass(visit: &mut Visit, request: &mut Request) -> Result<Response<Outgoing>, Refusal> {
    let setup = Rc::clone(&visit.setup);
    let settings = &setup.current.settings;
    let route = visit.route;
    // Length of the target first: nothing below has to look at a long one.
    guard::check_url(request, settings)?;
    // Then its form: a path that could mean another one is not looked up at all.
    if !is_plain(request.path()) {
        return Err(Reason::BadPath.into());
    }
    // Browsers ask before they call; that says nothing about whether the call is served.
    if let Some(cors) = &setup.current.cors
        && route.is_passed()
        && let Some(answer) = cors.preflight(request)
    {
        return Ok(answer);
    }
    // What is not ours costs nothing more.
    if !route.serves(request.method()) {
        return Err(Reason::NotFound.into());
    }
    // Our own places are asked by machines and must answer when clients use up their limits, and when we are closed.
    if let Some(answer) = own::answer(route, request, &setup).await {
        return answer;
    }
    // Whether we serve at all, and here.
    let policy = setup.current.route(request.path());
    guard::check_open(policy, &setup)?;
    // Sizes before contents: they are already known.
    guard::check_headers(request.headers(), settings)?;
    guard::check_length(request.headers(), settings)?;
    // Unwanted programs next, so that they do not use up the allowance of the address they share.
    guard::check_user_agent(request.headers(), &setup.current)?;
    // What the place takes.
    guard::check_method(request, policy)?;
    guard::check_media_type(request, &setup.current)?;
    // Who is asking: the socket's peer, or what a trusted proxy says.
    visit.find_client(request);
    // How much is under way, of everybody and of this client.
    let place = visit.check_crowd()?;
    // How often, before a byte of the body is taken.
    visit.check_limits(request, policy).await?;
    // From here on the request counts as being answered, until the last byte of its answer is gone.
    let passage = Passage::enter(Rc::clone(&setup), place);
    // The body, within its bounds: declared ones were refused unread, counted ones are while they arrive.
    let taken = body::take(request, setup.current.bounds(policy)).await?;
    let (load, seen, arriving) = taken.split();
    let glance = body::glance(&seen);
    // What it asks for, where a place takes only some of it.
    guard::check_rpc_method(policy, &glance)?;
    // A node, and with it whatever it decides about this caller.
    let answer = {
        let call = visit.call(request, glance);
        let worker = (&*setup.shared.clock, &setup.shared.metrics);
        setup
            .current
            .fleet
            .send(&setup.lanes, &call, load, worker)
            .await
    };
    let (answer, turn) = answer.map_err(|error| {
        // The fault is the client's when its body was what failed; else the node's.
        if let Some(refusal) = arriving.as_ref().and_then(Arriving::failure) {
            return refusal;
        }
        count_unanswered(&setup.shared.metrics, &error);
        Refusal::from(&error)
    })?;
    // Nobody asked to switch protocols, so a client could make nothing of it.
    if answer.status.is_informational() {
        return Err(Reason::UpstreamBroken.into());
    }
    // Its answer, piece by piece.
    Ok(respond(answer, passage, turn))
}

impl Visit {
    fn new(request: &Request, setup: Rc<Setup>) -> Self {
        let socket = request
            .peer_addr()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| {
                peer.ip().to_canonical()
            });
        let access = setup.current.access.as_ref();
        let span = if setup.shared.telemetry.sends_traces() {
            begin_span(request)
        } else {
            tracing::Span::none()
        };
        Self {
            route: Route::of(request.path()),
            facts: request.conn_data::<Facts>().cloned().unwrap_or_default(),
            socket,
            client: socket,
            admitted: None,
            entry: access.map(|access| access.begin(request, &setup.shared.clock)),
            span,
            setup,
        }
    }

    fn find_client(&mut self, request: &Request) {
        let rules = &self.setup.current.client_rules;
        if rules.reads_header() {
            let lines: Vec<&str> = request
                .headers()
                .get_all(rules.header.word())
                .filter_map(|value| value.to_str().ok())
                .collect();
            self.client = rules.client(self.socket, lines.into_iter());
        }
    }

    /// Refuses what is too much at once.
    fn check_crowd(&self) -> Result<Option<Place>, Refusal> {
        let settings = &self.setup.current.settings;
        let shared = &self.setup.shared;
        let most = settings.max_requests;
        if most > 0 && shared.in_flight.load(Ordering::Relaxed) >= most {
            return Err(Reason::Overloaded.into());
        }
        let most = settings.max_requests_per_client;
        if most == 0 {
            return Ok(None);
        }
        let place = shared.requests.enter(limiter_key(self.client), most);
        place.map(Some).ok_or_else(|| Reason::TooManyAtOnce.into())
    }

    async fn check_limits(
        &mut self,
        request: &Request,
        policy: Option<&RouteSettings>,
    ) -> Result<(), Refusal> {
        let Some(limiter) = &self.setup.current.limiter else {
            return Ok(());
        };
        let asking = Asking {
            client: self.client,
            headers: request.headers(),
            certificate: self.facts.certificate.as_ref(),
            route: policy,
        };
        let admitted = limiter.admit(&asking, self.setup.limit.as_ref()).await?;
        self.admitted = Some(admitted);
        Ok(())
    }

    fn call<'a>(&'a self, request: &'a Request, glance: Glance<'a>) -> Call<'a> {
        let traceparent = trace::traceparent(&self.span);
        Call {
            route: self.route,
            received: request,
            client: self.client,
            socket: self.socket,
            certificate: self.facts.certificate.as_ref(),
            traceparent: traceparent.and_then(|text| http::HeaderValue::try_from(text).ok()),
            glance,
        }
    }

    /// Adds what every answer says, whoever made it.
    fn mark(&self, request: &Request, response: &mut Response<Outgoing>) {
        let current = &self.setup.current;
        let settings = &current.settings;
        let headers = response.headers_mut();
        if settings.security_headers {
            for (name, value) in &SECURITY {
                if !headers.contains_key(name) {
                    headers.insert(name.clone(), value.clone());
                }
            }
        }
        if self.facts.is_tls && !settings.tls.hsts.is_zero() {
            let seconds = settings.tls.hsts.as_secs();
            if let Ok(value) = HeaderValue::try_from(format!("max-age={seconds}")) {
                headers.insert(STRICT_TRANSPORT_SECURITY, value);
            }
        }
        if let Some(cors) = &current.cors
            && self.route.is_passed()
            && *request.method() != Method::OPTIONS
        {
            cors.mark(request.headers().get(ORIGIN), headers);
        }
        if let Some(admitted) = &self.admitted {
            if admitted.is_local {
                headers.insert(COUNTED_BY, HeaderValue::from_static("this-gateway"));
            }
            if settings.rate_limit_headers == LimitHeaders::All
                && let Some((limit, decision)) = &admitted.tightest
            {
                for (name, value) in limit_headers(*limit, decision) {
                    headers.insert(name, value);
                }
            }
        }
    }

    /// Hands the access log's line to the answer, and ends the span's own part.
    fn log(self, response: Response<Outgoing>) -> Response<Outgoing> {
        let status = response.status().as_u16();
        if !self.span.is_disabled() {
            self.span.record("http.response.status_code", status);
            if let Some(upstream) = response.body().upstream() {
                self.span.record("server.address", upstream);
            }
        }
        let Some(mut entry) = self.entry else {
            return response;
        };
        entry.line.status = status;
        entry.line.client = self.client.to_string();
        entry.line.trace = trace::trace_id(&self.span).unwrap_or_default();
        response.map_body(|_, mut body| {
            entry.line.upstream = body.upstream().unwrap_or_default().to_owned();
            body.log_at_end(entry);
            body
        })
    }
}

/// The gateway's part of a trace that the client began and the node goes on with.
fn begin_span(request: &Request) -> tracing::Span {
    let span = tracing::info_span!(
        "gateway.request",
        otel.kind = "server",
        http.request.method = request.method().as_str(),
        http.response.status_code = tracing::field::Empty,
        url.path = request.path(),
        server.address = tracing::field::Empty,
    );
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    trace::join(&span, header("traceparent"), header("tracestate"));
    span
}

/// What browsers are told about how to treat an answer.
static SECURITY: [(HeaderName, HeaderValue); 3] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];
