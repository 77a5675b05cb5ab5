//! What is shown: a client of alpha uses beta's agent in every way, and what must be refused is refused.
//!
//! Read `calls` (discovery, a call, a stream, the gateway), `outcome` (what a call must have brought), `refusals`, then
//! `letters` (what goes over a broker, where there is one).

mod calls;
mod letters;
mod outcome;
mod refusals;

use crate::binaries::Binaries;
use crate::http::Http;
use crate::input::Input;
use crate::mesh::Site;
use crate::report::Recorder;

/// Beta's agent, as clients of alpha and of the gateway name it.
const THROUGH_ALPHA: &str = "/peers/beta/agents/text";
/// The same agent at home.
const AT_BETA: &str = "/agents/text";

/// Tries everything; no step needs what another one brought.
pub(crate) async fn run(recorder: &Recorder<'_>, site: &Site, input: &Input) {
    let http = Http::new();
    recorder.step("card", calls::discover(&http, site)).await;
    recorder.step("call", calls::call(&http, site, input)).await;
    let through_alpha = site.alpha.url(THROUGH_ALPHA);
    recorder
        .step(
            "stream",
            calls::stream(recorder, &http, site, &through_alpha, input),
        )
        .await;
    let through_gateway = format!("{}{THROUGH_ALPHA}", site.gateway.as_str());
    recorder
        .step(
            "gateway",
            calls::stream(recorder, &http, site, &through_gateway, input),
        )
        .await;
    recorder
        .step(
            "replayed token",
            refusals::replayed_token(&http, site, recorder.now_unix_ms()),
        )
        .await;
    recorder
        .step(
            "unsigned message",
            refusals::unsigned_message(&http, site, recorder.now_unix_ms()),
        )
        .await;
}

/// Tries what needs a broker between the sites.
pub(crate) async fn run_over_brokers(recorder: &Recorder<'_>, site: &Site) {
    let http = Http::new();
    recorder
        .step("envelope", letters::envelope(&http, site))
        .await;
}

/// What to do with a mesh that stays up.
pub(crate) fn invitation(site: &Site, binaries: &Binaries) -> String {
    let headers = site.client_headers.display();
    let message = r#"{"message":{"messageId":"1","role":"ROLE_USER","parts":[{"text":"Two islands. One bridge."}]}}"#;
    let body = |method: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{message}}}"#)
    };
    let (alpha, beta, gateway) = (
        site.alpha.origin.as_str(),
        site.beta.origin.as_str(),
        site.gateway.as_str(),
    );
    format!(
        "
alpha    {alpha}
beta     {beta}
gateway  {gateway}
programs {programs}

# the card of beta's agent, through alpha
curl -s {alpha}{THROUGH_ALPHA}/.well-known/agent-card.json -H '@{headers}'

# a call
curl -s {alpha}{THROUGH_ALPHA} -H '@{headers}' -d '{send}'

# a stream, through the gateway
curl -sN {gateway}{THROUGH_ALPHA} -H '@{headers}' -d '{stream}'

It stays up until Ctrl-C.",
        programs = binaries.node.parent().unwrap_or(&binaries.node).display(),
        send = body("SendMessage"),
        stream = body("SendStreamingMessage"),
    )
}
