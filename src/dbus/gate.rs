//! Every call of a method or a property passes here before zbus reads its arguments.

use std::collections::HashMap;
use std::fmt::Write;

use opensnitch_audit_client::PATH;
use zbus::export::async_trait::async_trait;
use zbus::fdo::Properties;
use zbus::message::{Header, Message};
use zbus::names::{InterfaceName, MemberName};
use zbus::object_server::{DispatchResult, Interface, SignalEmitter};
use zbus::{BoxDBusError, Connection, ObjectServer, OwnedVariant, Variant, fdo};

use super::Error;
use super::front::{MAX_ARGUMENTS, is_cut};
use crate::text::excerpt;

/// An interface, but for this: a call whose arguments were cut off is refused; setting a property says that it is
/// read-only, where zbus says that there is no such property; and a property's name that is none is repeated only in part.
#[derive(Debug)]
pub(super) struct Gate<I> {
    interface: I,
    properties: &'static [&'static str],
}

impl<I> Gate<I> {
    /// Before this interface with these properties.
    pub(super) fn new(interface: I, properties: &'static [&'static str]) -> Self {
        Self { interface, properties }
    }

    fn unknown(&self, property: &str) -> fdo::Error {
        let there_are = self.properties.join(", ");
        fdo::Error::UnknownProperty(format!("there is no property {}; there are {there_are}", excerpt(property)))
    }
}

/// Puts a gate before the properties, which zbus serves on its own. The objects above ours have none, and need none.
///
/// # Errors
/// Where zbus does not serve them.
pub(super) async fn guard_properties(server: &ObjectServer) -> zbus::Result<()> {
    server.remove::<Properties, _>(PATH).await?;
    server.at(PATH, Gate::new(Properties, &[])).await?;
    for (end, _) in PATH.match_indices('/') {
        let above = if end == 0 { "/" } else { PATH.get(..end).unwrap_or(PATH) };
        server.remove::<Properties, _>(above).await?;
    }
    Ok(())
}

#[async_trait]
impl<I: Interface> Interface for Gate<I> {
    fn name() -> InterfaceName<'static> {
        I::name()
    }

    async fn get(
        &self,
        property: &str,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> Option<Result<OwnedVariant, BoxDBusError>> {
        if !self.properties.contains(&property) {
            return Some(Err(self.unknown(property).into()));
        }
        self.interface.get(property, server, connection, header, emitter).await
    }

    async fn get_all(
        &self,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> fdo::Result<HashMap<String, OwnedVariant>> {
        self.interface.get_all(server, connection, header, emitter).await
    }

    fn set<'call>(
        &'call self,
        property: &'call str,
        _value: &'call Variant<'_>,
        _server: &'call ObjectServer,
        _connection: &'call Connection,
        _header: Option<&'call Header<'_>>,
        _emitter: &'call SignalEmitter<'_>,
    ) -> DispatchResult<'call> {
        let refused = if self.properties.contains(&property) {
            fdo::Error::PropertyReadOnly(format!("the property {property} cannot be set: it can only be read"))
        } else {
            self.unknown(property)
        };
        DispatchResult::Async(Box::pin(async move { Err(refused.into()) }))
    }

    async fn set_mut(
        &mut self,
        _property: &str,
        _value: &Variant<'_>,
        _server: &ObjectServer,
        _connection: &Connection,
        _header: Option<&Header<'_>>,
        _emitter: &SignalEmitter<'_>,
    ) -> Option<Result<(), BoxDBusError>> {
        None
    }

    fn call<'call>(
        &'call self,
        server: &'call ObjectServer,
        connection: &'call Connection,
        message: &'call Message,
        name: MemberName<'call>,
    ) -> DispatchResult<'call> {
        if is_cut(message) {
            let refused = Error::LimitsExceeded(format!(
                "the arguments of {name} take more than the {MAX_ARGUMENTS} bytes that are read: ask for less at a time"
            ));
            return DispatchResult::new_async(connection, message, async move { Err::<(), _>(refused) });
        }
        self.interface.call(server, connection, message, name)
    }

    fn call_mut<'call>(
        &'call mut self,
        server: &'call ObjectServer,
        connection: &'call Connection,
        message: &'call Message,
        name: MemberName<'call>,
    ) -> DispatchResult<'call> {
        self.interface.call_mut(server, connection, message, name)
    }

    fn introspect_to_writer(&self, writer: &mut dyn Write, level: usize) {
        self.interface.introspect_to_writer(writer, level);
    }
}
