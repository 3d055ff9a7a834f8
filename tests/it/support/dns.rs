//! A name server that says what a test wants, as often as it wants: over UDP, for A and AAAA.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// What a name answers.
#[derive(Debug, Clone)]
pub enum Says {
    /// These addresses, of either family, good for no time at all.
    Addresses(Vec<IpAddr>),
    /// One after the other, the last one for ever: what a rebinding name does.
    InTurn(Vec<Vec<IpAddr>>),
    /// Another name, and what that one says if `along`.
    Alias { name: &'static str, along: bool },
    /// That it cannot say.
    ServFail,
}

impl Says {
    pub fn addresses(texts: &[&str]) -> Says {
        Says::Addresses(parsed(texts))
    }

    pub fn in_turn(answers: &[&[&str]]) -> Says {
        Says::InTurn(answers.iter().map(|texts| parsed(texts)).collect())
    }
}

fn parsed(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// Names and what they say, and how often each was asked for its A records.
#[derive(Debug)]
pub struct Zone {
    names: BTreeMap<&'static str, Says>,
    asked: Mutex<BTreeMap<String, usize>>,
}

impl Zone {
    /// Answers on this socket as long as the process lives.
    pub fn serve(socket: UdpSocket, names: impl IntoIterator<Item = (&'static str, Says)>) -> Arc<Zone> {
        let zone = Arc::new(Zone { names: names.into_iter().collect(), asked: Mutex::default() });
        let serving = zone.clone();
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                if let Some(answer) = serving.answer(&query[..length]) {
                    let _gone = socket.send_to(&answer, from);
                }
            }
        });
        zone
    }

    /// How often a name was asked for its A records.
    pub fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        // Header of 12 bytes, labels with their lengths up to an empty one, type and class of 2 bytes each.
        let mut labels = Vec::new();
        let mut at = 12;
        while let length @ 1..=63 = usize::from(*query.get(at)?) {
            labels.push(String::from_utf8_lossy(query.get(at + 1..=at + length)?).to_ascii_lowercase());
            at += 1 + length;
        }
        let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
        let name = labels.join(".");
        let turn = {
            let mut asked = self.asked.lock().unwrap();
            let asked = asked.entry(name.clone()).or_default();
            *asked += usize::from(kind == A);
            asked.saturating_sub(1)
        };
        let mut records = Vec::new();
        let code = self.collect(&name, kind, turn, &mut records);
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
        answer.extend(&query[12..at + 5]);
        for (owner, kind, data) in records {
            answer.extend(wire_name(&owner));
            answer.extend(kind.to_be_bytes());
            // Class IN, good for 0 seconds.
            answer.extend([0, 1, 0, 0, 0, 0]);
            answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }

    /// Adds what a name says to a question of this kind; the response code.
    fn collect(&self, name: &str, kind: u16, turn: usize, records: &mut Vec<(String, u16, Vec<u8>)>) -> u8 {
        let addresses = match self.names.get(name) {
            None => return 3,
            Some(Says::ServFail) => return 2,
            Some(Says::Alias { name: other, along }) => {
                records.push((name.to_owned(), CNAME, wire_name(other)));
                return if *along { self.collect(other, kind, turn, records) } else { 0 };
            }
            Some(Says::Addresses(addresses)) => addresses,
            Some(Says::InTurn(answers)) => answers.get(turn).or(answers.last()).unwrap(),
        };
        for address in addresses {
            match address {
                IpAddr::V4(v4) if kind == A => records.push((name.to_owned(), A, v4.octets().to_vec())),
                IpAddr::V6(v6) if kind == AAAA => records.push((name.to_owned(), AAAA, v6.octets().to_vec())),
                _ => {}
            }
        }
        0
    }
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}
