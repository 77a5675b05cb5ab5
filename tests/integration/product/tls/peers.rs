//! Nodes that show each other certificates beside their tokens, also through a gateway.

use std::fs;
use std::path::Path;
use std::thread::{self, JoinHandle};

use archipel_gateway::{ConfigSource, Gateway, GatewaySettings};
use archipel_kit::clock::SystemClock;
use archipel_kit::telemetry::{Telemetry, TelemetrySettings};
use archipel_tests::mesh::{Answer, Identity, NodeConfig, free_port};
use tokio::sync::oneshot;

use super::*;
use crate::federation::records::{assert_recorded, audit_of};

const THROUGH: &str = "/peers/beta/agents/echo";
const GATEWAY_SECRET: &str = "secret-of-the-gateway-0123456789abcdef";

/// A node that will listen on a port of its own, over TLS.
fn identity_over_tls() -> Identity {
    Identity::at(&format!("https://127.0.0.1:{}", free_port()))
}

/// Alpha, which calls beta with a certificate of its own and believes the authority.
fn alpha(own: &Identity, beta: &Identity, shown: &KeyFiles, authority: &Authority) -> TestNode {
    TestNode::start(|config| {
        own.configure(config);
        let (origin, key) = (beta.origin(), beta.public_key());
        let (certificate, private) = shown;
        let ca = authority.path("ca.pem");
        config.add(&format!(
            r#"
            tls.reload_every = "20ms"
            [[peers]]
            name = "beta"
            origin = "{origin}"
            ed25519_public_key = "{key}"
            tls.certificate_file = {certificate:?}
            tls.key_file = {private:?}
            tls.ca_file = {ca:?}
            "#
        ));
    })
}

/// Makes alpha a peer that must come with this certificate.
fn pin(config: &mut NodeConfig, alpha: &Identity, pin: &str) {
    let (origin, key) = (alpha.origin(), alpha.public_key());
    config.add(&format!(
        r#"
        [[peers]]
        name = "alpha"
        origin = "{origin}"
        ed25519_public_key = "{key}"
        tls.pin = "{pin}"
        "#
    ));
}

async fn call_beta(alpha: &TestNode) -> Answer {
    let client = alpha.client();
    client.post_rpc(THROUGH, "SendMessage", say("hello")).await
}

/// Shows a token to a node over TLS.
async fn show(origin: &str, token: &str, tls: ClientConfig) -> Result<u16, ClientError> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": say("hello")});
    let request = Request::builder()
        .method("POST")
        .uri(format!("{origin}{ECHO}"))
        .header("content-type", "application/json")
        .header("a2a-version", "1.0")
        .header("x-hive-federation-jwt", token)
        .body(RequestBody::from(body.to_string()))
        .unwrap();
    let answer = client(tls).send(request, Timeouts::default()).await?;
    Ok(answer.status.as_u16())
}

#[tokio::test]
async fn a_peer_is_let_in_with_the_certificate_that_it_is_pinned_to_and_no_other() {
    let authority = Authority::new("mesh");
    let server = authority.sign("beta");
    let shown = authority.sign("alpha");
    let (ours, theirs) = (Identity::of_new_node(), identity_over_tls());
    let beta = TestNode::start(|config| {
        theirs.configure(config);
        let ca = authority.path("ca.pem");
        let optional = format!("client_ca = {ca:?}\nclient_certificates = \"optional\"");
        config.add(&settings(&server, &optional));
        pin(config, &ours, "spiffe://mesh/alpha");
    });
    let alpha = alpha(&ours, &theirs, &shown, &authority);
    assert_served(Ok(call_beta(&alpha).await.json()));

    // A good token without the certificate, and with somebody else's.
    let mallory = authority.sign("mallory");
    for certificate in [None, Some(&mallory)] {
        let token = ours.token_for(theirs.origin());
        let tls = authority.client(certificate);
        let status = show(theirs.origin(), &token, tls).await.unwrap();
        assert_eq!(status, 403, "{certificate:?}");
    }
    let token = ours.token_for(theirs.origin());
    let good = show(theirs.origin(), &token, authority.client(Some(&shown))).await;
    assert_eq!(good.unwrap(), 200);

    // Files that change are taken while both run: another certificate of the same name, one of another, one that is over.
    // What a peer says of our sessions is not our caller's business: both refusals are a bad gateway.
    authority.sign("alpha");
    assert_served(Ok(call_beta(&alpha).await.json()));
    fs::copy(&mallory.0, &shown.0).unwrap();
    fs::copy(&mallory.1, &shown.1).unwrap();
    until("a refusal of mallory's certificate", async || {
        (call_beta(&alpha).await.status == 502).then_some(())
    })
    .await;
    authority.sign("alpha");
    until("alpha's own certificate is good again", async || {
        (call_beta(&alpha).await.status == 200).then_some(())
    })
    .await;
    authority.sign_with("alpha", |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    until("a refusal of a certificate that is over", async || {
        (call_beta(&alpha).await.status == 502).then_some(())
    })
    .await;
    authority.sign("alpha");
    until("a certificate that is good again", async || {
        (call_beta(&alpha).await.status == 200).then_some(())
    })
    .await;
    drop(alpha);
    let records = audit_of(beta.stop().await).await;
    let refusal = json!({
        "action": "federation.refused",
        "outcome": "refused",
        "reason": "pin",
        "caller": "peer:alpha",
        "peer": ours.origin(),
    });
    assert_recorded(&records, &refusal);
}

#[tokio::test]
async fn a_peer_that_nobody_stands_for_is_not_called() {
    let (authority, others) = (Authority::new("mesh"), Authority::new("others"));
    let (server, shown) = (others.sign("beta"), authority.sign("alpha"));
    let (ours, theirs) = (Identity::of_new_node(), identity_over_tls());
    let _beta = TestNode::start(|config| {
        theirs.configure(config);
        config.add(&settings(&server, ""));
        ours.configure_as_peer(config, "alpha");
    });
    let alpha = alpha(&ours, &theirs, &shown, &authority);
    assert_eq!(call_beta(&alpha).await.status, 502);
}

/// A gateway on a thread of its own.
struct RunningGateway {
    /// Dropped to stop it.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RunningGateway {
    fn start(file: &Path) -> Self {
        let source = ConfigSource {
            file: Some(file.to_owned()),
            environment: Environment::default(),
        };
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let settings = GatewaySettings::load(source.file.as_deref(), &source.environment);
                let quiet = [("ARCHIPEL_LOG", "off")].into_iter().collect();
                let quiet: TelemetrySettings = archipel_kit::settings::load(None, &quiet).unwrap();
                let telemetry = Arc::new(Telemetry::start(&quiet, "gateway-test").unwrap());
                let clock = Arc::new(SystemClock::new());
                let gateway = Gateway::bind(settings.unwrap(), source, telemetry, clock).unwrap();
                let handle = gateway.stop_handle();
                tell.send(()).unwrap();
                let stopping = async {
                    let _dropped = stopped.await;
                    handle.stop().await;
                };
                let (ended, ()) = tokio::join!(gateway.run(), stopping);
                ended.unwrap();
            });
        });
        told.recv().unwrap();
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[tokio::test]
async fn a_gateway_shows_its_certificate_to_the_node_and_tells_of_the_peers() {
    let authority = Authority::new("mesh");
    let (at_node, at_gateway) = (authority.sign("beta"), authority.sign("gateway"));
    let shown = authority.sign("alpha");
    let (ours, theirs) = (Identity::of_new_node(), identity_over_tls());
    let ca = authority.path("ca.pem");
    // Behind a gateway a node is known by the gateway's address, and lets nobody in but the gateway.
    let beta = TestNode::start(|config| {
        theirs.configure(config);
        let node_only = format!("client_ca = {ca:?}");
        config.add(&settings(&at_node, &node_only));
        config.add(&format!(
            r#"
            listen = "127.0.0.1:0"
            public_origin = "{}"
            gateway_secret = "{GATEWAY_SECRET}"
            gateway_enforced = true
            "#,
            theirs.origin()
        ));
        pin(config, &ours, "spiffe://mesh/alpha");
    });
    let file = authority.path("gateway.toml");
    let (certificate, key) = &at_gateway;
    let text = format!(
        r#"
        listen = "{}"
        workers = 1
        drain_timeout = "1s"
        upstream_auth_secret = "{GATEWAY_SECRET}"
        [tls]
        certificate = {certificate:?}
        key = {key:?}
        client_ca = {ca:?}
        client_certificates = "optional"
        [upstream_tls]
        ca = {ca:?}
        certificate = {certificate:?}
        key = {key:?}
        [[upstreams]]
        url = "https://{}"
        "#,
        theirs.origin().trim_start_matches("https://"),
        beta.address()
    );
    fs::write(&file, text).unwrap();
    let gateway = RunningGateway::start(&file);
    let alpha = alpha(&ours, &theirs, &shown, &authority);
    assert_served(Ok(call_beta(&alpha).await.json()));
    // The gateway's certificate is not the peer's: who shows the gateway none, or another, is not let in.
    for certificate in [None, Some(&at_gateway)] {
        let token = ours.token_for(theirs.origin());
        let status = show(theirs.origin(), &token, authority.client(certificate)).await;
        assert_eq!(status.unwrap(), 403, "{certificate:?}");
    }
    // Nobody comes to the node itself without a certificate.
    let refused = call(&beta, &client(authority.client(None))).await;
    assert!(refused.is_err(), "{refused:?}");
    drop(alpha);
    drop(gateway);
}
