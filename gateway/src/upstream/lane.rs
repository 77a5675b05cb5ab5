//! One worker's way to one node, with connections of its own.

use std::{rc::Rc, sync::Arc};

use archipel_kit::client::{
    AddressPolicy, Answer, ClientError, ClientOptions, HttpClient, PlainClient, RequestBody,
    Timeouts,
};
use http::{
    Request, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use url::Url;

use super::{BadUpstream, Call, Fleet, Member, Node, base_path, target_of};
use crate::config::UpstreamSettings;

/// A way to a node.
#[derive(Debug)]
pub(crate) struct Lane {
    node: Arc<Node>,
    way: Way,
    base_path: String,
    json_rpc: PathAndQuery,
    /// What it was made from: another configuration that says the same keeps it.
    made_from: (UpstreamSettings, std::time::Duration),
    has_tls: bool,
}

#[derive(Debug)]
enum Way {
    /// Without TLS, as between neighbours: one server and one protocol, so the shorter way is enough.
    Plain(PlainClient),
    Tls(Box<HttpClient>, Authority),
}

impl Lane {
    /// A way without connections yet; or that of `before` which leads to the same place.
    pub(super) fn make(
        member: &Member,
        fleet: &Fleet,
        before: Option<&[Rc<Self>]>,
    ) -> Result<Rc<Self>, BadUpstream> {
        let base_path = base_path(&member.settings.url).to_owned();
        let json_rpc = fleet.form.json_rpc(&base_path)?;
        let made_from = (member.settings.clone(), fleet.connect);
        // Certificates may have changed under the same paths, so a way over TLS is always made anew.
        let kept = before.into_iter().flatten().find(|lane| {
            !lane.has_tls
                && Arc::ptr_eq(&lane.node, &member.node)
                && lane.made_from == made_from
                && lane.json_rpc == json_rpc
        });
        if let Some(kept) = kept {
            return Ok(Rc::clone(kept));
        }
        let authority = authority(&member.settings.url).map_err(http::Error::from)?;
        let options = ClientOptions {
            connect: fleet.connect,
            max_idle_per_host: 1024,
            tls: member.tls.clone(),
            // The operator named the node, so it may have any address.
            ..ClientOptions::new(AddressPolicy::Any)
        };
        let way = if member.settings.url.scheme() == "https" {
            Way::Tls(Box::new(HttpClient::new(options)), authority)
        } else {
            Way::Plain(PlainClient::new(options, &authority)?)
        };
        Ok(Rc::new(Self {
            node: Arc::clone(&member.node),
            has_tls: matches!(way, Way::Tls(..)),
            way,
            base_path,
            json_rpc,
            made_from,
        }))
    }

    pub(crate) const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(super) fn target(&self, call: &Call<'_>) -> Result<PathAndQuery, ClientError> {
        target_of(call, &self.json_rpc, &self.base_path)
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        target: PathAndQuery,
        limits: Timeouts,
    ) -> Result<Answer, ClientError> {
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(target);
        if let Way::Tls(_, authority) = &self.way {
            parts.scheme = Some(Scheme::HTTPS);
            parts.authority = Some(authority.clone());
        }
        *request.uri_mut() =
            Uri::from_parts(parts).map_err(|error| ClientError::Other(error.to_string()))?;
        match &self.way {
            Way::Plain(client) => client.send(request, limits).await,
            Way::Tls(client, _) => client.send(request, limits).await,
        }
    }
}

fn authority(base: &Url) -> Result<Authority, http::uri::InvalidUri> {
    let host = base.host_str().unwrap_or_default();
    match base.port() {
        Some(port) => Authority::try_from(format!("{host}:{port}")),
        None => Authority::try_from(host),
    }
}
