//! What must not work: a federation token used twice, and a bus message without a seal. Each is shown beside the good
//! one that it differs from, so that the refusal speaks of the fault and of nothing else.

use anyhow::bail;
use archipel_protocol::envelope::{
    AgentLifecycle, BusSecret, Event, MeshMeta, SystemEvent, SystemPayload, Timestamp, seal,
};
use archipel_protocol::federation::Minter;
use archipel_protocol::ids::Text;
use archipel_protocol::names::Dialect;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::demonstration::AT_BETA;
use crate::demonstration::calls::{expect_ok, request};
use crate::demonstration::outcome::Outcome;
use crate::http::{Answer, Credential, Http};
use crate::mesh::Site;

const TOKEN_SECONDS: u64 = 60;
const DIALECT: Dialect = Dialect::Hive;

const TEXT: &str = "Two words.";

type Done = anyhow::Result<(String, ())>;

/// Calls beta as alpha does, twice with one token.
pub(crate) async fn replayed_token(http: &Http, site: &Site, now_ms: i64) -> Done {
    let minter = Minter::ed25519(&site.alpha.seed, &site.alpha.origin)?;
    let token = minter.mint(
        Some(site.beta.origin.as_str()),
        TOKEN_SECONDS,
        Uuid::new_v4(),
        now_ms.div_euclid(1000),
    )?;
    let url = site.beta.url(AT_BETA);
    let first = http
        .post(
            &url,
            Credential::Federation(&token),
            request("SendMessage", TEXT),
        )
        .await?;
    Outcome::of_answer(&expect_ok(first)?)?.check(TEXT.chars().count())?;
    let second = http
        .post(
            &url,
            Credential::Federation(&token),
            request("SendMessage", TEXT),
        )
        .await?;
    if second.status != StatusCode::UNAUTHORIZED {
        bail!(
            "the second use of a token was answered {}",
            second.excerpt()
        );
    }
    Ok((format!("accepted once, then {}", second.status), ()))
}

/// Puts a message on beta's bus, once without and once with its seal.
pub(crate) async fn unsigned_message(http: &Http, site: &Site, now_ms: i64) -> Done {
    let channel = DIALECT.system_events_channel();
    let url = site.beta.url(&format!("/api/mesh/bus/{channel}"));
    let credential = Credential::Bearer(&site.beta.internal_token);
    let secret = BusSecret::new(&site.beta.bus_secret)?;

    let unsigned = seal(&event(now_ms)?, channel, &meta(), None, DIALECT);
    let refused = http.post(&url, credential, Bytes::from(unsigned)).await?;
    let reason = json!({"error": "bus_message_refused", "reason": "unsigned"});
    expect(&refused, StatusCode::FORBIDDEN, Some(&reason))?;

    let sealed = seal(&event(now_ms)?, channel, &meta(), Some(&secret), DIALECT);
    let accepted = http.post(&url, credential, Bytes::from(sealed)).await?;
    expect(&accepted, StatusCode::ACCEPTED, None)?;
    Ok((
        format!("{} unsigned, {} sealed", refused.status, accepted.status),
        (),
    ))
}

fn event(now_ms: i64) -> anyhow::Result<Event> {
    let payload = SystemPayload::Agent {
        change: AgentLifecycle::Started,
        agent_id: Text::parse("text")?,
        name: Text::parse("text")?,
    };
    Ok(Event::System(SystemEvent {
        payload,
        timestamp: Timestamp::from_unix_ms(now_ms)?,
    }))
}

fn meta() -> MeshMeta {
    MeshMeta {
        event_id: Uuid::new_v4().into(),
        correlation_id: None,
    }
}

/// An answer of this status, and this body if one is told.
pub(super) fn expect(
    answer: &Answer,
    status: StatusCode,
    body: Option<&Value>,
) -> anyhow::Result<()> {
    if answer.status != status || body.is_some_and(|body| answer.json().ok().as_ref() != Some(body))
    {
        bail!(
            "expected {status}{}, got {}",
            body.map(|body| format!(" {body}")).unwrap_or_default(),
            answer.excerpt()
        );
    }
    Ok(())
}
