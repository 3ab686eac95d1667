"""A client with dbus-python, by introspection alone. What it does and prints: mod.rs."""

import sys

import dbus
import dbus.mainloop.glib
from gi.repository import GLib

NAME = "org.opensnitch.Audit"


def print_event(what, event):
    print(what, event["ProcPath"], f"{event['DstHost']}:{event['DstPort']}", flush=True)


def seen(_type, _program, event):
    print_event("seen", event)
    loop.quit()


dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
loop = GLib.MainLoop()
pid = int(sys.argv[1])
service = dbus.SystemBus().get_object(NAME, "/org/opensnitch/Audit")
# Types of the arguments come from the service's introspection.
audit = dbus.Interface(service, NAME)
properties = dbus.Interface(service, dbus.PROPERTIES_IFACE)
print("connected", int(properties.Get(NAME, "Connected")))

print_event("event", audit.GetEventByPid(pid))

events, following = audit.FindEvents({"Pid": dbus.UInt32(pid), "EventType": ["connect", "send"]})
print(f"found {len(events)}, next {following}")

try:
    audit.GetEventByPid(1)
except dbus.DBusException as error:
    print("error", error.get_dbus_name())

service.connect_to_signal("EventSeen", seen, dbus_interface=NAME + ".Subscription")
audit.Subscribe({"EventType": "connect"})
loop.run()
audit.Unsubscribe()
print("end")
