//! Everything the gateway answers itself instead of the node, and in which shape.

use actix_http::{
    Response, StatusCode,
    header::{
        CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    },
};
use archipel_kit::{admission::Decision, client::ClientError, http::BodyError, metrics};
use bytes::Bytes;

use crate::{exchange::Outgoing, upstream::Unanswered};

metrics! {
    /// Why a request is not passed on, or its answer not passed back. The word is what `{"error": word}` says.
    pub(crate) enum Reason = "reason" {
        UrlTooLong = "uri_too_long",
        BadPath = "bad_path",
        NotFound = "not_found",
        MethodNotAllowed = "method_not_allowed",
        Closed = "closed",
        HeadersTooLarge = "headers_too_large",
        UserAgentBlocked = "user_agent_blocked",
        MediaType = "unsupported_media_type",
        Overloaded = "overloaded",
        TooManyAtOnce = "too_many_at_once",
        RateLimited = "rate_limited",
        LimiterUnavailable = "rate_limit_unavailable",
        Unauthorized = "unauthorized",
        TooLarge = "payload_too_large",
        BodyTimeout = "request_timeout",
        BrokenBody = "bad_request",
        TooDeep = "json_too_deep",
        RpcMethod = "rpc_method_not_allowed",
        NoUpstream = "no_upstream",
        UpstreamDown = "origin_unavailable",
        UpstreamTimeout = "upstream_timeout",
        UpstreamBroken = "bad_gateway",
    }
}

/// A reason, and what the client is told beside it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// Seconds after which to come back.
    retry_after: Option<u64>,
    /// The limit that was reached: how many calls, and where it stands.
    limit: Option<(u64, Decision)>,
    /// What `Allow` says.
    allow: Option<String>,
}

/// How a reason is told.
struct Telling {
    status: u16,
    /// The code in the body of a JSON-RPC error, as the node behind has it: -32700 where the body did not arrive as it
    /// should, -32601 for a method that is not there, -32000 for the rest. The public tier's -32005 for a spent allowance
    /// means something else to A2A 1.0 clients.
    code: &'static str,
    /// `ErrorInfo.reason`: what a program reads there.
    word: &'static str,
    /// What a person reads.
    message: &'static str,
}

/// Room for every refusal's text.
const ROOM: usize = 320;

/// In the order of the reasons.
static TELLINGS: [Telling; 22] = [
    Telling::new(414, "-32000", "URI_TOO_LONG", "Request target too long."),
    Telling::new(
        400,
        "-32000",
        "BAD_PATH",
        "The path is not in its plain form.",
    ),
    Telling::new(404, "-32000", "NOT_FOUND", "Not found."),
    Telling::new(
        405,
        "-32000",
        "METHOD_NOT_ALLOWED",
        "This method is not served here.",
    ),
    Telling::new(503, "-32000", "CLOSED", "This place is closed for now."),
    Telling::new(
        431,
        "-32000",
        "HEADERS_TOO_LARGE",
        "Request headers too large.",
    ),
    Telling::new(
        403,
        "-32000",
        "USER_AGENT_BLOCKED",
        "This client is not served.",
    ),
    Telling::new(
        415,
        "-32000",
        "UNSUPPORTED_MEDIA_TYPE",
        "This media type is not served.",
    ),
    Telling::new(
        503,
        "-32000",
        "OVERLOADED",
        "Too many requests are under way.",
    ),
    Telling::new(
        429,
        "-32000",
        "TOO_MANY_AT_ONCE",
        "Too many requests at once.",
    ),
    Telling::new(429, "-32000", "RATE_LIMITED", "Too many requests."),
    Telling::new(
        503,
        "-32000",
        "RATE_LIMIT_UNAVAILABLE",
        "The rate limit cannot be checked now.",
    ),
    Telling::new(401, "-32000", "UNAUTHORIZED", "Unauthorized."),
    Telling::new(413, "-32700", "PAYLOAD_TOO_LARGE", "Payload too large."),
    Telling::new(
        408,
        "-32700",
        "REQUEST_TIMEOUT",
        "The request did not arrive in time.",
    ),
    Telling::new(400, "-32700", "BROKEN_BODY", "The request body broke off."),
    Telling::new(400, "-32700", "JSON_TOO_DEEP", "The JSON nests too deep."),
    Telling::new(
        403,
        "-32601",
        "RPC_METHOD_NOT_ALLOWED",
        "This method is not served here.",
    ),
    Telling::new(
        503,
        "-32000",
        "UPSTREAM_UNAVAILABLE",
        "No node behind the gateway can be asked now.",
    ),
    Telling::new(
        503,
        "-32000",
        "UPSTREAM_UNAVAILABLE",
        "The node behind the gateway cannot be reached.",
    ),
    Telling::new(
        504,
        "-32000",
        "UPSTREAM_TIMEOUT",
        "The node behind the gateway did not answer in time.",
    ),
    Telling::new(
        502,
        "-32000",
        "UPSTREAM_BROKEN",
        "The node behind the gateway gave a broken answer.",
    ),
];

impl Telling {
    const fn new(
        status: u16,
        code: &'static str,
        word: &'static str,
        message: &'static str,
    ) -> Self {
        Self {
            status,
            code,
            word,
            message,
        }
    }
}

impl Reason {
    fn telling(self) -> &'static Telling {
        static OTHER: Telling = Telling::new(500, "-32000", "INTERNAL", "The gateway failed.");
        TELLINGS.get(self as usize).unwrap_or(&OTHER)
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        let retry_after = match reason {
            Reason::LimiterUnavailable
            | Reason::UpstreamDown
            | Reason::NoUpstream
            | Reason::Overloaded
            | Reason::TooManyAtOnce => Some(1),
            _ => None,
        };
        Self {
            reason,
            retry_after,
            limit: None,
            allow: None,
        }
    }
}

impl Refusal {
    /// The client used up its allowance of `limit` requests.
    pub(crate) const fn rate_limited(limit: u64, decision: Decision) -> Self {
        Self {
            reason: Reason::RateLimited,
            retry_after: Some(seconds(decision.retry_after_us)),
            limit: Some((limit, decision)),
            allow: None,
        }
    }

    /// The place is closed, and perhaps open again after so many seconds.
    pub(crate) const fn closed(retry_after: u64) -> Self {
        Self {
            reason: Reason::Closed,
            retry_after: Some(retry_after),
            limit: None,
            allow: None,
        }
    }

    /// Only these methods are served.
    pub(crate) fn method_not_allowed(allowed: &[String]) -> Self {
        Self {
            allow: Some(allowed.join(", ")),
            ..Reason::MethodNotAllowed.into()
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        // Every status of the table is one.
        StatusCode::from_u16(self.reason.telling().status)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer: a JSON-RPC error where callers speak JSON-RPC, else `{"error": word}`. Every part of the text is ours,
    /// so nothing in it needs escaping.
    pub(crate) fn answer(&self, json_rpc: bool) -> Response<Outgoing> {
        let telling = self.reason.telling();
        let body = if json_rpc {
            self.json_rpc(telling)
        } else {
            use archipel_kit::telemetry::metrics::Label as _;
            format!(r#"{{"error":"{}"}}"#, Reason::text(self.reason.index()))
        };
        let body = Outgoing::Own(Bytes::from(body));
        let mut answer = Response::with_body(self.status(), body);
        self.add_headers(answer.headers_mut());
        answer
    }

    /// Put together by hand: the formatter takes several times as long, and floods are answered with this.
    fn json_rpc(&self, telling: &Telling) -> String {
        let mut text = String::with_capacity(ROOM);
        text.push_str(r#"{"jsonrpc":"2.0","id":null,"error":{"code":"#);
        text.push_str(telling.code);
        text.push_str(r#","message":""#);
        text.push_str(telling.message);
        text.push_str(
            r#"","data":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":""#,
        );
        text.push_str(telling.word);
        text.push_str(r#"","domain":"archipel","metadata":{"#);
        if let Some((limit, decision)) = &self.limit {
            let mut digits = Digits::default();
            text.push_str(r#""retryAfterSeconds":""#);
            text.push_str(digits.of(seconds(decision.retry_after_us)));
            text.push_str(r#"","limit":""#);
            text.push_str(digits.of(*limit));
            text.push('"');
        }
        text.push_str("}}]}}");
        text
    }

    /// To an answer that has no headers yet.
    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            headers.append(RETRY_AFTER, number(after));
        }
        if let Some((limit, decision)) = &self.limit {
            for (name, value) in limit_headers(*limit, decision) {
                headers.append(name, value);
            }
        }
        if let Some(allow) = &self.allow
            && let Ok(allow) = HeaderValue::try_from(allow.as_str())
        {
            headers.insert(actix_http::header::ALLOW, allow);
        }
        match self.reason {
            Reason::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // The rest of the body is on its way; nobody will read it.
            Reason::TooLarge | Reason::BodyTimeout | Reason::BrokenBody | Reason::TooDeep => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
    }
}

/// What is left of a limit, in the two spellings that clients read.
pub(crate) fn limit_headers(limit: u64, decision: &Decision) -> [(HeaderName, HeaderValue); 6] {
    const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
    const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
    const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
    const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
    const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
    const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
    let limit = number(limit);
    let remaining = number(decision.remaining);
    let reset = number(seconds(decision.reset_us));
    [
        (X_LIMIT, limit.clone()),
        (X_REMAINING, remaining.clone()),
        (X_RESET, reset.clone()),
        (LIMIT, limit),
        (REMAINING, remaining),
        (RESET, reset),
    ]
}

fn number(number: u64) -> HeaderValue {
    // Digits are always a value.
    HeaderValue::from_str(Digits::default().of(number))
        .unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Room in which numbers are written.
#[derive(Debug, Default)]
struct Digits([u8; 20]);

impl Digits {
    fn of(&mut self, mut number: u64) -> &str {
        let mut from = self.0.len();
        for digit in self.0.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            from -= 1;
            if number == 0 {
                break;
            }
        }
        let digits = self.0.get(from..).unwrap_or_default();
        std::str::from_utf8(digits).unwrap_or_default()
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(_) => Reason::TooLarge,
            BodyError::TimedOut => Reason::BodyTimeout,
            BodyError::Broken(_) => Reason::BrokenBody,
        }
        .into()
    }
}

impl From<&Unanswered> for Refusal {
    fn from(error: &Unanswered) -> Self {
        match error {
            Unanswered::NoNode => Reason::NoUpstream,
            Unanswered::Busy => Reason::Overloaded,
            Unanswered::Failed(error) if error.is_timeout() => Reason::UpstreamTimeout,
            Unanswered::Failed(ClientError::Connect(_) | ClientError::Refused(_)) => {
                Reason::UpstreamDown
            }
            Unanswered::Failed(_) => Reason::UpstreamBroken,
        }
        .into()
    }
}

/// Whole seconds, rounded up: a client that waits them is not early.
pub(crate) const fn seconds(microseconds: u64) -> u64 {
    microseconds.div_ceil(1_000_000)
}

#[cfg(test)]
mod tests;
