//! Answers the questions that RFC 3263 makes an endpoint ask: NAPTR, SRV, A and AAAA.
//!
//! Order and choice among the answers are the endpoint's. A name that does not exist, a server
//! that does not answer and a system without name servers all give [`Answer::Nothing`]: the
//! endpoint goes on in the same way.

use carnet_sip::{Answer, Ask, Naptr, Srv};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Whom to ask.
#[derive(Debug, Clone, Default)]
pub enum NameServers {
    /// Those of the operating system, and its hosts file.
    #[default]
    System,
    /// These, by UDP and, for long answers, TCP.
    These(Vec<SocketAddr>),
}

/// Looks names up.
#[derive(Clone)]
pub struct Resolver {
    inner: Option<TokioResolver>,
}

impl Resolver {
    /// That asks these. Inside a tokio runtime.
    #[must_use]
    pub fn new(servers: &NameServers) -> Self {
        let builder = match servers {
            NameServers::System => TokioResolver::builder_tokio(),
            NameServers::These(addresses) => Ok(TokioResolver::builder_with_config(
                ResolverConfig::from_name_servers(addresses.iter().map(name_server).collect()),
                TokioRuntimeProvider::default(),
            )),
        };
        let built = builder.and_then(|mut builder| {
            limit(builder.options_mut());
            builder.build()
        });
        match built {
            Ok(resolver) => Self { inner: Some(resolver) },
            Err(error) => {
                tracing::warn!(%error, "no name server: only numeric addresses will be reached");
                Self { inner: None }
            }
        }
    }

    /// What there is to a question.
    pub async fn answer(&self, ask: &Ask) -> Answer {
        let found = match ask {
            Ask::Naptr(name) => self.records(name, RecordType::NAPTR, naptr).await.map(Answer::Naptr),
            Ask::Srv(name) => self.records(name, RecordType::SRV, srv).await.map(Answer::Srv),
            Ask::Address(name) => self.addresses(name).await,
        };
        found.unwrap_or(Answer::Nothing)
    }

    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: fn(&RData) -> Option<T>,
    ) -> Option<Vec<T>> {
        let lookup = self.inner.as_ref()?.lookup(absolute(name)?, kind).await.ok()?;
        let found: Vec<T> = lookup.answers().iter().filter_map(|record| read(&record.data)).collect();
        (!found.is_empty()).then_some(found)
    }

    /// The addresses of a name, and until when they hold.
    pub(crate) async fn addresses_until(&self, name: &str) -> Option<(Vec<IpAddr>, Instant)> {
        let lookup = self.inner.as_ref()?.lookup_ip(absolute(name)?).await.ok()?;
        let found: Vec<_> = lookup.iter().collect();
        (!found.is_empty()).then(|| (found, lookup.valid_until()))
    }

    async fn addresses(&self, name: &str) -> Option<Answer> {
        let lookup = self.inner.as_ref()?.lookup_ip(absolute(name)?).await.ok()?;
        let found: Vec<_> = lookup.iter().collect();
        (!found.is_empty()).then_some(Answer::Addresses(found))
    }
}

fn limit(options: &mut ResolverOpts) {
    // A call waits for this: two tries of two seconds are what a caller stands.
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    options.cache_size = 4096;
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

/// SIP's names are complete; search lists are for people (RFC 3263 knows none). A name of one
/// label is a host of this site and may be completed.
fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    if name.num_labels() > 1 {
        name.set_fqdn(true);
    }
    Some(name)
}

fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

fn naptr(data: &RData) -> Option<Naptr> {
    let RData::NAPTR(record) = data else { return None };
    let ascii = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Some(Naptr {
        order: record.order,
        preference: record.preference,
        flags: ascii(&record.flags),
        service: ascii(&record.services),
        replacement: text(&record.replacement),
    })
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(record) = data else { return None };
    Some(Srv {
        priority: record.priority,
        weight: record.weight,
        port: record.port,
        target: text(&record.target),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::Record;
    use hickory_resolver::proto::rr::rdata;
    use tokio::net::UdpSocket;

    /// A name server that knows one domain.
    async fn name_server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
                let asked = Message::from_vec(&buffer[..n]).unwrap();
                let query = asked.queries[0].clone();
                let name = |text: &str| Name::from_ascii(text).unwrap();
                let data: Vec<RData> = match (query.name().to_ascii().as_str(), query.query_type()) {
                    ("example.com.", RecordType::NAPTR) => vec![RData::NAPTR(rdata::NAPTR::new(
                        10,
                        50,
                        (*b"s").into(),
                        (*b"SIP+D2T").into(),
                        [].into(),
                        name("_sip._tcp.example.com."),
                    ))],
                    ("_sip._tcp.example.com.", RecordType::SRV) => vec![
                        RData::SRV(rdata::SRV::new(1, 7, 5070, name("b.example.com."))),
                        RData::SRV(rdata::SRV::new(0, 3, 5060, name("a.example.com."))),
                    ],
                    ("a.example.com.", RecordType::A) => vec![RData::A(rdata::A::new(192, 0, 2, 1))],
                    ("a.example.com.", RecordType::AAAA) => {
                        vec![RData::AAAA(rdata::AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))]
                    }
                    _ => Vec::new(),
                };
                let mut reply = Message::response(asked.metadata.id, OpCode::Query);
                if data.is_empty() {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                }
                reply.add_query(query.clone());
                for data in data {
                    reply.add_answer(Record::from_rdata(query.name().clone(), 60, data));
                }
                socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn every_kind_of_question() {
        let resolver = Resolver::new(&NameServers::These(vec![name_server().await]));
        let ask = async |ask| resolver.answer(&ask).await;
        assert_eq!(
            ask(Ask::Naptr("example.com".into())).await,
            Answer::Naptr(vec![Naptr {
                order: 10,
                preference: 50,
                flags: "s".into(),
                service: "SIP+D2T".into(),
                replacement: "_sip._tcp.example.com".into(),
            }])
        );
        let Answer::Srv(mut found) = ask(Ask::Srv("_sip._tcp.example.com".into())).await else { panic!() };
        found.sort_by_key(|srv| srv.priority);
        assert_eq!(found[0], Srv { priority: 0, weight: 3, port: 5060, target: "a.example.com".into() });
        assert_eq!(found.len(), 2);
        let Answer::Addresses(mut found) = ask(Ask::Address("a.example.com".into())).await else { panic!() };
        found.sort();
        assert_eq!(found, ["192.0.2.1", "2001:db8::1"].map(|a| a.parse::<std::net::IpAddr>().unwrap()));
        assert_eq!(ask(Ask::Address("nobody.example.com".into())).await, Answer::Nothing);
        assert_eq!(ask(Ask::Address("not a name..".into())).await, Answer::Nothing);
    }

    #[tokio::test]
    async fn the_hosts_file_counts() {
        let resolver = Resolver::new(&NameServers::System);
        if resolver.inner.is_none() {
            return eprintln!("skipped: this system names no name servers");
        }
        let answer = resolver.answer(&Ask::Address("localhost".into())).await;
        assert!(matches!(answer, Answer::Addresses(found) if found.iter().all(|a| a.is_loopback())));
    }
}
