//! Says whose connection that is: `owner tcp 192.0.2.7:51234 198.51.100.1:443`.

use std::error::Error;

use opensnitch_audit_client::AuditProxy;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [protocol, source, destination] = arguments.as_slice() else {
        return Err("usage: owner PROTOCOL SOURCE:PORT DESTINATION:PORT".into());
    };
    zbus::block_on(async {
        let audit = AuditProxy::new(&zbus::Connection::system().await?).await?;
        match audit.owner(protocol.parse()?, source.parse()?, destination.parse()?).await? {
            Some(event) => eprintln!("{:?}, pid {:?}, user {:?}", event.program(), event.pid, event.uid),
            None => eprintln!("nobody's, or hidden from you"),
        }
        Ok(())
    })
}
