//! A connection as people write it, or as ss prints it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use opensnitch_audit_client::Protocol;

use super::Failure;

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) protocol: Protocol,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

impl Tuple {
    /// Of `tcp 192.0.2.7:51234 198.51.100.1:443`, or of a line of ss, which says `tcp` only where it was asked for several
    /// protocols.
    ///
    /// # Errors
    /// [`Failure::Usage`] where there is no protocol, or fewer than two addresses.
    pub(super) fn parse(words: &[String]) -> Result<Self, Failure> {
        let words: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
        let protocol = match words.first() {
            Some(first) if first.starts_with("icmp") => Protocol::Icmp,
            // States of ss, without a protocol before them.
            Some(&"UNCONN") => Protocol::Udp,
            Some(first) if first.chars().all(|one| one.is_ascii_uppercase() || matches!(one, '-' | '1' | '2')) => {
                Protocol::Tcp
            }
            first => {
                first.copied().unwrap_or_default().parse().map_err(|unknown| Failure::Usage(format!("{unknown}")))?
            }
        };
        let mut addresses = words.iter().filter_map(|word| address(word));
        match (addresses.next(), addresses.next()) {
            (Some(source), Some(destination)) => Ok(Self { protocol, source, destination }),
            _ => Err(Failure::Usage(
                "a connection has two addresses with ports, as 'tcp 192.0.2.7:51234 198.51.100.1:443' or 'tcp \
                 [2001:db8::7]:51234 [2001:db8::1]:443'"
                    .to_owned(),
            )),
        }
    }
}

/// An address and a port; ss puts the name of an interface between them, and writes `*` for any.
fn address(word: &str) -> Option<SocketAddr> {
    let (host, port) = word.rsplit_once(':')?;
    let port = if port == "*" { 0 } else { port.parse().ok()? };
    let host = host.split('%').next()?;
    let host = match host.strip_prefix('[') {
        // The interface may stand inside the brackets, too.
        Some(host) => IpAddr::V6(host.trim_end_matches(']').parse().ok()?),
        None if host == "*" => Ipv4Addr::UNSPECIFIED.into(),
        None => IpAddr::V4(host.parse().ok()?),
    };
    Some(SocketAddr::new(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<String, String> {
        let tuple = Tuple::parse(&[line.to_owned()]).map_err(|failure| failure.to_string())?;
        Ok(format!("{} {} {}", tuple.protocol, tuple.source, tuple.destination))
    }

    #[test]
    fn connections() {
        let table = [
            ("tcp 192.0.2.7:51234 198.51.100.1:443", "tcp 192.0.2.7:51234 198.51.100.1:443"),
            ("udp [2001:db8::7]:5 [2001:db8::1]:53", "udp [2001:db8::7]:5 [2001:db8::1]:53"),
            // ss -tn
            (
                "ESTAB 0      0      192.0.2.7:51234 198.51.100.1:443   users:((\"curl\",pid=7,fd=5))",
                "tcp 192.0.2.7:51234 198.51.100.1:443",
            ),
            ("FIN-WAIT-1 0 1 [::ffff:192.0.2.7]:80 [::ffff:1.2.3.4]:5", "tcp [::ffff:192.0.2.7]:80 [::ffff:1.2.3.4]:5"),
            // ss -n
            ("udp   ESTAB  0 0 192.0.2.7%eth0:68 192.0.2.1:67", "udp 192.0.2.7:68 192.0.2.1:67"),
            ("tcp LISTEN 0 4096 127.0.0.53%lo:53 0.0.0.0:*", "tcp 127.0.0.53:53 0.0.0.0:0"),
            ("udp UNCONN 0 0 *:5353 *:*", "udp 0.0.0.0:5353 0.0.0.0:0"),
            ("UNCONN 0 0 [fe80::1]%eth0:546 [::]:*", "udp [fe80::1]:546 [::]:0"),
            ("icmp6 UNCONN 0 0 [::1]:7 [::1]:0", "icmp [::1]:7 [::1]:0"),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line).as_deref(), Ok(expected), "{line}");
        }
        let words = ["tcp", "192.0.2.7:1", "192.0.2.8:2"].map(str::to_owned);
        assert_eq!(Tuple::parse(&words).unwrap().destination, "192.0.2.8:2".parse().unwrap());
    }

    #[test]
    fn what_is_no_connection_is_told_how_one_looks() {
        let table = [
            ("", "a protocol is one of tcp, udp"),
            ("u_str ESTAB 0 0 * 23154 * 23155", "a protocol is one of tcp, udp"),
            ("tcp 192.0.2.7 198.51.100.1", "a connection has two addresses with ports"),
            ("tcp 192.0.2.7:1 198.51.100.1:70000", "a connection has two addresses with ports"),
            ("tcp 2001:db8::7:51234 2001:db8::1:443", "a connection has two addresses with ports"),
        ];
        for (line, expected) in table {
            let message = parse(line).unwrap_err();
            assert!(message.starts_with(expected), "{line}: {message}");
        }
    }
}
