//! What goes between sites although nobody waits for it: an envelope, and its effect at the other site.

use anyhow::Context;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::demonstration::refusals::expect;
use crate::http::{Credential, Http, limited};
use crate::mesh::Site;

type Done = anyhow::Result<(String, ())>;

/// Gives alpha an envelope for beta, twice, and waits for beta's site to be told of it.
pub(crate) async fn envelope(http: &Http, site: &Site) -> Done {
    let events = site.beta.url("/api/events?type=mesh.wan.envelope");
    let operator = Credential::Bearer(&site.beta.internal_token);
    let mut told = http.watch(&events, operator).await?;
    let id = Uuid::new_v4().to_string();
    let envelope = json!({
        "v": 1,
        "correlationId": id,
        "sourceOrigin": site.alpha.origin.as_str(),
        "targetOrigin": site.beta.origin.as_str(),
        "payload": {"text": "Two islands. One bridge."},
    });
    let envelope = Bytes::from(envelope.to_string());
    let url = site.alpha.url("/v1/publish");
    let operator = Credential::Bearer(&site.alpha.internal_token);
    let first = http.post(&url, operator, envelope.clone()).await?;
    let accepted = json!({"accepted": true, "correlationId": id});
    expect(&first, StatusCode::ACCEPTED, Some(&accepted))?;
    let again = http.post(&url, operator, envelope).await?;
    let repeated = json!({"accepted": true, "correlationId": id, "duplicate": true});
    expect(&again, StatusCode::ACCEPTED, Some(&repeated))?;
    let arrived = async {
        loop {
            let event = told.next().await?.context("beta tells no more")?;
            if event.pointer("/payload/correlationId") == Some(&Value::from(id.as_str())) {
                return Ok(());
            }
        }
    };
    limited(&events, arrived).await?;
    Ok((
        "kept by alpha, told at beta; once more: known".to_owned(),
        (),
    ))
}
