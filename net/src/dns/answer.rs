//! What to do with one DNS message: answer it from the zones, forward it, or drop it. Pure.

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zones::Zones;

/// Seconds for which a client may keep an answer; short, since tasks come and go.
const TTL_S: u32 = 5;

/// Largest UDP answer to a client that says nothing about its buffer (RFC 1035, section 4.2.1).
pub(super) const UDP_PAYLOAD_MIN: u16 = 512;
/// Largest UDP answer that we send to anyone: no fragments on an overlay.
const UDP_PAYLOAD_MAX: u16 = 1232;

/// How the message came, which bounds the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Reply(Vec<u8>),
    /// Not one of our names: the machine's own name servers may know it.
    Forward(Message),
    /// Not a question at all.
    Drop,
}

/// Decides on `request`. `turn` rotates shuffled answers: consecutive values spread clients evenly.
pub(super) fn answer(request: &[u8], zones: &Zones, turn: usize, transport: Transport) -> Outcome {
    let Ok(message) = Message::from_vec(request) else { return malformed(request) };
    if message.metadata.message_type != MessageType::Query {
        return Outcome::Drop;
    }
    // The only version there is (RFC 6891, section 6.1.3).
    if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return reply(&message, ResponseCode::BADVERS, Vec::new(), transport);
    }
    if message.metadata.op_code != OpCode::Query {
        return reply(&message, ResponseCode::NotImp, Vec::new(), transport);
    }
    let [query] = message.queries.as_slice() else {
        return reply(&message, ResponseCode::FormErr, Vec::new(), transport);
    };
    if query.query_class() != DNSClass::IN || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return reply(&message, ResponseCode::Refused, Vec::new(), transport);
    }
    match local(query, zones, turn) {
        Some(records) => reply(&message, ResponseCode::NoError, records, transport),
        None => Outcome::Forward(message),
    }
}

/// An answer that says that nobody could be asked.
pub(super) fn failure(request: &Message, code: ResponseCode, transport: Transport) -> Vec<u8> {
    match reply(request, code, Vec::new(), transport) {
        Outcome::Reply(bytes) => bytes,
        _ => Vec::new(),
    }
}

/// The records of a name of ours; empty for a type that it has not; `None` for other names.
fn local(query: &Query, zones: &Zones, turn: usize) -> Option<Vec<Record>> {
    let name = query.name().to_ascii();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if let Some(address) = reverse_address(name) {
        let target = zones.reverse(address)?;
        let target = Name::from_ascii(&target).ok()?;
        let is_asked = matches!(query.query_type(), RecordType::PTR | RecordType::ANY);
        return Some(if is_asked { vec![record(query, RData::PTR(PTR(target)))] } else { Vec::new() });
    }
    let answer = zones.lookup(name)?;
    if !matches!(query.query_type(), RecordType::A | RecordType::ANY) {
        return Some(Vec::new());
    }
    let mut addresses = answer.addresses.clone();
    if answer.shuffled && !addresses.is_empty() {
        let length = addresses.len();
        addresses.rotate_left(turn % length);
    }
    Some(addresses.into_iter().map(|address| record(query, RData::A(A(address)))).collect())
}

fn record(query: &Query, data: RData) -> Record {
    Record::from_rdata(query.name().clone(), TTL_S, data)
}

/// The address of "4.3.2.1.in-addr.arpa".
fn reverse_address(name: &str) -> Option<Ipv4Addr> {
    let octets = name.to_ascii_lowercase();
    let octets = octets.strip_suffix(".in-addr.arpa")?;
    let address: Ipv4Addr = octets.parse().ok()?;
    let [a, b, c, d] = address.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

fn reply(request: &Message, code: ResponseCode, records: Vec<Record>, transport: Transport) -> Outcome {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.add_queries(request.queries.iter().cloned());
    response.add_answers(records);
    if request.edns.is_some() {
        // Who speaks it is answered in it, even with nothing to say (RFC 6891, section 6.1.1).
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD_MAX);
        response.set_edns(edns);
    }
    let limit = match transport {
        Transport::Udp => usize::from(payload_limit(request)),
        Transport::Tcp => usize::from(u16::MAX),
    };
    match response.to_vec() {
        Ok(bytes) if bytes.len() <= limit => Outcome::Reply(bytes),
        Ok(_) => {
            // The client asks again over TCP (RFC 1035, section 4.2.1; RFC 7766, section 5).
            response.answers.clear();
            response.metadata.truncation = true;
            response.to_vec().map_or(Outcome::Drop, Outcome::Reply)
        }
        Err(_) => Outcome::Drop,
    }
}

/// How long a UDP answer to this client may be.
pub(super) fn payload_limit(request: &Message) -> u16 {
    request.edns.as_ref().map_or(UDP_PAYLOAD_MIN, |edns| edns.max_payload().clamp(UDP_PAYLOAD_MIN, UDP_PAYLOAD_MAX))
}

/// FORMERR with the id of what cannot be read, so that the asker need not wait; responses are never answered.
fn malformed(request: &[u8]) -> Outcome {
    const HEADER_LENGTH: usize = 12;
    const RESPONSE_BIT: u8 = 0x80;
    match request {
        [high, low, flags, ..] if request.len() >= HEADER_LENGTH && flags & RESPONSE_BIT == 0 => {
            let id = u16::from_be_bytes([*high, *low]);
            Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().map_or(Outcome::Drop, Outcome::Reply)
        }
        _ => Outcome::Drop,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::records::{self, RecordFile};
    use super::*;
    use proptest::prelude::*;

    fn zones(addresses: u8) -> (tempfile::TempDir, Zones) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("n.json");
        let mut file = RecordFile::new("app");
        file.add("web", Ipv4Addr::new(10, 0, 1, 2));
        for last in 0..addresses {
            file.add("tasks.web", Ipv4Addr::new(10, 0, 2, last));
        }
        file.add_empty("gone");
        records::store(&path, &file).unwrap();
        let mut zones = Zones::new(vec![path]);
        zones.refresh();
        (directory, zones)
    }

    fn question(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 77;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn ask(zones: &Zones, name: &str, kind: RecordType, turn: usize, transport: Transport) -> Message {
        match answer(&question(name, kind), zones, turn, transport) {
            Outcome::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn addresses(message: &Message) -> Vec<Ipv4Addr> {
        message.answers.iter().filter_map(|r| if let RData::A(a) = &r.data { Some(a.0) } else { None }).collect()
    }

    #[test]
    fn names_types_and_reverse() {
        let (_directory, zones) = zones(3);
        let web = ask(&zones, "WEB.", RecordType::A, 0, Transport::Udp);
        assert_eq!(addresses(&web), [Ipv4Addr::new(10, 0, 1, 2)]);
        assert_eq!(web.metadata.id, 77);
        let none = ask(&zones, "web.app.", RecordType::AAAA, 0, Transport::Udp);
        assert_eq!((none.metadata.response_code, none.answers.len()), (ResponseCode::NoError, 0));
        assert!(addresses(&ask(&zones, "gone.", RecordType::A, 0, Transport::Udp)).is_empty());
        let reverse = ask(&zones, "2.1.0.10.in-addr.arpa.", RecordType::PTR, 0, Transport::Udp);
        assert!(matches!(&reverse.answers[0].data, RData::PTR(p) if p.0.to_ascii() == "web.app"
            || p.0.to_ascii() == "web.app."));
        assert!(matches!(
            answer(&question("example.org.", RecordType::A), &zones, 0, Transport::Udp),
            Outcome::Forward(_)
        ));
        let refused = ask(&zones, "web.", RecordType::AXFR, 0, Transport::Tcp);
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    }

    #[test]
    fn shuffled_answers_begin_with_another_address_each_turn() {
        let (_directory, zones) = zones(3);
        let first: Vec<_> =
            (0..3).map(|turn| addresses(&ask(&zones, "tasks.web.", RecordType::A, turn, Transport::Udp))[0]).collect();
        assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn a_long_answer_is_truncated_over_udp_only() {
        let (_directory, zones) = zones(200);
        let udp = ask(&zones, "tasks.web.", RecordType::A, 0, Transport::Udp);
        assert!(udp.metadata.truncation && udp.answers.is_empty());
        let tcp = ask(&zones, "tasks.web.", RecordType::A, 0, Transport::Tcp);
        assert_eq!(tcp.answers.len(), 200);
    }

    #[test]
    fn who_speaks_edns_is_answered_in_it() {
        let (_directory, zones) = zones(200);
        let ask = |name: &str, version: u8| {
            let mut message = Message::from_vec(&question(name, RecordType::A)).unwrap();
            let mut edns = Edns::new();
            edns.set_max_payload(4096).set_version(version);
            message.set_edns(edns);
            match answer(&message.to_vec().unwrap(), &zones, 0, Transport::Udp) {
                Outcome::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
                other => panic!("{other:?}"),
            }
        };
        let web = ask("web.", 0);
        assert_eq!(addresses(&web), [Ipv4Addr::new(10, 0, 1, 2)]);
        assert_eq!(web.edns.map(|edns| (edns.version(), edns.max_payload())), Some((0, UDP_PAYLOAD_MAX)));
        let long = ask("tasks.web.", 0);
        assert!(long.metadata.truncation && long.edns.is_some());
        let later = ask("web.", 1);
        // One number for two codes: BADSIG is for signatures.
        assert_eq!((u16::from(later.metadata.response_code), later.answers.len()), (ResponseCode::BADVERS.into(), 0));
        assert_eq!(later.edns.map(|edns| edns.version()), Some(0));
        let plain = super::tests::ask(&zones, "web.", RecordType::A, 0, Transport::Udp);
        assert!(plain.edns.is_none());
    }

    #[test]
    fn hostile_messages_are_refused_or_dropped() {
        let (_directory, zones) = zones(1);
        // A name that points at itself.
        let mut looped = question("web.", RecordType::A);
        looped.splice(12..17, [0xc0, 12]);
        // 65,535 questions announced, one there.
        let mut many = question("web.", RecordType::A);
        many[4..6].copy_from_slice(&[0xff, 0xff]);
        for bytes in [looped, many] {
            let Outcome::Reply(bytes) = answer(&bytes, &zones, 0, Transport::Udp) else { panic!() };
            assert_eq!(Message::from_vec(&bytes).unwrap().metadata.response_code, ResponseCode::FormErr);
        }
        let mut response = question("web.", RecordType::A);
        response[2] |= 0x80;
        assert!(matches!(answer(&response, &zones, 0, Transport::Udp), Outcome::Drop));
        assert!(matches!(answer(&[1, 2, 3], &zones, 0, Transport::Udp), Outcome::Drop));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let zones = Zones::default();
            let _ = answer(&bytes, &zones, 3, Transport::Udp);
        }
    }
}
