//! A firewall's first half: takes packets from an nftables queue, says which program sent each, and lets it pass.
//!
//! ```sh
//! nft add table inet example
//! nft add chain inet example out '{ type filter hook output priority 0; }'
//! nft add rule inet example out ct state new queue num 7 bypass
//! cargo run --example firewall 7      # as root; afterwards: nft delete table inet example
//! ```

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use nfq::{Queue, Verdict};
use opensnitch_audit_client::{AuditProxy, Protocol};

/// A packet waits no longer than this for its owner. The bus is a unix socket, so the question itself makes no packet; but
/// should whoever answers need the network, that packet would wait behind this one.
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let number = std::env::args().nth(1).ok_or("usage: firewall QUEUE")?.parse()?;
    let mut queue = Queue::open()?;
    queue.bind(number)?;
    zbus::block_on(async {
        let bus = zbus::connection::Builder::system().method_timeout(PATIENCE).build().await?;
        let audit = AuditProxy::new(&bus).await?;
        loop {
            let mut packet = queue.recv()?;
            if let Some((protocol, source, destination)) = connection(packet.get_payload()) {
                match audit.owner(protocol, source, destination).await {
                    // With {:?}, since a program chooses its name: escaped, it cannot move the cursor.
                    Ok(Some(event)) => eprintln!(
                        "{protocol} {source} → {destination}: {:?} {}",
                        event.program().unwrap_or(Path::new("?")),
                        event.pid.unwrap_or_default()
                    ),
                    Ok(None) => eprintln!("{protocol} {source} → {destination}: nobody's"),
                    Err(error) => eprintln!("{protocol} {source} → {destination}: {error}"),
                }
            }
            packet.set_verdict(Verdict::Accept);
            queue.verdict(packet)?;
        }
    })
}

/// Protocol, source and destination of an IP packet.
fn connection(packet: &[u8]) -> Option<(Protocol, SocketAddr, SocketAddr)> {
    let packet = LaxSlicedPacket::from_ip(packet).ok()?;
    let (source, destination): (IpAddr, IpAddr) = match packet.net? {
        LaxNetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        LaxNetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        LaxNetSlice::Arp(_) => return None,
    };
    let (protocol, sport, dport) = match packet.transport? {
        TransportSlice::Tcp(tcp) => (Protocol::Tcp, tcp.source_port(), tcp.destination_port()),
        TransportSlice::Udp(udp) => (Protocol::Udp, udp.source_port(), udp.destination_port()),
        _ => return None,
    };
    Some((protocol, SocketAddr::new(source, sport), SocketAddr::new(destination, dport)))
}
