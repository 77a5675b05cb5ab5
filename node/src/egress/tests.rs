//! What may be called on behalf of others. That addresses are checked where connections are made is tested there.

use archipel_kit::client::{ClientError, RequestBody, Timeouts};
use archipel_kit::settings::{Environment, load};
use http::Request;

use super::{Destination, Egress, EgressSettings, is_listed, outside_policy};

fn settings(allowlist: &str) -> EgressSettings {
    load(
        None,
        &Environment::from_iter([("HIVE_EGRESS_FETCH_HOST_ALLOWLIST", allowlist)]),
    )
    .unwrap()
}

#[test]
fn a_list_names_hosts_and_what_is_below_them() {
    let check = |host: &str, entry: &str, expected: bool| {
        assert_eq!(
            is_listed(host, &[entry.to_owned()]),
            expected,
            "{host} {entry}"
        );
    };
    check("registry.corp", "registry.corp", true);
    check("a.registry.corp", "registry.corp", true);
    check("REGISTRY.Corp", "registry.corp", true);
    check("registry.corp.", "registry.corp", true);
    check("evilregistry.corp", "registry.corp", false);
    check("registry.corp.evil", "registry.corp", false);
    check("127.0.0.1", "127.0.0.1", true);
    check("127.0.0.1", "0.0.1", false);
    check("::1", "::1", true);
}

#[test]
fn without_a_list_public_addresses_may_be_called_with_one_the_hosts_on_it() {
    let check = |allowlist: &[&str], host: &str, address: &str, expected: bool| {
        let allowlist: Vec<String> = allowlist.iter().map(|&entry| entry.to_owned()).collect();
        let allowed = outside_policy(&allowlist).allows(host, address.parse().unwrap());
        assert_eq!(allowed, expected, "{allowlist:?} {host} {address}");
    };
    check(&[], "hook.example", "93.184.216.34", true);
    check(&[], "hook.example", "10.0.0.1", false);
    check(&[], "hook.example", "::ffff:127.0.0.1", false);
    check(&["Hook.Example "], "hook.example", "10.0.0.1", true);
    check(&["hook.example"], "other.example", "93.184.216.34", false);
}

async fn send(egress: &Egress, destination: Destination, uri: &str) -> Result<u16, ClientError> {
    let mut request = Request::new(RequestBody::empty());
    *request.uri_mut() = uri.parse().unwrap();
    egress
        .send(destination, request, Timeouts::default())
        .await
        .map(|answer| answer.status.as_u16())
}

#[actix_rt::test]
async fn a_private_server_is_reached_only_when_it_is_trusted_or_listed() {
    let server = actix_web::HttpServer::new(actix_web::App::new)
        .workers(1)
        .bind(("127.0.0.1", 0))
        .unwrap();
    let port = server.addrs().first().unwrap().port();
    let server = server.run();
    let stop = server.handle();
    actix_rt::spawn(server);
    let uri = format!("http://127.0.0.1:{port}/");

    let egress = Egress::new(&settings(""));
    assert_eq!(
        send(&egress, Destination::Trusted, &uri).await.unwrap(),
        404
    );
    assert!(matches!(
        send(&egress, Destination::Outside, &uri).await,
        Err(ClientError::Refused(_))
    ));

    let listing = Egress::new(&settings("127.0.0.1"));
    assert_eq!(
        send(&listing, Destination::Outside, &uri).await.unwrap(),
        404
    );
    let with_password = format!("http://user:password@127.0.0.1:{port}/");
    assert!(matches!(
        send(&listing, Destination::Outside, &with_password).await,
        Err(ClientError::Refused(_))
    ));
    stop.stop(false).await;
}
