//! One worker's way to one node, with connections of its own.

use std::{borrow::Cow, rc::Rc, sync::Arc};

use archipel_kit::client::{
    AddressPolicy, CarriedAnswer, ClientError, ClientOptions, HttpClient, PlainClient, RequestBody,
    Timeouts,
};
use http::{
    Method, Request, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use url::Url;

use super::{
    BadUpstream, Call, Fleet, Member, Node, base_path,
    form::{self, Carrier, Form},
};
use crate::{config::UpstreamSettings, route::Route};

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

    /// Sends a call and waits for the head of its answer.
    pub(super) async fn exchange(
        &self,
        form: &Form,
        call: &Call<'_>,
        body: RequestBody,
        limits: Timeouts,
    ) -> Result<CarriedAnswer, ClientError> {
        let method = method(call.received.method());
        let target = match call.route {
            Route::JsonRpc => Cow::Borrowed(self.json_rpc.as_str()),
            _ => form::target(&self.base_path, call.received.uri()),
        };
        let fill = |to: &mut dyn Carrier| form.fill(to, call);
        self.send(method, &target, fill, (body, limits)).await
    }

    /// Asks for a target of the node itself, without a client.
    pub(super) async fn ask(
        &self,
        target: &str,
        limits: Timeouts,
    ) -> Result<CarriedAnswer, ClientError> {
        let nothing = (RequestBody::empty(), limits);
        self.send(Method::GET, target, |_| {}, nothing).await
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        fill: impl FnOnce(&mut dyn Carrier),
        (body, limits): (RequestBody, Timeouts),
    ) -> Result<CarriedAnswer, ClientError> {
        match &self.way {
            Way::Plain(client) => {
                let mut head = client.head(method, target);
                fill(&mut head);
                client.send_written(head, body, limits).await
            }
            Way::Tls(client, authority) => {
                let mut request = Request::new(body);
                *request.method_mut() = method;
                *request.uri_mut() = absolute(authority, target)?;
                fill(request.headers_mut());
                client.send(request, limits).await.map(CarriedAnswer::from)
            }
        }
    }
}

/// The URI of a target at a node; the request's own was checked when it was received.
fn absolute(authority: &Authority, target: &str) -> Result<Uri, ClientError> {
    let uri = Uri::builder()
        .scheme(Scheme::HTTPS)
        .authority(authority.clone())
        .path_and_query(target);
    uri.build()
        .map_err(|error| ClientError::Other(error.to_string()))
}

/// The methods that a route can have; it was matched before.
fn method(method: &actix_http::Method) -> Method {
    match method.as_str() {
        "POST" => Method::POST,
        "DELETE" => Method::DELETE,
        "HEAD" => Method::HEAD,
        _ => Method::GET,
    }
}

fn authority(base: &Url) -> Result<Authority, http::uri::InvalidUri> {
    let host = base.host_str().unwrap_or_default();
    match base.port() {
        Some(port) => Authority::try_from(format!("{host}:{port}")),
        None => Authority::try_from(host),
    }
}
