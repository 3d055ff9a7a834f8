//! The bytes that a proxy is sent, and that not one byte of the receiver is taken for the proxy's.

use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::model::Secret;

/// A proxy that is sent what is expected, and answers.
async fn proxy(mut far: DuplexStream, script: Vec<(Vec<u8>, Vec<u8>)>) -> DuplexStream {
    for (expected, answer) in script {
        let mut sent = vec![0; expected.len()];
        far.read_exact(&mut sent).await.unwrap();
        assert_eq!(sent, expected);
        // Byte by byte: nothing depends on how it is cut.
        for byte in answer {
            far.write_all(&[byte]).await.unwrap();
        }
    }
    far
}

fn goals() -> [Goal; 3] {
    [
        Goal::Address("192.0.2.1:443".parse().unwrap()),
        Goal::Address("[2001:db8::1]:8443".parse().unwrap()),
        Goal::Name("shop.example".into(), 443),
    ]
}

fn credentials() -> Credentials {
    Credentials { username: "user".into(), password: Secret::new("password".to_owned()) }
}

#[tokio::test]
async fn connect_asks_for_the_goal_and_leaves_the_rest_to_the_receiver() {
    for (goal, shown) in goals().iter().zip(["192.0.2.1:443", "[2001:db8::1]:8443", "shop.example:443"]) {
        for answer in [
            "HTTP/1.1 200 OK\r\n\r\nreceiver",
            "HTTP/1.0 299\r\n\r\nreceiver",
            "HTTP/1.1 200 OK\r\nvia: 1.1 proxy\r\ncontent-length: 5\r\n\r\nreceiver",
        ] {
            let (mut near, far) = duplex(16);
            let expected = format!("CONNECT {shown} HTTP/1.1\r\nhost: {shown}\r\n\r\n").into_bytes();
            let far = tokio::spawn(proxy(far, vec![(expected, answer.into())]));
            connect(&mut near, goal, None).await.unwrap();
            let mut rest = [0; 8];
            near.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"receiver");
            far.await.unwrap();
        }
    }
}

#[tokio::test]
async fn socks_asks_for_the_goal_and_leaves_the_rest_to_the_receiver() {
    let requests: [&[u8]; 3] = [
        &[5, 1, 0, 1, 192, 0, 2, 1, 1, 187],
        &[5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x20, 0xfb],
        b"\x05\x01\x00\x03\x0cshop.example\x01\xbb",
    ];
    let granted: [&[u8]; 3] = [
        b"\x05\x00\x00\x01\x0a\x00\x00\x01\x00\x01receiver",
        b"\x05\x00\x00\x04aaaabbbbccccdddd\x00\x01receiver",
        b"\x05\x00\x00\x03\x03abc\x00\x01receiver",
    ];
    for (goal, request) in goals().iter().zip(requests) {
        for granted in granted {
            let anonymous = vec![(vec![5, 1, 0], vec![5, 0]), (request.to_vec(), granted.to_vec())];
            let known = vec![
                (vec![5, 2, 0, 2], vec![5, 2]),
                (b"\x01\x04user\x08password".to_vec(), vec![1, 0]),
                (request.to_vec(), granted.to_vec()),
            ];
            let trusted = vec![(vec![5, 2, 0, 2], vec![5, 0]), (request.to_vec(), granted.to_vec())];
            for (script, credentials) in
                [(anonymous, None), (known, Some(credentials())), (trusted, Some(credentials()))]
            {
                let (mut near, far) = duplex(16);
                let far = tokio::spawn(proxy(far, script));
                socks5(&mut near, goal, credentials.as_ref()).await.unwrap();
                let mut rest = [0; 8];
                near.read_exact(&mut rest).await.unwrap();
                assert_eq!(&rest, b"receiver");
                far.await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_says_whether_another_address_could_help() {
    let goal = &goals()[0];
    for (status, only_there) in [(403, true), (407, false), (400, false), (502, true), (504, true)] {
        let (mut near, mut far) = duplex(1024);
        far.write_all(format!("HTTP/1.1 {status} x\r\n\r\n").as_bytes()).await.unwrap();
        let refused = connect(&mut near, goal, None).await.unwrap_err();
        assert_eq!(refused, NotThrough { words: format!("answered {status} to CONNECT"), only_there });
    }
}
