//! From where a call comes: what proxies say of it, who of them is believed, and what is made of the rest.

use archipel_tests::mesh::{RawConnection, TestNode};

/// From here peers may call, and from nowhere else.
const MAY: &str = "203.0.113.7";
const MAY_NOT: &str = "198.51.100.1";

const SECRET: &str = "shared-hs256-secret-for-developers-0001";

/// A token that is none: whoever may call from where it calls is refused for it (401), everybody else before it is looked
/// at (403).
const GARBAGE: &str = "x-hive-federation-jwt: garbage";

fn node_that(believes: &str) -> TestNode {
    TestNode::start(|config| {
        config.add(believes);
        config.add(&format!(
            "[federation]\nenabled = true\nshared_secret = \"{SECRET}\"\ninbound_allowlist = [\"{MAY}/32\"]"
        ));
    })
}

/// The status of a call whose connection begins with `first` and whose head has these lines; `None`: it was closed.
async fn status(node: &TestNode, first: &[u8], lines: &str) -> Option<u16> {
    let mut connection = RawConnection::open(node.address()).await;
    let head = format!(
        "POST /agents/echo HTTP/1.1\r\nhost: node\r\n{GARBAGE}\r\n{lines}connection: close\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    connection
        .try_write(&[first, head.as_bytes()].concat())
        .await;
    connection.read_to_end().await.status()
}

#[tokio::test]
async fn proxies_are_believed_that_the_operator_named_or_counted() {
    let check = async |believes: &str, cases: &[(String, u16)]| {
        let node = node_that(believes);
        for (lines, expected) in cases {
            let found = status(&node, b"", lines).await;
            assert_eq!(found, Some(*expected), "{believes}: {lines}");
        }
    };
    let forwarded_for = |hops: &str| format!("x-forwarded-for: {hops}\r\n");
    let none_may = [
        (String::new(), 403),
        (forwarded_for(MAY), 403),
        (format!("x-real-ip: {MAY}\r\n"), 403),
        (format!("forwarded: for={MAY}\r\n"), 403),
    ];
    check("", &none_may).await;
    check("trusted_proxies = [\"10.0.0.0/8\"]", &none_may).await;
    check(
        "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]",
        &[
            (forwarded_for(MAY), 401),
            (forwarded_for(&format!("{MAY_NOT}, {MAY}, 10.1.2.3")), 401),
            // What stands before the client was written by the client.
            (forwarded_for(&format!("{MAY}, {MAY_NOT}")), 403),
            (
                forwarded_for(MAY) + &forwarded_for(&format!("{MAY_NOT}, 10.1.2.3")),
                403,
            ),
            (forwarded_for(&format!("{MAY}, nonsense")), 403),
        ],
    )
    .await;
    check(
        "trusted_hops = 2",
        &[
            (forwarded_for(&format!("{MAY_NOT}, {MAY}, 192.0.2.1")), 401),
            (forwarded_for(&format!("{MAY}, {MAY_NOT}, 192.0.2.1")), 403),
        ],
    )
    .await;
    check(
        "trusted_hops = 1\nclient_header = \"forwarded\"",
        &[
            (
                format!("forwarded: for={MAY_NOT}, for=\"{MAY}:4711\";proto=https\r\n"),
                401,
            ),
            (forwarded_for(MAY), 403),
        ],
    )
    .await;
    check(
        "trusted_hops = 1\nclient_header = \"x-real-ip\"",
        &[
            (format!("x-real-ip: {MAY}\r\n"), 401),
            (forwarded_for(MAY), 403),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_proxy_header_tells_the_client_where_a_balancer_must_write_one() {
    let required = |networks: &str| {
        node_that(&format!(
            "trusted_proxies = [\"{networks}\"]\nproxy_header = \"required\""
        ))
    };
    let line = |client: &str| format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n").into_bytes();
    let node = required("127.0.0.0/8");
    let block = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\x12\x67\x01\xbb";
    let forwarded = format!("x-forwarded-for: {MAY}\r\n");
    for (first, lines, expected) in [
        (line(MAY), "", Some(401)),
        (block.to_vec(), "", Some(401)),
        (line(MAY_NOT), "", Some(403)),
        // The balancer is believed, not the client that it tells of.
        (line(MAY_NOT), forwarded.as_str(), Some(403)),
        // It speaks for itself, as with its health checks.
        (b"PROXY UNKNOWN\r\n".to_vec(), "", Some(403)),
        (Vec::new(), "", None),
    ] {
        let text = first.escape_ascii();
        assert_eq!(status(&node, &first, lines).await, expected, "{text}");
    }
    let stranger = required("10.0.0.0/8");
    assert_eq!(status(&stranger, &line(MAY), "").await, None);
}
